# What takes long, in a short and a long form: two scenarios each.

# A round does not wait for the block device: the host may leave in the middle of its scan.
round() {
  reach within 40 nvme connect -t rdma -a "$IP" -s "$PORT" -n "$NQN" -i 1 ||
    fail "connect of round $1"
  nvme_disconnect >/dev/null || fail "disconnect of round $1"
}

# storm ROUNDS: connects and disconnects so often, and finds the daemon as it was.
storm() {
  local rounds=$1 i warm began grown
  # The host leaves in the middle of its scan: the partition table it reads, and the node that
  # something opens, are of a disk that goes at that moment.
  allow_warning 'block nvme[0-9a-z]+: no (usable|available) path - (requeuing|failing) I/O'
  allow_warning '(Buffer I/O error on dev|Dev) nvme[0-9a-z]+(, logical block|: unable to read RDB)'
  allow_warning '(nvme_ns_head_submit_bio: [0-9]+ callbacks suppressed|device autoloading is dep)'
  sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
  sluice_warm_up

  for ((i = 1; i <= 10; i++)); do round "$i"; done
  judge_clean
  warm=$(rss_kib)
  began=$(now_ms)
  for ((i = 11; i <= rounds; i++)); do round "$i"; done
  say "$((rounds - 10)) rounds in $(($(now_ms) - began)) ms"
  judge_clean
  grown=$(($(rss_kib) - warm))
  say "the daemon's memory grew by $grown KiB in $((rounds - 10)) rounds"
  [ "$grown" -le 1024 ] || fail "the daemon grew by $grown KiB in $((rounds - 10)) rounds"
  expect "controllers left" "" "$(sluice_status -o json | grep '"cntlid"' || :)"
  expect "pool in use" 0 "$(sluice_number pool_used_bytes)"
  [ "$(sluice_number closed)" -ge $((rounds * 2)) ] || fail "fewer drains than connections"
  nvme_connect
  nvme_disconnect
  judge_clean
  judge_account
  sluice_stop
}

# Of all threads, those that come and go included as far as the process counts them.
switches() {
  cat /proc/"$SLUICE_PID"/task/*/status |
    awk '/ctxt_switches/ { sum += $2 } END { print sum }'
}
# Nanoseconds on a CPU, of all threads (in bash: busybox's awk stops counting at 2^31).
runtime() {
  local sum=0 schedstat ran
  for schedstat in /proc/"$SLUICE_PID"/task/*/schedstat; do
    read -r ran _ <"$schedstat" && sum=$((sum + ran))
  done
  echo "$sum"
}
# A busy machine makes what the guest takes for CPU time longer, never shorter: the best of three.
quiet() {
  local switched used
  switched=$(switches) used=$(runtime)
  pause "$seconds"
  switched=$(($(switches) - switched)) used=$((($(runtime) - used) / 1000))
  say "in $seconds s: $switched context switches, $used us of CPU, RSS $(rss_kib) KiB"
  # It does answer keep-alives. Half a per cent of a second is 5000 us.
  [ "$used" -gt 0 ] || fail "the kernel counts no CPU time"
  [ "$switched" -lt $((seconds * 5)) ] && [ "$used" -le $((seconds * 5000)) ]
}

# idle SECONDS: a host that is connected and does nothing, and a daemon that sleeps meanwhile.
idle() {
  seconds=$1
  sluice_start <<END
$(sluice_base "20 us")
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
  sluice_warm_up
  nvme_connect "$NQN" -i 2
  # Let udev-like readers and the scan of the namespace come to an end.
  pause 2

  quiet || quiet || quiet || fail "the daemon does not sleep"
  expect "the host's state" live "$(nvme_state "$(nvme_controllers)")"
  nvme_disconnect
  judge_clean
  judge_account
  # A drain's time begins when its cause is seen, not when the daemon fell asleep.
  [ "$(sluice_number slowest_to_destroy_ms)" -lt 5000 ] || fail "a drain counts the sleep before it"
  sluice_stop
}
