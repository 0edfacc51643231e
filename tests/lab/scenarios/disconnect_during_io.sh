# title: the host disconnects in the middle of large reads and writes, several times
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

allow_reconnects
# The host's block layer loses what fio had under way.
allow_warning '(I/O error, dev|Buffer I/O error on dev|lost async page write)'
sluice_export "device = \"$(scratch 0)\""
sluice_warm_up

for direction in randread randwrite randrw; do
  nvme_connect "$NQN" -i 2
  device=$(nvme_device)
  rm -f /run/scenario/saw_error
  { within 60 fio --name=on --filename="$device" --rw="$direction" --bsrange=4k-512k \
    --iodepth=32 --ioengine=libaio --direct=1 --time_based --runtime=50 \
    >/run/scenario/fio.txt 2>&1 || touch /run/scenario/saw_error; } &
  fio=$!
  moving=read
  [ "$direction" = randwrite ] && moving=write
  io_moved "$device" "$moving" 2000000
  kill -0 "$fio" || fail "fio is not running any more"
  nvme_disconnect
  wait "$fio"
  [ -e /run/scenario/saw_error ] || fail "fio saw no error though its disk went away"
  judge_clean
done
# And the target is as good as before.
nvme_connect "$NQN" -i 2
fio_verify "$(nvme_device)" --size=4m
nvme_disconnect
judge_clean
judge_account
sluice_stop
