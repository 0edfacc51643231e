# title: a daemon without an RDMA device says what it waits for, and serves when there is one
# group: nvme
# timeout: 90 s
# cpus: 4
# disks: 1x256MiB

rdma_down
wait_until 10 eval '! rdma link show "$RDMA/1"' || fail "the device is still there"
cat >/run/sluice.toml <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
sluice_spawn
answers() { sluice_status -o json >/run/scenario/status; }
wait_until 20 answers || fail "no status without a device"
grep -E '"(state|waiting|reason)"' /run/scenario/status
grep -q '"reason": *"..*' /run/scenario/status || fail "status does not say what it waits for"
grep -q 'WARN.*waiting' "$SLUICE_LOG" || fail "the log does not say what it waits for"
pause 3
sluice_runs || fail "it has ended"
expect "warnings of the waiting listener" 1 "$(grep -c 'WARN.*waiting' "$SLUICE_LOG")"

rdma_up
wait_until 20 sluice_listens || fail "it does not find the device"
grep 'listening' "$SLUICE_LOG"
judge_baseline
sluice_warm_up
nvme_connect
fio_verify "$(nvme_device)" --size=2m
nvme_disconnect
judge_clean
judge_account
sluice_stop
