# title: no copy between NIC, pool and disk, and no allocation for a command
# group: nvme
# timeout: 120 s
# disks: 1x256MiB
# cpus: 4

sluice_start <<EOF
[log]
level = "info,verbs=trace,block=trace"
[reactors]
count = 1
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
device = "$(scratch 0)"
EOF
sluice_warm_up
nvme_connect "$NQN" -i 1
device=$(nvme_device)

# What the verbs crate gave to the NIC and the block crate to the disk, each as it called the kernel.
said() { sed -nE "s/.*$1 op=\"$2\" addr=([0-9]+) len=$3.*/\1/p" "$SLUICE_LOG" | sort; }
mark() { : >"$SLUICE_LOG"; }
# The log's own thread writes it a little later.
said_all() { [ "$(said "$@" | wc -l)" -ge 24 ]; }

mark
dd if=/dev/urandom of="$device" bs=256k count=24 oflag=direct status=none
wait_until 20 said_all disk write 262144 || :
expect "addresses of RDMA READs and disk writes" "$(said post read 262144)" "$(said disk write 262144)"
expect "how many" 24 "$(said disk write 262144 | wc -l)"

mark
dd if="$device" of=/dev/null bs=256k count=24 iflag=direct status=none
wait_until 20 said_all post write 262144 || :
expect "addresses of disk reads and RDMA WRITEs" "$(said disk read 262144)" "$(said post write 262144)"
expect "how many" 24 "$(said disk read 262144 | wc -l)"

mark
dd if=/dev/urandom of="$device" bs=4k count=24 oflag=direct status=none
wait_until 20 said_all disk write 4096 || :
expect "4 KiB writes that needed an RDMA READ (they came in the capsule)" 0 "$(said post read 4096 | wc -l)"
expect "4 KiB writes to the disk" 24 "$(said disk write 4096 | wc -l)"
expect "transfers that were not in the registered region" 0 "$(grep -c 'fixed=false' "$SLUICE_LOG" || :)"
nvme_disconnect
sluice_stop

# The same with the log quiet: the allocations of 4000 commands more.
sed -i 's/^level = .*/level = "info"/' /run/sluice.toml
cp /run/sluice.toml /run/quiet.toml
sluice_start </run/quiet.toml
sluice_warm_up
nvme_connect "$NQN" -i 1
device=$(nvme_device)
allocations() { sluice status --config /run/sluice.toml -o json | grep -oE '"allocations": ?[0-9]+' | grep -oE '[0-9]+'; }
run_ios() {
  fio --name=ios --filename="$device" --rw=randrw --bs=4k --iodepth=16 --ioengine=libaio --direct=1 --size=64m \
    --number_ios="$1" --randrepeat=0 --output-format=terse >/dev/null
}
run_ios 500
before=$(allocations)
idle=$(($(allocations) - before))
before=$(allocations)
run_ios 4000
grown=$(($(allocations) - before - idle))
say "allocations: $idle for a look at the status, $grown for 4000 commands"
# A host's open and close of its device reads a few pages more; keep-alives come in between.
[ "$grown" -lt 40 ] || fail "4000 commands made $grown allocations"
nvme_disconnect
judge_clean
sluice_stop
