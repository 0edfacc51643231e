# title: Two guests: the target's RDMA device goes under load, and comes again for the next daemon
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 150 s

. "$LAB/guest/faults.sh"

target() {
  target_exports "device = \"$(scratch 0)\""
  await writing
  doom
  # It returns when the kernel has got the device back from everybody.
  rdma_down &
  local removal=$!
  await_closed 30
  device_is_given_back "$removal"
  rdma_up
  sluice_restart
  target_ends
}

host() {
  host_connects
  fio_begin "$(nvme_device)" --size=6m
  io_moved "$(nvme_device)" write 1000000
  signal writing
  fio_end
  wait_until 60 host_lives || fail "the host does not come back"
  host_leaves
}
