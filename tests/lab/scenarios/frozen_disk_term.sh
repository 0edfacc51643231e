# title: a disk freezes under writes and the daemon is told to end: it does, and the next one is right
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/faults.sh"

allow_reconnects
freezer "$(scratch 0)"
sluice_export "device = \"$FREEZER\""
sluice_warm_up

nvme_connect "$NQN" -i 2 --reconnect-delay=1 --ctrl-loss-tmo=120
controller=$(nvme_controllers)
fio_begin "$(nvme_device)" --size=6m
io_moved "$(nvme_device)" write 1000000
fio_runs
freeze
pause 0.5

began=$(now_ms)
kill -TERM "$SLUICE_PID"
# CLOSE_TIMEOUT and SHUTDOWN_GRACE are 14 s; the rest is for a busy machine.
sluice_ended 20 || fail "sluice still runs 20 s after SIGTERM"
status=0
wait "$SLUICE_PID" || status=$?
say "ended in $(($(now_ms) - began)) ms with status $status"
expect "exit status of one that could not wait for its disk" 1 "$status"
grep 'ERROR' "$SLUICE_LOG"
grep -q 'disk operations' "$SLUICE_LOG" || fail "it does not say that it waited for a disk"
expect "objects of the ended daemon" 0 "$(rdma_owned qp)"

# The kernel still has the writes of the one that ended. They must not land on newer ones.
thaw
sluice_restart
wait_until 40 eval "[ \$(nvme_state $controller) = live ]" || fail "the host does not come back"
fio_end
nvme_disconnect
judge_clean
judge_account
sluice_stop
