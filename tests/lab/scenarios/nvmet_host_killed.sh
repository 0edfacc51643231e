# title: Two guests: a host that hangs and goes on, then one that is killed, with nvmet
# suite: all
# guests: 2
# needs: nothing
# timeout: 120 s

target() {
  modprobe brd rd_nr=1 rd_size=131072
  nvmet_start /dev/ram0
  # What nvmet says when its host is gone.
  allow_warning 'nvmet: ctrl 1 (keep-alive timer|fatal error)'
  allow_warning 'nvmet_rdma: (post_recv cmd|sending cmd response) failed'
  signal exported
  await writing
  ask pause host
  pause 1
  ask resume host
  await wrote
  await writing_again
  pause 1
  ask kill host
  # nvmet notices by the keep-alive: 5 s, and a grace of its own.
  wait_until 30 no_host || fail "nvmet still holds queue pairs of a dead host"
}

no_host() { ! rdma resource show qp | grep -q 'type RC'; }

host() {
  await exported
  nvme_connect "$NQN" --keep-alive-tmo 5
  device=$(nvme_device)
  signal writing
  fio_verify "$device"
  signal wrote
  signal writing_again
  fio --name=on --filename="$device" --rw=randwrite --bs=4k --iodepth=8 \
    --ioengine=libaio --direct=1 --time_based --runtime=60
  fail "the machine should be gone by now"
}
