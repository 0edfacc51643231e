# title: the target loses power: every block flushed, written through, or shut down over is there
# disks: 1x64MiB:volatile
# timeout: 150 s

# Host and target are one machine here: what the host knows is kept in the share, outside.
disk=$(scratch 0)
done_file=/share/signals/$SCENARIO.flushed
letter() { printf "\\$(printf %o $((65 + $1 % 26)))"; }
pattern() { head -c 65536 /dev/zero | tr '\0' "$(letter "$1")"; }
# put BLOCK DEVICE [FLAGS]: 64 KiB of the block's own letter, past the page cache.
put() {
  pattern "$1" | dd of="$2" bs=64k count=1 iflag=fullblock oflag=direct"${3:-}" seek="$1" \
    conv=notrunc"${4:-}" status=none
}
has() {
  cmp -s <(pattern "$1") <(dd if="$disk" bs=64k count=1 skip="$1" iflag=direct status=none)
}

if [ "$BOOT" = 1 ]; then
  sluice_export "device = \"$disk\""
  nvme_connect
  device=$(nvme_device)
  expect "what the host knows of the cache" "write back" \
    "$(cat "/sys/block/${device#/dev/}/queue/write_cache")"
  # Blocks 0 to 15: written, then one flush. 16 to 23: each written through (FUA, or a flush that
  # the host puts behind it). 24 to 31 flush each on its own.
  for i in {0..15}; do put "$i" "$device"; done
  nvme flush "$device" -n 1
  for i in {16..23}; do put "$i" "$device" ,dsync; done
  for i in {24..31}; do put "$i" "$device" "" ,fdatasync; done
  # 32 to 39 nobody flushes but the controller, whose normal shutdown says that it has.
  for i in {32..39}; do put "$i" "$device"; done
  nvme_disconnect
  echo 40 >"$done_file"
  nvme_connect
  device=$(nvme_device)
  # And what nobody flushed, which must be able to be lost, or this proves nothing.
  for i in {100..107}; do put "$i" "$device"; done
  expect "unflushed data is read back before the cut" "$(pattern 100 | sha256sum)" \
    "$(dd if="$device" bs=64k count=1 skip=100 iflag=direct status=none | sha256sum)"
  judge_account
  ask power_cut target
  fail "the power is still on"
fi

for ((i = 0; i < $(cat "$done_file"); i++)); do has "$i" || fail "flushed block $i is lost"; done
lost=0
for i in {100..107}; do has "$i" || lost=$((lost + 1)); done
say "all $(cat "$done_file") flushed blocks are there; of 8 that were not flushed $lost are lost"
[ "$lost" -gt 0 ] || fail "nothing was lost: this disk is not volatile"
# The daemon serves what is there.
sluice_export "device = \"$disk\""
sluice_warm_up
nvme_connect
expect "the first block through the daemon" "$(pattern 0 | sha256sum)" \
  "$(dd if="$(nvme_device)" bs=64k count=1 iflag=direct status=none | sha256sum)"
nvme_disconnect
judge_clean
judge_account
sluice_stop
