# title: discover, and connect with 1, 2 and 4 I/O queues spread over two reactors
# group: nvme
# timeout: 120 s
# cpus: 4
# disks: 1x256MiB

sluice_start <<EOF
[reactors]
count = 2
spin = "0 us"
[limits]
pool = "64 MiB"
[[listener]]
name = "fabric"
transport = "rdma"
address = "$IP"
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "64 MiB"
EOF

nvme_discover | tee /run/scenario/discovery
grep -q "subnqn: *$NQN" /run/scenario/discovery || fail "the discovery log does not show $NQN"
sluice_warm_up

for queues in 1 2 4; do
  nvme_connect "$NQN" -i "$queues"
  controller=$(nvme_controllers)
  expect "queues of the host, admin queue included" $((queues + 1)) "$(cat "/sys/class/nvme/$controller/queue_count")"
  expect "queue pairs of the daemon" $((queues + 1)) "$(rdma_owned qp)"
  sluice status --config /run/sluice.toml
  fio_verify "$(nvme_device)" --size=8m --numjobs=1
  nvme_disconnect
  judge_clean
done
judge_account
sluice_stop
