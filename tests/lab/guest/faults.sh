# What scenarios of faults share: connections that are doomed, frozen disks, many hosts.

# doom: remembers the daemon's queue pairs of now; doomed: how many of them are left. Others may
# come in the meantime: a host that can still be heard tries again and again.
doom() {
  queue_pairs >/run/scenario/doomed
  [ -s /run/scenario/doomed ] || fail "nobody is connected"
  DOOM_MS=$(now_ms)
}
queue_pairs() { rdma_objects qp | grep -o 'lqpn [0-9]*' || :; }
doomed() { queue_pairs | grep -cxFf /run/scenario/doomed || :; }
all_closed() { [ "$(doomed)" = 0 ]; }
# await_closed SECONDS: until they are gone, and says how long that took.
await_closed() {
  wait_until "$1" all_closed || fail "$(doomed) queue pairs of $(wc -l </run/scenario/doomed) are left"
  say "$(wc -l </run/scenario/doomed) queue pairs gone after $(($(now_ms) - DOOM_MS)) ms"
}

# target_exports DISK...: what the target of two guests begins with.
target_exports() {
  allow_warning 'rxe0: qp#[0-9]+ make_send_cqe: non-flush error status'
  allow_warning 'siw: got TERMINATE'
  sluice_export "$@"
  sluice_warm_up
  signal exported
}
# target_ends: what it ends with, when the host has left.
target_ends() {
  await left 120
  judge_clean 20
  judge_account
  sluice_stop
}
# host_connects: what the host begins with; it comes back by itself whenever it is cut off.
host_connects() {
  allow_reconnects
  await exported
  nvme_connect "$NQN" --keep-alive-tmo=5 --reconnect-delay=1 --ctrl-loss-tmo=300
}
host_leaves() {
  nvme_disconnect
  signal left
}
# host_lives: it is connected, or connected again.
host_lives() { [ "$(nvme_state "$(nvme_controllers)")" = live ]; }

# freezer DISK: a device mapper disk over it, as $FREEZER, that can be frozen and thawed. What it is
# asked meanwhile waits, in its order.
freezer() {
  modprobe dm_mod
  echo "0 $(blockdev --getsz "$1") linear $1 0" | dmsetup create --noudevsync freezer
  # Nobody here makes the nodes of /dev/mapper.
  FREEZER=/dev/dm-$(dmsetup info -c --noheadings -o minor freezer)
  [ -b "$FREEZER" ] || fail "no $FREEZER"
}
freeze() { dmsetup suspend --noflush --nolockfs freezer; }
thaw() { dmsetup resume --noudevsync freezer; }

# steady_begin DEVICE [ARGUMENT...]: fio_verify in the background, again and again until steady_end, for
# disturbances that take as long as the machine lets them.
steady_begin() {
  rm -f /run/scenario/enough /run/scenario/passes
  until [ -e /run/scenario/enough ]; do
    fio_verify "$@" --rate=,4m
    echo pass >>/run/scenario/passes
  done >/run/scenario/steady.txt &
  STEADY_PID=$!
}
steady_end() {
  touch /run/scenario/enough
  wait "$STEADY_PID" || fail "an error beside it: $(tail -n 3 /run/scenario/steady.txt)"
  say "$(wc -l </run/scenario/passes) passes over the disk, every block as it was written"
}

# connect_as HOST NQN QUEUES [OPTION...]: connects as host number HOST, by its NQN and identifier, in one
# guest as many as one likes. It asks the kernel itself: nvme-cli takes two hosts of one machine for
# the same, and starting it takes longer than all the rest.
connect_as() {
  local fabrics said id option options
  id=$(printf '%08x-0d6a-4c1c-9a55-6c61620a0001' "$1")
  options="transport=rdma,traddr=$IP,trsvcid=$PORT,nqn=$2,nr_io_queues=$3"
  options+=",hostnqn=nqn.2014-08.org.nvmexpress:uuid:$id,hostid=$id"
  for option in "${@:4}"; do options+=,$option; done
  exec {fabrics}<>/dev/nvme-fabrics
  # It answers the write with an error, or the next read with "instance=0,cntlid=1".
  if printf %s "$options" >&"$fabrics"; then read -r said <&"$fabrics" || :; fi
  exec {fabrics}>&-
  [[ ${said:-} == instance=* ]]
}
# leave NQN: all controllers of it are deleted, at the same time.
leave() {
  local controller
  for controller in $(nvme_controllers "$1"); do
    echo 1 >"/sys/class/nvme/$controller/delete_controller" &
  done
  wait_until 40 eval "[ -z \"\$(nvme_controllers $1)\" ]" || fail "controllers of $1 are left"
}

# device_is_given_back REMOVAL: the daemon has lost its device, and librdmacm keeps a descriptor of it
# until the process ends (removal.rs of the daemon): it says so, ends with the status for which
# systemd starts it again, and the removal, a process of this scenario, is through then.
device_is_given_back() {
  local removal=$1 began status=0
  began=$(now_ms)
  sluice_ended 30 || fail "the daemon keeps the device"
  wait "$SLUICE_PID" || status=$?
  say "the daemon ended with $status, $(($(now_ms) - began)) ms later"
  expect "the daemon's exit status" 1 "$status"
  tail -n 3 "$SLUICE_LOG" | grep "$RDMA was removed" || fail "it does not say why"
  judge_log
  wait_until 20 eval "! kill -0 $removal" || fail "the kernel still waits for somebody"
  wait "$removal" || fail "the device was not removed"
  ! rdma link show "$RDMA/1" >/dev/null 2>&1 || fail "$RDMA is still there"
  expect "objects of the ended daemon" 0 "$(rdma_owned qp)"
}
