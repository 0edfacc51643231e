# title: Two guests: a host hangs for longer than its keep-alive, goes on and comes back by itself
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 150 s

. "$LAB/guest/faults.sh"

target() {
  target_exports "device = \"$(scratch 0)\""
  await writing
  doom
  ask pause host
  # The keep-alive of 5 s, twice over for a busy machine, and the bound of the drain.
  await_closed 30
  judge_clean 20
  [ "$(sluice_number keep_alives_expired)" -ge 1 ] || say "the transport noticed it first"
  pause 2
  ask resume host
  target_ends
}

host() {
  host_connects
  fio_begin "$(nvme_device)" --size=8m
  io_moved "$(nvme_device)" write 1000000
  signal writing
  # It stands still somewhere here, and must not notice more than lost time.
  fio_end
  wait_until 30 host_lives || fail "the host does not come back"
  host_leaves
}
