# title: the daemon is killed during writes; nothing of it stays, the host reconnects, all verifies
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

allow_reconnects
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
device = "$(scratch 0)"
direct = "on"
END
sluice_warm_up

# What the kernel still has of a process that is gone.
remains() { local kind; for kind in qp mr cq pd cm_id; do rdma_objects "$kind"; done; }
nothing_remains() { [ -z "$(remains)" ]; }

nvme_connect "$NQN" -i 2 --reconnect-delay=1 --ctrl-loss-tmo=60
controller=$(nvme_controllers)
device=$(nvme_device)
fio_begin "$device" --size=16m
for round in 1 2; do
  io_moved "$device" write 1000000
  fio_runs
  sluice_kill
  wait_until 10 nothing_remains || { remains; fail "objects of the dead daemon are left"; }
  pause 0.5
  fio_runs
  sluice_restart
  wait_until 40 eval "[ \$(nvme_state $controller) = live ]" || fail "the host does not come back"
done
fio_end
nvme_disconnect
judge_clean
judge_account
sluice_stop
