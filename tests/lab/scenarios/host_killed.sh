# title: Two guests: the host's machine is gone in the middle of I/O, and the daemon clears up by itself
# guests: 2
# disks: 1x256MiB
# timeout: 150 s

target() {
  allow_warning 'rxe0: qp#[0-9]+ make_send_cqe: non-flush error status'
  sluice_export "device = \"$(scratch 0)\""
  sluice_warm_up
  signal exported
  await writing 60
  expect_connected || fail "no queue pairs of a host that writes"
  sluice_moves || fail "the host writes nothing"
  ask kill host
  local began
  began=$(now_ms)
  # The keep-alive of 5 s, twice over for a busy machine, and the bound of the drain.
  wait_until 30 expect_quiet || fail "queue pairs of a dead host are left: $(rdma_owned qp)"
  say "clear $(($(now_ms) - began)) ms after the host's death"
  judge_clean 20
  expect "controllers left" "" "$(sluice_status -o json | grep '"cntlid"' || :)"
  judge_account
  grep -E 'drained|ended' "$SLUICE_LOG" | tail -n 3
  # The dead one takes nothing with it: another host is served.
  nvme_connect
  fio_verify "$(nvme_device)" --size=1m
  nvme_disconnect
  judge_clean
  judge_account
  sluice_stop
}
expect_connected() { [ "$(rdma_owned qp)" -ge 2 ]; }
sluice_moves() { local at; at=$(sluice_number written_bytes) && wait_until 20 more_than "$at"; }
more_than() { [ "$(sluice_number written_bytes)" -gt "$1" ]; }

host() {
  allow_reconnects
  await exported
  nvme_connect "$NQN" --keep-alive-tmo=5 --reconnect-delay=1
  fio --name=on --filename="$(nvme_device)" --rw=randwrite --bsrange=4k-64k --iodepth=16 \
    --ioengine=libaio --direct=1 --time_based --runtime=100 >/run/scenario/fio.txt 2>&1 &
  wait_until 20 moving || fail "fio does not write"
  signal writing
  pause 90
  fail "the machine should be gone by now"
}
moving() { [ "$(io_bytes "$(nvme_device)" write)" -gt 1000000 ]; }
