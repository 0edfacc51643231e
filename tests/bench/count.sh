# title: guest instructions per I/O of the kernel's target and of ours, counted under -icount
# suite: all
# timeout: 1800 s
# cpus: 1
#
# One instruction is one nanosecond of guest time, so the time of I/O is their number. Each job runs
# twice, with few and with many I/Os, and the difference counts: what starts and ends a run cancels.
. /share/guest/bench.sh

# ticks: busy and idle ticks (10 ms) of the CPU so far.
ticks() {
  local user nice system idle iowait irq softirq rest
  read -r _ user nice system idle iowait irq softirq rest </proc/stat
  echo "$((user + nice + system + irq + softirq)) $((idle + iowait))"
}

# count TARGET JOB RW BS QD: one row: few, many, their times in ms, busy and idle ticks between.
count() {
  local few=500 many=4500 few_ms before middle after
  [ "$4" = 128k ] && few=40 many=240
  before=$(ticks)
  bench_fio "$1" "$3" "$4" "$5" --number_ios=$few
  few_ms=$BENCH_MS middle=$(ticks)
  bench_fio "$1" "$3" "$4" "$5" --number_ios=$many
  after=$(ticks)
  echo "$DEVICE $2 $1 $few $many $few_ms $BENCH_MS $before $middle $after" | tee -a "$BENCH_ROWS"
}

say "clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
bench_disks
nvmet_start /dev/ram0 rdma "$NQN.nvmet"
bench_sluice
for target in $BENCH_TARGETS; do
  bench_connect "$target"
  while read -r job rw bs qd; do
    [ -z "$job" ] || count "$target" "$job" "$rw" "$bs" "$qd"
  done <<<"$BENCH_JOBS"
  nvme_disconnect "$NQN.$target"
done
sluice_stop
