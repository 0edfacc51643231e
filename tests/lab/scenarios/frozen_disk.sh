# title: a disk freezes: its host leaves in time, comes back for the others, and all thaws right
# group: nvme
# timeout: 150 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/faults.sh"

allow_reconnects
# What the host's block layer lost with the frozen disk, and a scan that has to wait for it.
allow_warning '(I/O error, dev|Buffer I/O error on dev|lost async page write)'
allow_warning 'nvme nvme[0-9]+: I/O .*QID [0-9]+ timeout'
# The target does not say that it is shut down as long as a disk has not answered.
allow_warning 'nvme nvme[0-9]+: Device (not ready; aborting|shutdown incomplete; abort) shutdown'
freezer "$(scratch 0)"
sluice_export 'ram = "16 MiB"' "device = \"$FREEZER\""
sluice_warm_up
# The host's patience with one command, seconds; of controllers made from now on.
patience() { echo "$1" >/sys/module/nvme_core/parameters/io_timeout; }

patience 4
nvme_connect "$NQN" -i 2
wait_until 15 nvme_device "$NQN" 2 || fail "namespace 2 is not there"
disk=$(nvme_device "$NQN" 2)
dd if=/dev/urandom of="$disk" bs=64k count=64 oflag=direct status=none
kept=$(dd if="$disk" bs=64k count=64 iflag=direct status=none | sha256sum)
{ within 60 fio --name=on --filename="$disk" --rw=randwrite --bsrange=4k-64k --iodepth=16 \
  --ioengine=libaio --direct=1 --offset=8m --size=8m --time_based --runtime=50 \
  >/run/scenario/fio.txt 2>&1 || :; } &
fio=$!
io_moved "$disk" write 1000000
doom
freeze
pause 1
nvme_disconnect
say "the host has given up after $(($(now_ms) - DOOM_MS)) ms"
DOOM_MS=$(now_ms)
await_closed 15
wait "$fio"

say "the same host again, with the disk still frozen"
patience 60
nvme_connect "$NQN" -i 2
fio_verify "$(nvme_device "$NQN" 1)" --size=2m

thaw
wait_until 20 nvme_device "$NQN" 2 || fail "namespace 2 does not come back"
disk=$(nvme_device "$NQN" 2)
expect "what was written before" "$kept" \
  "$(dd if="$disk" bs=64k count=64 iflag=direct status=none | sha256sum)"
fio_verify "$disk" --offset=8m --size=8m
nvme_disconnect
patience 30
judge_clean
judge_account
sluice_stop
