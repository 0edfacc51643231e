# title: the host resets its controller again and again while fio writes, then all is verified
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

allow_reconnects
RSS_GROWTH_KIB=$((16384 + 24576))
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "64 MiB"
END
sluice_warm_up

nvme_connect "$NQN" -i 2 --reconnect-delay=1
controller=$(nvme_controllers)
device=$(nvme_device)
fio_begin "$device" --size=24m
for round in 1 2 3; do
  io_moved "$device" write 500000
  fio_runs
  within 40 nvme reset "/dev/$controller"
  expect "state after reset $round" live "$(nvme_state "$controller")"
done
fio_runs
fio_end
nvme_disconnect
judge_clean
judge_account
sluice_stop
