# title: sixty-five connections of thirteen hosts are closed at once, by their hosts and by SIGTERM
# group: nvme
# timeout: 240 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/faults.sh"

allow_reconnects
# Over siw a 6.1 host does not hear of the end at once, and asks on.
allow_warning 'nvme nvme[0-9]+: I/O .*QID [0-9]+ timeout'
sluice_export 'ram = "16 MiB"'
sluice_warm_up
# A host has an admin queue and four I/O queues.
hosts=13
connections=$((hosts * 5))
connect_all() {
  local n
  for ((n = 1; n <= hosts; n++)); do
    reach connect_as "$n" "$NQN" 4 keep_alive_tmo=30 ctrl_loss_tmo=0 ||
      fail "host $n does not connect"
  done
  expect "connections" "$connections" "$(rdma_owned qp)"
  doom
}
drained() { sluice_number closed; }

connect_all
before=$(drained)
DOOM_MS=$(now_ms)
leave "$NQN"
await_closed 30
expect "drains" "$connections" "$(($(drained) - before))"
judge_clean
judge_account

connect_all
DOOM_MS=$(now_ms)
sluice_stop TERM 20
say "$connections connections and the daemon ended in $(($(now_ms) - DOOM_MS)) ms"
judge_log
expect "objects of the ended daemon" 0 "$(rdma_owned qp)"
