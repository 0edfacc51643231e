# The guest's side of the runner. Sourced by init once /share is mounted; returns to power off.
#
# The share, seen by every guest of a run:
#   orders/ROLE     what this guest is to do next: "run SCENARIO SECONDS" or "poweroff"
#   ready/ROLE      written at each boot, when orders are taken
#   results/SCENARIO.ROLE   exit status, then the reasons of a failure, a line each
#   asks/           requests to the runner, see `ask` in lib.sh
#   signals/        what guests tell each other, see `signal` and `await`

for word in $(cat /proc/cmdline); do
  case $word in
    lab.role=*) export ROLE=${word#*=} ;;
    lab.device=*) export DEVICE=${word#*=} ;;
    lab.boot=*) export BOOT=${word#*=} ;;
    lab.shell) lab_shell=yes ;;
  esac
done
hostname "$ROLE"
export LAB=/share
. "$LAB/guest/lib.sh"

cp -a "$LAB"/bin/. /usr/sbin/ 2>/dev/null
for library in "$LAB"/lib/*; do
  [ -e "$library" ] && [ ! -e "/usr/lib/x86_64-linux-gnu/${library##*/}" ] &&
    cp "$library" /usr/lib/x86_64-linux-gnu/
done
rdma_up || echo "agent: no RDMA device"

# Puts a file in place at once: a reader sees all of it or nothing.
publish() { cat >"$1.part" && mv "$1.part" "$1"; }

# What waits for what, when something took too long.
show_hang() {
  ps -o pid,ppid,stat,time,args 2>/dev/null | grep -v '\[.*\]$' | tail -n 20
  echo w >/proc/sysrq-trigger
  dmesg | tail -n 40
}

# Runs one scenario in a shell of its own, cleans up behind it and reports.
run_scenario() {
  local name=$1 seconds=$2 status
  export SCENARIO=$name
  rm -rf /run/scenario && mkdir -p /run/scenario
  say "=== scenario $name on $ROLE ($DEVICE, boot $BOOT)"
  kernel_mark
  # The scenario may kill what it wants, and end as it wants: the agent stays.
  setsid --wait timeout -k 5 "$seconds" \
    bash "$LAB/guest/scenario.sh" "$LAB/scenarios/$name.sh" </dev/null 2>&1
  status=$?
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    reason "time limit of $seconds s"
    show_hang
  fi
  [ "$status" = 0 ] || [ -s /run/scenario/reasons ] ||
    echo "exit status $status" >>/run/scenario/reasons
  clean_up
  # Warnings that a scenario allows are nowhere else.
  dmesg | sed -n "/lab: begin $name\$/,\$p" >"$LAB/logs/$name.$ROLE.dmesg.txt"
  [ -s /run/scenario/reasons ] && [ "$status" = 0 ] && status=1
  say "=== end $name on $ROLE: $status"
  sed 's/^/    /' /run/scenario/reasons 2>/dev/null
  { echo "$status"; cat /run/scenario/dirty /run/scenario/reasons 2>/dev/null; } |
    publish "$LAB/results/$name.$ROLE"
}

if [ -n "${lab_shell:-}" ]; then
  echo "A shell on $ROLE with $DEVICE and the vocabulary of scenarios; exit powers it off."
  setsid cttyhack bash --rcfile /share/guest/lib.sh
  return
fi

echo "$BOOT" | publish "$LAB/ready/$ROLE"
while :; do
  if [ -e "$LAB/orders/$ROLE" ]; then
    read -r order name seconds <"$LAB/orders/$ROLE"
    rm "$LAB/orders/$ROLE"
    case $order in
      run) run_scenario "$name" "$seconds" ;;
      poweroff) break ;;
    esac
  fi
  pause 0.05
done
