# What kills does: one host, connected to our target and to the kernel's in the same guest, writes to
# both and dies. Each target is timed from the first moment at which it can know: its keep-alive
# expires, or its transport gives up.

. "$LAB/guest/faults.sh"

KERNEL_NQN=$NQN-kernel
KERNEL_PORT=4421
TABLE=/share/logs/$SCENARIO.table.txt

target_survives() {
  local deaths=$1 death counted=0
  # Cut off at the end, with all that counts done.
  [ "$BOOT" = 1 ] || return 0
  NVMET_HANGS=
  # What nvmet says when its host is gone.
  allow_warning 'nvmet: ctrl [0-9]+ (keep-alive timer|fatal error)'
  allow_warning 'nvmet_rdma: (post_recv cmd|sending cmd response) failed'
  allow_warning 'nvmet_rdma: [A-Z ]+ for CQE .* failed with status'
  allow_warning 'INFO: task .* blocked for more than|Tainted: |echo 0 > ./proc/sys/kernel/hung_task'
  modprobe brd rd_nr=1 rd_size=65536
  PORT=$KERNEL_PORT nvmet_start /dev/ram0 rdma "$KERNEL_NQN"
  target_exports "device = \"$(scratch 0)\""
  sluice_number closed >/run/scenario/last-drain
  # On a busy machine a host loses a connection of its own accord now and then. One that had left
  # before it died says nothing about its death, and is not counted.
  for ((death = 1; counted < deaths && death <= deaths * 2; death++)); do
    await "writing.$death" 180
    # Both targets are at work when it happens, and not always at the same point of it.
    pause "0.$((death * 7 % 10))"
    wait_until 60 both_connected || fail "the host is not connected to both"
    KILLED=$(now_ms)
    echo "lab: death $death" >/dev/kmsg
    ask power_cut host
    watch_both "$death"
    tail -n 1 "$TABLE" | grep -q peer-disconnected || counted=$((counted + 1))
    signal "noticed.$death"
  done
  ask kill host
  judge_clean 20
  judge_account
  summary | tee -a "$TABLE"
  sluice_stop
  # A kernel that hangs can't be cleaned up.
  [ -z "$NVMET_HANGS" ] || ask power_cut target
  nvmet_stop
}

host_dies() {
  local device devices
  allow_reconnects
  await exported
  [ "$BOOT" = 1 ] || await "noticed.$((BOOT - 1))" 120
  nvme_connect "$NQN" --keep-alive-tmo=5
  devices=$(nvme_device)
  if ! [ -e "/share/signals/$SCENARIO.nvmet-hangs" ]; then
    PORT=$KERNEL_PORT nvme_connect "$KERNEL_NQN" --keep-alive-tmo=5
    devices+=" $(nvme_device "$KERNEL_NQN")"
  fi
  for device in $devices; do
    fio --name=on --filename="$device" --rw=randwrite --bsrange=4k-64k --iodepth=16 \
      --ioengine=libaio --direct=1 --time_based --runtime=300 >/run/scenario/fio.txt 2>&1 &
    # Over siw a queue that lost its first message comes half a minute later.
    wait_until 120 io_reached "$device" write 500000 || fail "the host does not write to $device"
  done
  signal "writing.$BOOT"
  pause 200
  fail "the machine should be gone by now"
}

# watch_both DEATH: until neither target has a queue pair of the dead host; a line of the table.
#
# Over siw nvmet can hang in that for ever (6.12: its queue pair stays in SQD, where it waits for the
# dead host's FIN). Half a minute after ours is gone it is left alone, with a dash in the table, and
# not connected to again.
watch_both() {
  local ours='' kernels='' now
  [ -z "$NVMET_HANGS" ] || kernels=-
  while [ -z "$ours" ] || [ -z "$kernels" ]; do
    rdma resource show qp >/run/scenario/qps
    now=$(($(now_ms) - KILLED))
    [ -n "$ours" ] || grep -q ' type RC .* pid ' /run/scenario/qps || ours=$now
    [ -n "$kernels" ] || grep ' type RC ' /run/scenario/qps | grep -qv ' pid ' || kernels=$now
    if [ -n "$ours" ] && [ -z "$kernels" ] && [ "$now" -gt $((ours + 30000)) ]; then
      kernels=- NVMET_HANGS=yes
      say "nvmet still has $(grep ' type RC ' /run/scenario/qps | grep -v ' pid ')"
      signal nvmet-hangs
    fi
    [ "$now" -lt 120000 ] || fail "queue pairs of a dead host are left: $(cat /run/scenario/qps)"
    pause 0.02
  done
  # A connection's record comes after the end of its queue pair.
  wait_until 20 all_drained || fail "connections of a dead host are not drained"
  echo "$1 $(drained_since_death) gone $ours nvmet $(nvmet_knew "$1") gone $kernels" |
    tee -a "$TABLE"
}
both_connected() {
  rdma resource show qp >/run/scenario/qps
  [ "$(grep -c ' type RC .* pid ' /run/scenario/qps || :)" = 2 ] || return 1
  [ -n "$NVMET_HANGS" ] ||
    [ "$(grep ' type RC ' /run/scenario/qps | grep -cv ' pid ' || :)" = 2 ]
}
all_drained() { [ "$(sluice_number pool_used_bytes)" = 0 ] && [ "$(connections_now)" = 0 ]; }
connections_now() {
  sluice_status -o json | grep -oE '"connections": ?[0-9]+' |
    awk -F: '{ sum += $2 } END { print sum + 0 }'
}

# drained_since_death: of the daemon's own records since the last call, "known MS back MS CAUSE": when
# the first connection's close began, from the death; how long until the last one's memory was back.
drained_since_death() {
  local uptime
  uptime=$(now_ms)
  sluice drains --config /run/sluice.toml -o json >/run/scenario/drains
  # The daemon said its own uptime somewhere in between.
  uptime=$(((uptime + $(now_ms)) / 2))
  grep -oE '"(uptime_ms|id|at_uptime_ms|cause|entered_us)": ?("[^"]*"|-?[0-9]+)' \
    /run/scenario/drains | sed 's/"//g; s/: */ /' |
    awk -v last="$(</run/scenario/last-drain)" -v now="$uptime" -v killed="$KILLED" '
      function ended() {
        if (id > last) {
          if (!first || at - took / 1000 < first) { first = at - took / 1000; why = cause }
          if (at > end) end = at
        }
        took = 0
      }
      $1 == "uptime_ms" { start = now - $2 }
      $1 == "id" { if (id) ended(); id = $2 }
      $1 == "at_uptime_ms" { at = $2 }
      $1 == "cause" { $1 = ""; cause = $0; gsub(/^ /, "", cause); gsub(/ /, "-", cause) }
      $1 == "entered_us" && $2 > took { took = $2 }
      END { ended(); printf "ours known %d back %d %s", first + start - killed, end - first, why }'
  sluice_number closed >/run/scenario/last-drain
}

# nvmet_knew DEATH: "known MS WHY", from the death, by the kernel's log and its own clock.
nvmet_knew() {
  dmesg | tr -d '[]' | awk -v death="lab: death $1" '
    index($0, death) { killed = $1; seen = 1; next }
    seen && /nvmet/ && /keep-alive timer|fatal error|failed/ {
      why = /keep-alive/ ? "keep-alive" : "transport"
      printf "known %d %s", ($1 - killed) * 1000, why
      exit
    }
    END { if (!why) printf "known - -" }'
}

# summary: half of the deaths that count took at most this, and the worst.
summary() {
  local name column counted=/run/scenario/counted
  grep '^[0-9]' "$TABLE" | grep -v peer-disconnected >"$counted"
  for name in "ours: known to memory back:6" "ours: death to queue pairs gone:9" \
    "nvmet: death to queue pairs gone:15"; do
    column=${name##*:}
    awk -v column="$column" '$column != "-" { print $column }' "$counted" | sort -n |
      awk -v name="${name%:*}" '{ all[NR] = $1 } END {
        if (!NR) print name ": never"
        else printf "%s: p50 %d ms, worst %d ms of %d\n", name, all[int((NR + 1) / 2)], all[NR], NR }'
  done
  awk '$15 != "-" && $12 != "-" { print $15 - $12 }' "$counted" | sort -n |
    awk '{ all[NR] = $1 } END {
      if (!NR) print "nvmet: known to queue pairs gone: never"
      else printf "nvmet: known to queue pairs gone: p50 %d ms, worst %d ms of %d\n",
        all[int((NR + 1) / 2)], all[NR], NR }'
  [ -z "$NVMET_HANGS" ] || echo "nvmet: hangs in the end of a connection"
}
