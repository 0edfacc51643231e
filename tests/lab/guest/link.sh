# What link_cut and link_cut_one_way do. A side that is cut loses all that it sends.

. "$LAB/guest/faults.sh"

# cuts WHO...: for each WHO (target, host or both) one cut link under verified writes, and healed.
target_cuts() {
  local who
  target_exports "device = \"$(scratch 0)\""
  for who; do
    await "writing.$who"
    doom
    [ "$who" = host ] || link_cut
    signal "cut.$who"
    say "what $who sends is lost"
    # The keep-alive of 5 s, or the transport's retries, and the bound of the drain. A host that
    # hears nothing gives up by its own keep-alive first, and may be heard until then.
    await_closed 45
    signal "closed.$who"
    link_restore
    await "written.$who" 120
  done
  target_ends
}
host_cuts() {
  local who
  host_connects
  for who; do
    wait_until 60 host_lives || fail "the host does not come back"
    fio_begin "$(nvme_device)" --size=6m
    io_moved "$(nvme_device)" write 1000000
    fio_runs
    signal "writing.$who"
    if [ "$who" = target ]; then
      await "cut.$who"
    else
      link_cut
    fi
    await "closed.$who"
    link_restore
    fio_end
    signal "written.$who"
  done
  wait_until 60 host_lives || fail "the host does not come back"
  host_leaves
}
