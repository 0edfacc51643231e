# title: An RDMA device is removed under a listener and a connection
# suite: all
# needs: verbs-experiments
# timeout: 60 s

no_device() { ! rdma link show "$RDMA/1"; }

allow_warning 'iwpm_register_pid: Unable to send a nlmsg'
verbs-experiments "$IP:7500" device_removed >/run/scenario/rows.txt || {
  cat /run/scenario/rows.txt
  fail "rows are not as the table says"
}
# What the process still held is released with it.
wait_until 10 no_device || fail "the device is still there"
rdma_up
