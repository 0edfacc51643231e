# title: IOPS of the kernel's target and of ours, in turns, ten of each
# suite: all
# timeout: 1800 s
# cpus: 2
#
# Both targets stay connected; in each round both run each job once, and the order turns round with
# every round, so that what else the machine does meets both alike.
. /share/guest/bench.sh

rounds=10
seconds=1

bench_disks
nvmet_start /dev/ram0 rdma "$NQN.nvmet"
bench_sluice
for target in nvmet sluice; do bench_connect "$target"; done
for ((round = 1; round <= rounds; round++)); do
  order="nvmet sluice"
  if ((round % 2)); then order="sluice nvmet"; fi
  while read -r job rw bs qd; do
    [ -n "$job" ] || continue
    for target in $order; do
      bench_fio "$target" "$rw" "$bs" "$qd" --time_based --runtime="$seconds"
      echo "$DEVICE $job $target $round $BENCH_IOPS" >>"$BENCH_ROWS"
    done
  done <<<"$BENCH_JOBS"
  say "round $round of $rounds"
done
for target in nvmet sluice; do nvme_disconnect "$NQN.$target"; done
sluice_stop
