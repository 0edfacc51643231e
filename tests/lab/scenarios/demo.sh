# title: what `make demo` shows: discover, connect, write, read back, disconnect, the drain report
# suite: all
# timeout: 120 s

say "a target with two reactors and one 64 MiB disk in memory:"
sluice_start <<EOF
[reactors]
count = 2
[limits]
pool = "64 MiB"
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
EOF
sed 's/^/    /' /run/sluice.toml

say "nvme discover -t rdma -a $IP -s $PORT"
nvme_discover | tee /run/scenario/discovery | sed 's/^/    /'
grep -q "subnqn: *$NQN" /run/scenario/discovery || fail "the discovery log does not show $NQN"

say "nvme connect -t rdma -a $IP -s $PORT -n $NQN -i 2"
nvme_connect "$NQN" -i 2
device=$(nvme_device)
say "the host's kernel made $device"
sluice status --config /run/sluice.toml | sed 's/^/    /'

head -c 16777216 /dev/urandom >/run/data
sum=$(sha256sum </run/data)
say "writing 16 MiB that never were before, sha256 ${sum%% *}"
dd if=/run/data of="$device" bs=128k oflag=direct conv=fsync status=none
say "reading them back past the page cache"
back=$(dd if="$device" bs=128k count=128 iflag=direct status=none | sha256sum)
expect "what was read back" "$sum" "$back"
say "the same bytes came back"

say "nvme disconnect -n $NQN"
nvme_disconnect
wait_until 10 expect_quiet || fail "queue pairs are left: $(rdma_owned qp)"
sluice_stop
say "drain reports (posted = completed + flushed + retired in order + reclaimed; leaked):"
grep -o 'drained: .*' "$SLUICE_LOG" | sed 's/^/    /'
awk '/drained/ {
  line = $0; gsub(/[^0-9]+/, " ", line)
}
/drained/ && !/; 0 leaked/ { bad = 1 }
END { exit bad }' "$SLUICE_LOG" || fail "a drain leaked"
say "after the end the kernel knows $(rdma resource show qp | grep -c sluice || :) queue pairs of the daemon"
