# title: A volatile disk keeps what was flushed at a power cut and loses the rest: the lab itself
# suite: all
# needs: nothing
# devices: rxe
# disks: 1x64MiB:volatile
# timeout: 120 s

disk=$(scratch 0)
pattern() { head -c 65536 /dev/zero | tr '\0' "$1"; }
# put LETTER OFFSET_KIB [,CONV]: 64 KiB past the page cache; ",fdatasync" flushes.
put() {
  pattern "$1" | dd of="$disk" bs=64K count=1 iflag=fullblock oflag=direct seek="$(($2 / 64))" \
    conv=notrunc"${3:-}" status=none
}
# get OFFSET_KIB: the first letter there, nothing where there are zeroes.
get() {
  dd if="$disk" bs=64K count=1 iflag=direct skip="$(($1 / 64))" status=none | tr -d '\0' | cut -c1
}

if [ "$BOOT" = 1 ]; then
  put A 0
  put B 64 ,fdatasync
  put C 64
  put D 128
  expect "unflushed data is read back before the cut" C "$(get 64)"
  ask power_cut target
  fail "the power is still on"
fi
expect "data written before a flush" A "$(get 0)"
expect "data flushed, then overwritten without a flush" B "$(get 64)"
expect "data never flushed" "" "$(get 128)"
