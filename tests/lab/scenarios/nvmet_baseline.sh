# title: The kernel's own target and host over RDMA, discover to disconnect: the lab itself is sound
# suite: all
# group: nvmet
# needs: nothing
# timeout: 90 s

modprobe brd rd_nr=1 rd_size=131072
nvmet_start /dev/ram0
nvme_discover | grep -q "subnqn: *$NQN" || fail "discovery does not name $NQN"
nvme_connect
fio_verify "$(nvme_device)"
nvme_disconnect
wait_until 5 test -z "$(nvme_controllers)" || fail "the controller is still there"
