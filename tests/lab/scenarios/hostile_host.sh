# title: a host breaks every rule there is; the daemon answers, lives and serves others
# timeout: 400 s
# needs: sluice hostile-host

sluice_start <<EOF
[reactors]
count = 2
[limits]
pool = "64 MiB"
handshake = "8 s"
[[listener]]
name = "fabric"
transport = "rdma"
address = "$IP"
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "64 MiB"
[[subsystem]]
nqn = "$NQN-private"
hosts = ["nqn.2026-01.lab:nobody"]
[[subsystem.namespace]]
nsid = 1
ram = "1 MiB"
EOF
sluice_warm_up

# Messages that are too long and keys that nobody has fail the queue pairs of both ends.
allow_warning 'rxe0: qp#[0-9]+ (do_complete|make_send_cqe): non-flush error status = (1|2|10|11)$'
allow_warning 'siw: got TERMINATE\. layer [01], type [12], code [0-9]+$'
hostile-host "$IP:$PORT" "$NQN" "$NQN-private" | tee /share/logs/$SCENARIO.cases.txt |
  grep -v '| ok$' || fail "cases went wrong"
sluice_runs || fail "the daemon is gone"
wait_until 20 expect_quiet || fail "queue pairs are left: $(rdma_owned qp)"

sluice status --config /run/sluice.toml | tee /run/scenario/status
if grep -q LOST /run/scenario/status; then fail "the daemon lost something"; fi
if grep -n panicked "$SLUICE_LOG"; then fail "the daemon panicked"; fi

say "an ordinary host after all that"
nvme_connect "$NQN" -i 2
fio_verify "$(nvme_device)" --size=8m --numjobs=1
nvme_disconnect
judge_clean 20
sluice_stop
