# title: the daemon is told to end during I/O, ends in time, starts again, and the host goes on
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

allow_reconnects
sluice_export "device = \"$(scratch 0)\""
sluice_warm_up

nvme_connect "$NQN" -i 2 --reconnect-delay=1 --ctrl-loss-tmo=60
controller=$(nvme_controllers)
device=$(nvme_device)
fio_begin "$device" --size=12m
io_moved "$device" write 1000000
fio_runs
began=$(now_ms)
sluice_stop TERM 20
say "ended in $(($(now_ms) - began)) ms with I/O under way"
expect "drains of the ended daemon that leaked" 0 \
  "$(grep 'drained' "$SLUICE_LOG" | grep -vc '; 0 leaked' || :)"
expect "objects of the ended daemon" 0 "$(rdma_owned qp)"
pause 1
fio_runs
sluice_restart
wait_until 40 eval "[ \$(nvme_state $controller) = live ]" || fail "the host does not come back"
fio_end
nvme_disconnect
judge_clean
judge_account
sluice_stop
