# title: the daemon as the unit runs it: a plain user, one capability, its group and nobody else
# group: nvme
# timeout: 90 s
# cpus: 4
# disks: 1x256MiB

user=900 rdma=901 other=902
disk=$(scratch 0)
# What udev's rules and the unit's directories set up.
udev() {
  chgrp "$rdma" /dev/infiniband/uverbs* /dev/infiniband/rdma_cm
  chmod 0660 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm
  chown "$user" "$disk" && chmod 0600 "$disk"
  mkdir -p /run/sluice && chown "$user:$user" /run/sluice && chmod 0750 /run/sluice
  mkdir -p /var/lib/sluice && chown "$user:$user" /var/lib/sluice && chmod 0750 /var/lib/sluice
}
restore() {
  chmod 0666 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm
  chown 0 "$disk"
}
trap restore EXIT
udev
chmod 755 /run /run/scenario
cat >/run/sluice.toml <<END
control_socket = "/run/sluice/control.sock"
state_dir = "/var/lib/sluice"
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
device = "$disk"
END

# as USER GROUPS CAPABILITIES: puts into $as what starts a command so.
as() {
  as=(setpriv --reuid="$1" --regid="$1" --groups="$2" --no-new-privs
    --bounding-set="$3" --inh-caps="$3" --ambient-caps="$3")
}
SLUICE_LOG=/share/logs/$SCENARIO.sluice.log
: >>"$SLUICE_LOG"
as "$user" "$user,$rdma" -all,+ipc_lock
"${as[@]}" setsid sluice serve --config /run/sluice.toml \
  >>"$SLUICE_LOG" 2>&1 </dev/null &
SLUICE_PID=$!
echo "$SLUICE_PID" >/run/sluice.pid
wait_until 20 sluice_listens || { tail "$SLUICE_LOG"; fail "it does not listen"; }
expect "its user" "$user" "$(awk '/^Uid/ { print $2 }' "/proc/$SLUICE_PID/status")"
expect "its capabilities (bit 14, CAP_IPC_LOCK)" 0000000000004000 \
  "$(awk '/^CapEff/ { print $2 }' "/proc/$SLUICE_PID/status")"

sluice_warm_up
nvme_connect "$NQN" -i 2
fio_verify "$(nvme_device)" --size=2m
nvme_disconnect
judge_clean

# Its group may ask, others may not, and are told so.
status=(sluice status --config /run/sluice.toml)
as 903 "$user" -all
within 10 "${as[@]}" "${status[@]}" >/run/scenario/member || fail "its group can't ask"
grep -q serving /run/scenario/member || fail "its group gets no answer"
as "$other" "$other" -all
expect_failure within 10 "${as[@]}" "${status[@]}" >/run/scenario/other 2>&1
cat /run/scenario/other
grep -qi 'permission' /run/scenario/other || fail "others are not told why"
judge_account
sluice_stop
[ ! -e /run/sluice/control.sock ] || fail "the socket is left"
