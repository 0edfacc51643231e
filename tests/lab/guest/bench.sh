# What the two benchmarks share: three targets with memory behind them, and the jobs. Sourced by
# tests/bench/*.sh.
#
#   nvmet   the kernel's target on a brd disk
#   sluice  our daemon on another brd disk, through io_uring, O_DIRECT
#   ram     our daemon's own memory disk: what the block layer costs

BENCH_TARGETS="nvmet sluice ram"
# job: name, fio's rw, block size, queue depth
BENCH_JOBS="
randread-4k-qd1    randread   4k   1
randread-4k-qd32   randread   4k   32
randwrite-4k-qd1   randwrite  4k   1
randwrite-4k-qd32  randwrite  4k   32
read-128k-qd8      read       128k 8
"
BENCH_MIB=64
BENCH_ROWS=/share/logs/$SCENARIO.rows

# bench_disks: two equal memory disks, with every page there: brd reads an absent one as zeroes.
bench_disks() {
  modprobe brd rd_nr=2 rd_size=$((BENCH_MIB * 1024))
  local disk
  for disk in /dev/ram0 /dev/ram1; do
    dd if=/dev/zero of="$disk" bs=1M count="$BENCH_MIB" oflag=direct status=none
  done
}

# bench_sluice: the daemon in its sleeping mode, one reactor, both disks, on port 4421.
bench_sluice() {
  PORT=4421
  sluice_start <<CONFIG
[log]
level = "info"
[reactors]
count = 1
spin = "0 us"
[limits]
pool = "64 MiB"
[[listener]]
name = "fabric"
transport = "rdma"
address = "$IP"
port = 4421
[[subsystem]]
nqn = "$NQN.sluice"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
device = "/dev/ram1"
[[subsystem]]
nqn = "$NQN.ram"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "$BENCH_MIB MiB"
CONFIG
}

# bench_connect TARGET: connects one I/O queue; its block device is then `nvme_device NQN.TARGET`.
bench_connect() {
  PORT=4421
  [ "$1" = nvmet ] && PORT=4420
  nvme_connect "$NQN.$1" -i 1
}

# bench_fio TARGET RW BS QD ARGUMENT...: one run; sets BENCH_MS (fio's run time) and BENCH_IOPS.
bench_fio() {
  local device rw=$2 fields
  device=$(nvme_device "$NQN.$1")
  within 300 fio --name=bench --filename="$device" --rw="$rw" --bs="$3" --iodepth="$4" \
    --ioengine=libaio --direct=1 --size="${BENCH_MIB}m" --randrepeat=1 --norandommap \
    --output-format=terse --terse-version=3 "${@:5}" >/run/scenario/fio.txt 2>&1 ||
    { cat /run/scenario/fio.txt; fail "fio $*"; }
  fields=$(grep '^3;' /run/scenario/fio.txt)
  expect "fio's error" 0 "$(cut -d';' -f5 <<<"$fields")"
  if [[ $rw == *read ]]; then fields=$(cut -d';' -f8,9 <<<"$fields")
  else fields=$(cut -d';' -f49,50 <<<"$fields"); fi
  BENCH_IOPS=${fields%;*} BENCH_MS=${fields#*;}
}
