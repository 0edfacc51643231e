# title: a peer that was cut off goes on sending; no freed buffer and nobody else's data changes
# group: nvme
# timeout: 300 s
# cpus: 4
# disks: 1x256MiB
# needs: sluice hostile-host

# A debug daemon fills freed buffers with a pattern and looks at it when they are used again: the
# other host's writes use them all the time.
. "$LAB/guest/faults.sh"

allow_reconnects
allow_warning 'rxe0: qp#[0-9]+ (do_complete|make_send_cqe): non-flush error status = [0-9]+$'
RSS_GROWTH_KIB=$((16384 + 98304))
sluice_start <<END
$(sluice_config 'ram = "64 MiB"')
[[subsystem]]
nqn = "$NQN-other"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "32 MiB"
END
sluice_warm_up
nvme_connect "$NQN-other" -i 2
steady_begin "$(nvme_device "$NQN-other")" --size=8m
hostile-host "$IP:$PORT" "$NQN" "$NQN" 24 || fail "the peer could not go on"
steady_end
nvme_disconnect "$NQN-other"
judge_clean 20
judge_account
sluice_stop
