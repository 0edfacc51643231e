# The vocabulary of scenarios (bash). Set by the agent:
#   ROLE    target or host; a single guest is both, and is called target
#   DEVICE  rxe or siw
#   BOOT    1, or how often this guest has been booted in this scenario
#   SCENARIO  its name

TARGET_IP=10.0.0.1
HOST_IP=10.0.0.2
IP=$TARGET_IP                     # where the exporting side listens
PORT=4420
NQN=nqn.2026-01.lab:disk          # for scenarios that need just one subsystem
RDMA=${DEVICE:-rxe}0              # the RDMA device's name
NVMET=/sys/kernel/config/nvmet

# --- saying what happens, and failing

say() { echo "[$(cut -d' ' -f1 /proc/uptime)] $*"; }
reason() { echo "$*" >>/run/scenario/reasons; echo "FAIL: $*" >&2; }
# fail WHY: ends the scenario, which has failed.
fail() { trap - ERR; reason "$*"; exit 1; }
# expect WHAT WANTED GOT: the two are the same text.
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }
# expect_status WANTED COMMAND...: the command ends with this exit status.
expect_status() {
  local wanted=$1 status=0
  shift
  "$@" || status=$?
  [ "$status" = "$wanted" ] || fail "exit status $status, expected $wanted: $*"
}
# expect_failure COMMAND...: the command ends with an exit status other than 0.
expect_failure() { if "$@"; then fail "succeeded, and should not: $*"; fi; }

# --- time, always bounded

# pause SECONDS: sleeps without starting a process.
exec {pause_fd}<> <(:)
pause() { read -r -t "$1" -u "$pause_fd" || :; }
now_ms() {
  local up
  read -r up _ </proc/uptime
  echo "$((10#${up%.*} * 1000 + 10#${up#*.} * 10))"
}
# wait_until SECONDS COMMAND...: until the command succeeds; 1 when it did not in that time.
wait_until() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(now_ms)" -lt "$end" ] || return 1
    pause 0.1
  done
}
# within SECONDS COMMAND...: 124 when it took longer; the command is then killed.
within() { timeout -k 2 "$@"; }

# --- other guests and the runner

# signal NAME: tells the other guest something; await NAME [SECONDS] waits for it.
signal() { : >"/share/signals/$SCENARIO.$1"; }
await() {
  wait_until "${2:-120}" test -e "/share/signals/$SCENARIO.$1" || fail "no signal '$1' came"
}
# ask VERB ROLE: what only the runner can do, done when it returns.
#   kill ROLE       the machine is gone at once, for good
#   power_cut ROLE  it loses power, and what its volatile disks had not flushed; boots again and
#                   runs this scenario again there with BOOT one higher
#   pause ROLE      the machine hangs, until: resume ROLE
ask() {
  local ask=/share/asks/$ROLE.$$.$RANDOM
  echo "$*" >"$ask.part" && mv "$ask.part" "$ask.ask"
  wait_until 60 test -e "$ask.done" || fail "the runner did not answer: $*"
  local answer
  answer=$(cat "$ask.done")
  expect "ask $*" ok "$answer"
}

# --- devices

# rdma_up: the network and the RDMA device of this guest. The agent has done it already.
rdma_up() {
  local own=$TARGET_IP
  [ "$ROLE" = host ] && own=$HOST_IP
  ip link set eth0 up
  ip -4 addr show dev eth0 | grep -q "$own" || ip addr add "$own/24" dev eth0
  modprobe -a "$(rdma_driver)" rdma_ucm ib_uverbs nvme_fabrics || return
  rdma link show "$RDMA/1" >/dev/null 2>&1 || rdma link add "$RDMA" type "$DEVICE" netdev eth0
  wait_until 10 grep -q ACTIVE "/sys/class/infiniband/$RDMA/ports/1/state"
}
rdma_driver() { [ "$DEVICE" = rxe ] && echo rdma_rxe || echo "$DEVICE"; }
rdma_down() { rdma link del "$RDMA"; }

# link_loss PERCENT: this guest loses so much of what it sends, until link_restore. Within one
# guest siw only: rxe's own traffic passes no queue. link_cut: all of it.
link_loss() {
  local device
  modprobe sch_netem
  for device in eth0 lo; do tc qdisc replace dev "$device" root netem loss "$1%"; done
}
link_cut() { link_loss 100; }
link_restore() {
  local device
  for device in eth0 lo; do tc qdisc del dev "$device" root 2>/dev/null || :; done
}

# scratch N: the path of the N-th scratch disk, from 0.
scratch() {
  local serial
  for serial in /sys/block/vd*/serial; do
    [ "$(cat "$serial")" = "scratch$1" ] || continue
    serial=${serial%/serial}
    echo "/dev/${serial##*/}"
    return
  done
  fail "no scratch disk $1: does the header say '# disks:'?"
}

# --- the kernel's own target

# nvmet_start DEVICE [TRTYPE [NQN]]: exports a block device as namespace 1 on $IP:$PORT.
nvmet_start() {
  local device=$1 transport=${2:-rdma} nqn=${3:-$NQN}
  modprobe -a nvmet "nvmet-$transport"
  local subsystem=$NVMET/subsystems/$nqn port=$NVMET/ports/1
  mkdir "$subsystem" "$subsystem/namespaces/1"
  echo 1 >"$subsystem/attr_allow_any_host"
  echo -n "$device" >"$subsystem/namespaces/1/device_path"
  echo 1 >"$subsystem/namespaces/1/enable"
  if ! [ -d "$port" ]; then
    mkdir "$port"
    echo ipv4 >"$port/addr_adrfam"
    echo "$transport" >"$port/addr_trtype"
    echo "$IP" >"$port/addr_traddr"
    echo "$PORT" >"$port/addr_trsvcid"
  fi
  ln -s "$subsystem" "$port/subsystems/$nqn"
}
nvmet_stop() {
  [ -d "$NVMET" ] || return 0
  local link port namespace subsystem
  for link in "$NVMET"/ports/*/subsystems/*; do [ -e "$link" ] && rm "$link"; done
  for port in "$NVMET"/ports/*; do [ -d "$port" ] && rmdir "$port"; done
  for namespace in "$NVMET"/subsystems/*/namespaces/*; do
    [ -d "$namespace" ] && echo 0 >"$namespace/enable" && rmdir "$namespace"
  done
  for subsystem in "$NVMET"/subsystems/*; do [ -d "$subsystem" ] && rmdir "$subsystem"; done
  return 0
}

# --- our daemon

# sluice_start < CONFIG: serves it, and returns when it listens. Its pid is then in $SLUICE_PID,
# its output in logs/SCENARIO.sluice.log of the run.
sluice_start() {
  cat >/run/sluice.toml
  sluice_spawn "$@"
  wait_until 20 sluice_listens || {
    tail -n 20 "$SLUICE_LOG"
    fail "sluice does not listen"
  }
  judge_baseline
}
# sluice_spawn [ARGUMENT...]: starts the daemon on /run/sluice.toml without waiting for it.
sluice_spawn() {
  SLUICE_LOG=/share/logs/$SCENARIO.sluice.log
  setsid sluice serve --config /run/sluice.toml "$@" >>"$SLUICE_LOG" 2>&1 </dev/null &
  SLUICE_PID=$!
  echo "$SLUICE_PID" >/run/sluice.pid
}
# sluice_base [SPIN]: the part of a configuration that scenarios have in common.
sluice_base() {
  printf '%s\n' '[reactors]' 'count = 2' "spin = \"${1:-0 us}\"" '[limits]' 'pool = "64 MiB"' \
    '[[listener]]' 'name = "fabric"' 'transport = "rdma"' "address = \"$IP\""
}
# sluice_export DISK...: serves one subsystem; each DISK (`ram = "16 MiB"`) is a namespace, from 1.
sluice_export() {
  # Not by a process substitution: the daemon would inherit its descriptor.
  sluice_config "$@" >/run/scenario/sluice.toml
  sluice_start </run/scenario/sluice.toml
}
# sluice_config DISK...: the configuration of it.
sluice_config() {
  local nsid=0 disk
  sluice_base
  printf '%s\n' '[[subsystem]]' "nqn = \"$NQN\"" 'allow_any_host = true'
  for disk; do
    nsid=$((nsid + 1))
    printf '%s\n' '[[subsystem.namespace]]' "nsid = $nsid" "$disk"
  done
}
# sluice_restart: a new daemon on the configuration of the last one. The baseline stays.
sluice_restart() {
  sluice_spawn
  wait_until 20 sluice_listens || {
    tail -n 20 "$SLUICE_LOG"
    fail "sluice does not listen again"
  }
}
# sluice_kill: it is gone at once, as a crash would end it.
sluice_kill() {
  kill -KILL "$SLUICE_PID"
  wait "$SLUICE_PID" || :
}
sluice_listens() {
  kill -0 "$SLUICE_PID" || return 1
  rdma_objects cm_id | grep -q "state LISTEN"
}
sluice_runs() { kill -0 "$SLUICE_PID" 2>/dev/null; }
# sluice_stop [SIGNAL [SECONDS]]: an orderly end, with exit status 0.
sluice_stop() {
  kill -s "${1:-TERM}" "$SLUICE_PID"
  sluice_ended "${2:-30}" || fail "sluice still runs ${2:-30} s after SIG${1:-TERM}"
  local status=0
  wait "$SLUICE_PID" || status=$?
  expect "sluice's exit status" 0 "$status"
}
sluice_ended() { wait_until "$1" eval "! kill -0 $SLUICE_PID"; }

# sluice_status [ARGUMENT...]: what the daemon says of itself.
sluice_status() { within 20 sluice status --config /run/sluice.toml "$@"; }
# sluice_number NAME [JSON]: a number of its JSON, the first of this name.
sluice_number() {
  local text
  text=${2:-$(sluice_status -o json)} && [[ $text =~ \"$1\":\ *([0-9]+) ]] &&
    echo "${BASH_REMATCH[1]}"
}
# --- the kernel's host

# nvme_discover [ARGUMENT...]: the discovery log page as nvme-cli prints it.
nvme_discover() { reach within 30 nvme discover -t rdma -a "$IP" -s "$PORT" "$@"; }
# reach COMMAND...: runs what connects to a target, on siw up to six times.
# QUIRK(siw): accept (siw_cm.c, siw_accept) answers the peer before it takes the socket over. A first
# message that comes in between lies there until a second one comes, and the host sends none: its
# Connect command times out. That is the kernel's, with any target; only it is tried again.
reach() {
  [ -d /sys/module/nvme_rdma ] || modprobe nvme-rdma
  if [ "$DEVICE" != siw ]; then "$@"; return; fi
  # Seconds, instead of 60.
  echo 6 >/sys/module/nvme_core/parameters/admin_timeout
  local try before
  for try in 1 2 3 4 5 6; do
    before=$(connects_timed_out)
    if "$@"; then return 0; fi
    [ "$(connects_timed_out)" -gt "$before" ] || return 1
    allow_warning 'nvme nvme[0-9]+: I/O .*QID [0-9]+ timeout'
    allow_warning 'nvme nvme[0-9]+: (Connect command failed|failed to connect queue)'
  done
  return 1
}
connects_timed_out() { dmesg | grep -Ec 'nvme[0-9]+: I/O .*QID [0-9]+ timeout' || :; }
# nvme_connect [NQN [ARGUMENT...]]: connects, and waits for the namespace's block device.
nvme_connect() {
  local nqn=${1:-$NQN}
  shift || :
  reach within 40 nvme connect -t rdma -a "$IP" -s "$PORT" -n "$nqn" "$@"
  wait_until 15 nvme_device "$nqn" || fail "no block device of $nqn"
}
# nvme_device [NQN [NSID]]: the block device of a connected namespace; 1 when there is none.
nvme_device() {
  local nqn=${1:-$NQN} nsid=${2:-1} subsystem namespace
  for subsystem in /sys/class/nvme-subsystem/*; do
    [ "$(cat "$subsystem/subsysnqn" 2>/dev/null)" = "$nqn" ] || continue
    for namespace in "$subsystem"/nvme*n*; do
      [ "$(cat "$namespace/nsid" 2>/dev/null)" = "$nsid" ] || continue
      [ -b "/dev/${namespace##*/}" ] && { echo "/dev/${namespace##*/}"; return 0; }
    done
  done
  return 1
}
# nvme_controllers [NQN]: names of the host's controllers of a subsystem, one a line.
nvme_controllers() {
  local controller nqn
  for controller in /sys/class/nvme/nvme*; do
    read -r nqn 2>/dev/null <"$controller/subsysnqn" || continue
    [ "$nqn" = "${1:-$NQN}" ] && echo "${controller##*/}"
  done
  return 0
}
nvme_state() { cat "/sys/class/nvme/$1/state"; }
nvme_disconnect() { within 40 nvme disconnect -n "${1:-$NQN}"; }

# fio_verify DEVICE [ARGUMENT...]: random writes of mixed sizes, read back and compared.
fio_verify() {
  local device=$1
  shift
  within 120 fio --name=verify --filename="$device" --rw=randwrite --bsrange=4k-64k --iodepth=16 \
    --ioengine=libaio --direct=1 --size=32m --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --randrepeat=1 "$@" >/run/scenario/fio.txt 2>&1 || {
    cat /run/scenario/fio.txt
    fail "fio verify on $device"
  }
  grep -E 'IOPS|err=' /run/scenario/fio.txt
}

# io_moved DEVICE read|write BYTES: waits until the host has read or written so much more on it.
io_moved() {
  local goal
  goal=$(($(io_bytes "$1" "$2") + $3))
  wait_until 40 io_reached "$1" "$2" "$goal" || fail "the host's ${2}s on $1 stand still"
}
io_reached() { [ "$(io_bytes "$1" "$2")" -ge "$3" ]; }
# io_bytes DEVICE read|write: by the host's own count (Documentation/block/stat.rst). Of a multipath
# disk 6.1 counts at the path only, newer kernels at both.
io_bytes() {
  local name=${1#/dev/} stat fields field=2 most=0
  [ "$2" = read ] || field=6
  for stat in "/sys/block/$name/stat" "/sys/block/${name%n*}"c*"n${name##*n}/stat"; do
    read -r -a fields 2>/dev/null <"$stat" || continue
    [ "${fields[$field]}" -le "$most" ] || most=${fields[$field]}
  done
  echo $((most * 512))
}

# fio_begin DEVICE [ARGUMENT...]: fio_verify in the background, slow enough to be disturbed;
# fio_runs while it does, fio_end waits for it and fails if it saw an error.
fio_begin() {
  fio_verify "$@" --rate=,2m &
  FIO_PID=$!
}
fio_runs() { kill -0 "$FIO_PID" 2>/dev/null || fail "fio ended before it was disturbed"; }
fio_end() { wait "$FIO_PID" || fail "fio saw an error"; }

# allow_reconnects: what a host's kernel says when its connection ends, and while it comes back.
allow_reconnects() {
  allow_warning 'nvme nvme[0-9]+: (starting error recovery|Reconnecting in|Connect command failed)'
  allow_warning 'nvme nvme[0-9]+: (failed to connect queue|rdma connection establishment failed)'
  allow_warning 'nvme nvme[0-9]+: (Connect rejected|rdma_connect_locked failed|Failed reconnect attempt|I/O .*timeout|failed nvme)'
  allow_warning 'nvme nvme[0-9]+: (failed nvme_keep_alive_end_io|nvme_rdma_post_recv failed)'
  allow_warning 'nvme nvme[0-9]+: (RECV|SEND|MEMREG|LOCAL_INV|REG_MR)[a-zA-Z_ ]* for CQE .* failed'
  allow_warning 'nvme nvme[0-9]+: (resetting controller|Property Set error|failed to send request)'
  allow_warning 'block nvme[0-9a-z]+: no (usable|available) path - (requeuing|failing) I/O'
  allow_warning 'siw: got TERMINATE|rxe0: qp#[0-9]+ make_send_cqe: non-flush error status'
}

# --- outside judges of the daemon

# rdma_owned KIND [PID]: how many of its RDMA objects (qp, mr, cq, pd, cm_id) the kernel knows.
rdma_owned() { rdma_objects "$@" | grep -c . || :; }
# rdma_objects KIND [PID]: them, a line each. The kernel names the thread that made an object as its
# owner, and keeps the number when the thread has ended.
rdma_objects() {
  local process=${2:-$SLUICE_PID} line thread
  rdma resource show "$1" 2>/dev/null | while read -r line; do
    [[ $line =~ " pid "([0-9]+)" " ]] || continue
    thread=${BASH_REMATCH[1]}
    if [ -e "/proc/$process/task/$thread" ] || [ ! -e "/proc/$thread" ]; then echo "$line"; fi
  done
}
fd_count() { ls "/proc/${1:-$SLUICE_PID}/fd" | wc -l; }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/${1:-$SLUICE_PID}/status"; }
# judge_baseline: remembers what the daemon holds while nobody is connected.
judge_baseline() {
  local kind
  for kind in qp mr cq pd cm_id; do rdma_owned "$kind"; done >/run/scenario/baseline
  fd_count >>/run/scenario/baseline
  rss_kib >/run/scenario/baseline-rss
}
# judge_settled: the same, if it stays so for a moment: a channel is closed a little after its id.
judge_settled() {
  judge_baseline
  pause 0.3
  judge_same
}
judge_now() { local kind; for kind in qp mr cq pd cm_id; do rdma_owned "$kind"; done; fd_count; }
# judge_clean [SECONDS]: the daemon holds again what it held at the baseline, and has not grown by
# more than $RSS_GROWTH_KIB. A disk in memory grows as it is written for the first time: what a
# scenario writes there counts on top.
judge_clean() {
  wait_until "${1:-10}" judge_same ||
    fail "the daemon holds $(judge_now | xargs) (qp mr cq pd cm_id fd)," \
      "at the start $(xargs </run/scenario/baseline)"
  local grown=$(($(rss_kib) - $(cat /run/scenario/baseline-rss)))
  [ "$grown" -le "${RSS_GROWTH_KIB:-16384}" ] || fail "the daemon has grown by $grown KiB"
}
judge_same() { [ "$(judge_now)" = "$(cat /run/scenario/baseline)" ]; }

# judge_account: by the daemon's own account nothing was given up or lost, every connection came to
# its destroy in time, and its log knows of no panic. Says what it saw.
judge_account() {
  local account field
  account=$(sluice_status -o json) || fail "the daemon gives no account"
  for field in quarantined work_requests_leaked buffers_leaked disk_operations_leaked disk_errors; do
    [[ $account =~ \"$field\":\ *0[,[:space:]] ]] || fail "$field is not 0: $(sluice_number "$field" "$account")"
  done
  local closed late slowest
  closed=$(sluice_number closed "$account") late=$(sluice_number deadline_met "$account")
  slowest=$(sluice_number slowest_to_destroy_ms "$account")
  say "account: $closed connections drained, $late at the deadline, the slowest took $slowest ms"
  [ "$slowest" -le 15000 ] || fail "a connection took $slowest ms to its destroy"
  judge_log
}
# judge_log: no panic, no leak, no drain that does not add up, of this or an earlier daemon.
judge_log() {
  ! grep -E 'panicked|leaked with all|quarantined|; [1-9][0-9]* leaked' "$SLUICE_LOG" ||
    fail "the daemon's log tells of a fault"
}

# sluice_warm_up [CONNECTIONS]: lets every reactor meet the device once, one after the other, so that
# what the daemon keeps of a device (protection domain, completion queue, pool) counts as baseline.
sluice_warm_up() {
  local i
  for ((i = 0; i < ${1:-4}; i++)); do meet_reactor || fail "discover"; done
  wait_until 10 expect_quiet || fail "queue pairs are left after discovery: $(rdma_owned qp)"
  wait_until 10 judge_settled || fail "what the daemon holds keeps changing"
}
# The first connection of a reactor waits until its memory is pinned: milliseconds, and seconds in a
# guest that hardly runs. Then the host may have given up, and finds a device that is in use.
meet_reactor() {
  local try
  for try in 1 2 3; do
    nvme_discover >/dev/null && return
    allow_warning 'nvme nvme[0-9]+: rdma connection establishment failed'
    say "discovery failed, try $try"
  done
  return 1
}
expect_quiet() { [ "$(rdma_owned qp)" = 0 ]; }

# --- the kernel as a judge

kernel_mark() { echo "lab: begin $SCENARIO" >/dev/kmsg; }
# allow_warning PATTERN: a kernel message (extended regular expression) that this scenario causes
# on purpose.
allow_warning() { echo "$1" >>/run/scenario/allowed-warnings; }
# kernel_warnings: what the kernel warned of since the scenario began and nobody allows. Of a
# splat with registers and stack (all in the console) its WARNING line only.
kernel_warnings() {
  local allowed=/run/scenario/all-allowed
  { grep -v '^#' /share/guest/allowed-warnings; cat /run/scenario/allowed-warnings 2>/dev/null; } |
    grep . >"$allowed"
  dmesg -r | sed -n "/lab: begin $SCENARIO\$/,\$p" |
    sed '/\[ cut here \]/,/---\[ end trace/{ / WARNING: /!d }' |
    grep -E '^<[0-4]>' | grep -vEf "$allowed"
}

# processes NAME...: those that run under one of these names, a line each.
processes() {
  local comm name
  for comm in /proc/[0-9]*/comm; do
    read -r name 2>/dev/null <"$comm" || continue
    [[ " $* " == *" $name "* ]] && echo "process $name ${comm//[!0-9]/}"
  done
  return 0
}

# clean_up: after each scenario, by the agent. Ends what the scenario left, then looks whether the
# guest is as it was; a guest that is not is not used again.
clean_up() {
  umount /mnt 2>/dev/null
  [ -z "$(controllers)" ] || within 60 nvme disconnect-all >/dev/null 2>&1
  [ -e /run/sluice.pid ] && kill -KILL "$(cat /run/sluice.pid)" 2>/dev/null
  rm -f /run/sluice.pid
  [ -d /sys/module/dm_mod ] && within 30 dmsetup remove_all --force >/dev/null 2>&1
  nvmet_stop
  link_restore
  rdma_up || reason "the RDMA device does not come back"
  wait_until 10 nothing_left || {
    echo dirty >/run/scenario/dirty
    left_behind | sed 's/^/left behind: /' >&2
  }
  local warning
  kernel_warnings | head -5 | while read -r warning; do reason "the kernel warned: $warning"; done
}
controllers() {
  local name
  for name in /sys/class/nvme/nvme*; do [ -e "$name" ] && echo "controller ${name##*/}"; done
  return 0
}
nothing_left() { [ -z "$(left_behind)" ]; }
left_behind() {
  controllers
  rdma resource show qp 2>/dev/null | grep -v 'type GSI\|type SMI\|type GSI/SMI'
  processes sluice fio nvme
  grep ' /mnt ' /proc/mounts
  return 0
}
