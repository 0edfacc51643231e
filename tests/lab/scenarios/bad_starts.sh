# title: starts that can't succeed say why and end with their exit status; a busy address is waited for
# group: nvme
# timeout: 90 s
# cpus: 4
# disks: 1x256MiB

subsystem="[[subsystem]]
nqn = \"$NQN\"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1"
# start STATUS PATTERN: the configuration on stdin ends with this status and these words.
start() {
  local status=0
  cat >/run/scenario/bad.toml
  within 20 sluice serve --config /run/scenario/bad.toml >/run/scenario/said 2>&1 || status=$?
  cat /run/scenario/said
  expect "exit status" "$1" "$status"
  grep -Eq "$2" /run/scenario/said || fail "it does not say '$2'"
}
own_socket='control_socket = "/run/scenario/second.sock"'

say "a key that does not exist"
start 3 'adress' <<END
$(sluice_base | sed 's/address/adress/')
$subsystem
ram = "16 MiB"
END
say "a disk that is not there"
start 1 '/dev/absent' <<END
$(sluice_base)
$subsystem
device = "/dev/absent"
END

sluice_start <<END
$(sluice_base)
$subsystem
ram = "16 MiB"
END
sluice_warm_up
say "a second daemon with the same control socket"
start 1 "pid $SLUICE_PID" <<END
$(sluice_base)
$subsystem
ram = "16 MiB"
END

say "a second daemon on the same address waits, and serves when the first has gone"
{ echo "$own_socket"; cat /run/sluice.toml; } >/run/scenario/second.toml
sluice serve --config /run/scenario/second.toml >/run/scenario/second.log 2>&1 &
second=$!
wait_until 20 grep -q 'another program has this port' /run/scenario/second.log || {
  cat /run/scenario/second.log
  kill -KILL "$second"
  fail "it does not say that the address is in use"
}
grep WARN /run/scenario/second.log
nvme_connect
nvme_disconnect
judge_clean
judge_account
sluice_stop
wait_until 20 grep -q ' listening' /run/scenario/second.log || fail "it does not get the address"
nvme_connect
fio_verify "$(nvme_device)" --size=1m
nvme_disconnect
kill -TERM "$second"
expect_status 0 wait "$second"

say "RDMA demanded where there is none"
rdma_down
wait_until 10 eval '! rdma link show "$RDMA/1"' || fail "the device is still there"
status=0
{ printf '[rdma]\nmode = "on"\n'; cat /run/sluice.toml; } >/run/scenario/bad.toml
within 10 sluice serve --config /run/scenario/bad.toml >/run/scenario/said 2>&1 || status=$?
cat /run/scenario/said
expect "exit status without RDMA" 1 "$status"
rdma_up
