# What takes long, in a short and a long form: two scenarios each.

. "$LAB/guest/faults.sh"

# Hosts that come at a time; they leave together. What a connect and a disconnect take in a guest is mostly
# waiting, so four of them take little longer than one.
HOSTS=4

# round N: HOSTS hosts come and go. None waits for its block device: a host may leave in the middle of
# its scan.
round() {
  local host
  for ((host = 1; host <= HOSTS; host++)); do
    reach connect_as "$host" "$NQN" 1 || fail "connect of host $host in round $1"
  done
  leave "$NQN"
}

# allow_storm: hosts leave in the middle of their scan. The partition table they read, and the node
# that something opens, are of a disk that goes at that moment.
allow_storm() {
  allow_warning 'block nvme[0-9a-z]+: no (usable|available) path - (requeuing|failing) I/O'
  allow_warning '(Buffer I/O error on dev|Dev) nvme[0-9a-z]+(, logical block|: unable to read RDB)'
  allow_warning 'device autoloading is dep'
  allow_warning 'nvme nvme[0-9]+: failed nvme_keep_alive_end_io'
}

# storm CONNECTS: connects and disconnects so often, and finds the daemon as it was.
storm() {
  local rounds=$(($1 / HOSTS)) warm=5 i began grown rss
  allow_storm
  sluice_export 'ram = "16 MiB"'
  sluice_warm_up

  for ((i = 1; i <= warm; i++)); do round "$i"; done
  judge_clean
  rss=$(rss_kib)
  began=$(now_ms)
  for ((i = warm + 1; i <= rounds; i++)); do round "$i"; done
  say "$(((rounds - warm) * HOSTS)) connects and disconnects in $(($(now_ms) - began)) ms"
  judge_clean
  grown=$(($(rss_kib) - rss))
  say "the daemon's memory grew by $grown KiB meanwhile"
  [ "$grown" -le 1024 ] || fail "the daemon grew by $grown KiB"
  expect "controllers left" "" "$(sluice_status -o json | grep '"cntlid"' || :)"
  expect "pool in use" 0 "$(sluice_number pool_used_bytes)"
  [ "$(sluice_number closed)" -ge $((rounds * HOSTS * 2)) ] || fail "fewer drains than connections"
  nvme_connect
  nvme_disconnect
  judge_clean
  judge_account
  sluice_stop
}

# storm_beside_io ROUNDS: so many other hosts come and go while one that stays writes and verifies
# all the time.
storm_beside_io() {
  local rounds=$1 i
  allow_storm
  RSS_GROWTH_KIB=$((16384 + 32768))
  sluice_start <<END
$(sluice_config 'ram = "16 MiB"')
[[subsystem]]
nqn = "$NQN-guests"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
  sluice_warm_up
  nvme_connect "$NQN" -i 2
  steady_begin "$(nvme_device)" --size=8m
  for ((i = 1; i <= rounds; i++)); do
    reach connect_as "$i" "$NQN-guests" 2 || fail "connect of host $i"
    leave "$NQN-guests"
  done
  steady_end
  say "$rounds hosts came and went meanwhile"
  nvme_disconnect
  judge_clean
  judge_account
  sluice_stop
}

# verified PASSES: writes and verifies a disk of 256 MiB so often, with other blocks each time.
verified() {
  local passes=$1 pass began device
  sluice_export "device = \"$(scratch 0)\""
  sluice_warm_up
  nvme_connect "$NQN" -i 4
  device=$(nvme_device)
  began=$(now_ms)
  for ((pass = 1; pass <= passes; pass++)); do
    fio_verify "$device" --size=256m --bsrange=16k-1m --iodepth=8 --randrepeat=0 --randseed="$pass"
  done
  say "$((passes * 256)) MiB written and verified in $(($(now_ms) - began)) ms"
  [ "$(sluice_number written_bytes)" -ge $((passes << 28)) ] || fail "fio did not write all of it"
  nvme_disconnect
  judge_clean
  judge_account
  sluice_stop
}

# reset_host CONTROLLER: it is live again, by itself. On siw the new connection may lose its first
# message, see `reach`: the reset fails then, and the host tries again.
reset_host() {
  local before
  before=$(connects_timed_out)
  if within 60 nvme reset "/dev/$1"; then
    [ "$(nvme_state "$1")" = live ]
  else
    [ "$DEVICE" = siw ] && [ "$(connects_timed_out)" -gt "$before" ] || return 1
    allow_warning 'nvme nvme[0-9]+: (I/O .*QID [0-9]+ timeout|Connect command failed)'
    say "a first message was lost"
    wait_until 60 eval "[ \"\$(nvme_state $1)\" = live ]"
  fi
}

# resets ROUNDS: so many resets of the controller while a disk is written and verified.
resets() {
  local rounds=$1 round controller device
  allow_reconnects
  # The disk in memory, as far as it is written.
  RSS_GROWTH_KIB=$((16384 + 24576))
  sluice_export 'ram = "16 MiB"'
  sluice_warm_up
  nvme_connect "$NQN" -i 2 --reconnect-delay=1
  controller=$(nvme_controllers)
  device=$(nvme_device)
  steady_begin "$device" --size=12m
  for ((round = 1; round <= rounds; round++)); do
    io_moved "$device" write 500000
    reset_host "$controller" || fail "reset $round: the host is $(nvme_state "$controller")"
  done
  steady_end
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
