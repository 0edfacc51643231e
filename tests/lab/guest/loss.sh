# What packet_loss and packet_loss_heavy do: verified I/O while both sides lose a part of what they
# send.

. "$LAB/guest/faults.sh"

# lossy PERCENT...
target_loses() {
  local percent
  target_exports "device = \"$(scratch 0)\""
  for percent; do
    await "ready.$percent" 180
    link_loss "$percent"
    signal "lossy.$percent"
    await "verified.$percent" 180
    say "the target lost $(lost) packets at $percent %"
    link_restore
  done
  target_ends
}
# host_loses SIZE PERCENT...
host_loses() {
  local size=$1 percent began
  shift
  # Any command of a reconnect, or of a scan, may be the one that is lost.
  allow_warning 'nvme nvme[0-9]+: .*([Ff]ailed|[Ee]rror|timeout)'
  # The one message of the CM that says a connection is over may be lost, too: then the host's last
  # command waits for its own timeout, which is 60 s otherwise.
  modprobe nvme-core
  echo 10 >/sys/module/nvme_core/parameters/admin_timeout
  host_connects
  for percent; do
    signal "ready.$percent"
    await "lossy.$percent"
    link_loss "$percent"
    began=$(now_ms)
    fio_verify "$(nvme_device)" --size="$size" --bsrange=4k-16k
    say "the host lost $(lost) packets at $percent %, in $(($(now_ms) - began)) ms"
    [ "$(lost)" -gt 0 ] || fail "no packet was lost"
    link_restore
    signal "verified.$percent"
  done
  wait_until 60 host_lives || fail "the host does not come back"
  host_leaves
}
# lost: packets that netem has dropped here.
lost() { tc -s qdisc show dev eth0 | sed -nE 's/.*\(dropped ([0-9]+),.*/\1/p' | head -n 1; }
