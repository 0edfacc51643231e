# title: fio reads, writes and verifies 512 B to 1 MiB at depths 1 to 64, in memory and on a disk
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

disk=$(scratch 0)
# What the disk in memory takes when it is written.
RSS_GROWTH_KIB=$((16384 + 32768))
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "64 MiB"
block_size = 512
[[subsystem.namespace]]
nsid = 2
device = "$disk"
direct = "on"
END
sluice_warm_up
nvme_connect "$NQN" -i 2

for nsid in 1 2; do
  wait_until 15 nvme_device "$NQN" "$nsid" || fail "namespace $nsid is not there"
  device=$(nvme_device "$NQN" "$nsid")
  expect "block size of namespace $nsid" 512 "$(cat "/sys/block/${device#/dev/}/queue/logical_block_size")"
  # size, depth and sizes of blocks
  for run in "256k 1 512-4k" "24m 16 512-1m" "32m 64 256k-1m"; do
    read -r size depth blocks <<<"$run"
    fio_verify "$device" --rw=randrw --rwmixread=40 --size="$size" --iodepth="$depth" \
      --bsrange="$blocks"
  done
done
# The disk itself has what went over the fabric.
first=$(dd if="$(nvme_device "$NQN" 2)" bs=1M count=32 iflag=direct status=none | sha256sum)
nvme_disconnect
expect "the disk past the target" "$first" \
  "$(dd if="$disk" bs=1M count=32 iflag=direct status=none | sha256sum)"
judge_clean
judge_account
sluice_stop
