# title: an unknown host and an unknown subsystem are refused, both sides say why, others connect
# group: nvme
# timeout: 90 s
# cpus: 4
# disks: 1x256MiB

allowed=$(cat /etc/nvme/hostnqn)
stranger=nqn.2014-08.org.nvmexpress:uuid:99999999-0d6a-4c1c-9a55-6c61620a0009
# What the host's kernel says of the refusals.
allow_warning "nvme nvme[0-9]+: Connect for subsystem $NQN is not allowed, hostnqn: $stranger"
allow_warning 'nvme nvme[0-9]+: Connect Invalid Data Parameter, subsysnqn'
allow_warning 'nvme nvme[0-9]+: failed to connect queue: 0 ret='
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
hosts = ["$allowed"]
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
sluice_warm_up

host_says() { dmesg | sed -n "/lab: begin $SCENARIO\$/,\$p" | grep -q "$1"; }
target_says() { grep -q "$1" "$SLUICE_LOG"; }
connect() { reach within 30 nvme connect -t rdma -a "$IP" -s "$PORT" "$@"; }

expect_failure connect -n "$NQN" -q "$stranger" -I 99999999-0d6a-4c1c-9a55-6c61620a0009
host_says "not allowed, hostnqn: $stranger" || fail "the host does not say that it is not allowed"
target_says "$stranger" || fail "the daemon's log does not name the host it refused"

expect_failure connect -n "$NQN-absent"
host_says 'Connect Invalid Data Parameter, subsysnqn' || fail "the host does not name the parameter"
target_says "$NQN-absent" || fail "the daemon's log does not name the subsystem it does not have"
grep -E "$stranger|absent" "$SLUICE_LOG"
judge_clean

# A stranger is not even shown the subsystem.
! nvme_discover -q "$stranger" -I 99999999-0d6a-4c1c-9a55-6c61620a0009 | grep -q "$NQN" ||
  fail "discovery shows a host what it may not connect to"
nvme_connect
fio_verify "$(nvme_device)" --size=1m
nvme_disconnect
judge_clean
judge_account
sluice_stop
