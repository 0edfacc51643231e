# title: two subsystems with disks of every kind: sizes, identities and data are each one's own
# group: nvme
# timeout: 120 s
# cpus: 4
# disks: 1x256MiB

disk=$(scratch 0)
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN-a"
serial = "LAB-A"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
ram = "8 MiB"
uuid = "aaaaaaaa-0000-4000-8000-000000000001"
[[subsystem.namespace]]
nsid = 2
file = "/run/scenario/a.img"
size = "12 MiB"
block_size = 4096
uuid = "aaaaaaaa-0000-4000-8000-000000000002"
[[subsystem.namespace]]
nsid = 7
null = "1 GiB"
uuid = "aaaaaaaa-0000-4000-8000-000000000007"
[[subsystem]]
nqn = "$NQN-b"
serial = "LAB-B"
allow_any_host = true
[[subsystem.namespace]]
nsid = 1
device = "$disk"
uuid = "bbbbbbbb-0000-4000-8000-000000000001"
[[subsystem.namespace]]
nsid = 2
ram = "16 MiB"
uuid = "bbbbbbbb-0000-4000-8000-000000000002"
END
sluice_warm_up
nvme_connect "$NQN-a" -i 2
nvme_connect "$NQN-b" -i 2

nvme list-subsys >/run/scenario/list
for name in a b; do grep -q "NQN=$NQN-$name" /run/scenario/list || fail "list-subsys has no $name"; done
for name in a b; do
  controller=$(nvme_controllers "$NQN-$name")
  expect "serial of $name" "LAB-${name^}" "$(xargs <"/sys/class/nvme/$controller/serial")"
done

mib=1048576
# subsystem, nsid, bytes, block size
all=("a 1 $((8 * mib)) 512" "a 2 $((12 * mib)) 4096" "a 7 $((1024 * mib)) 512"
  "b 1 $((256 * mib)) 512" "b 2 $((16 * mib)) 512")
letter() { [ "$1" = a ] && echo "$2" || printf "\\$(printf %o $((64 + $2)))"; }
pattern() { head -c 262144 /dev/zero | tr '\0' "$(letter "$@")"; }
for row in "${all[@]}"; do
  read -r name nsid bytes block <<<"$row"
  what="namespace $nsid of $name"
  wait_until 15 nvme_device "$NQN-$name" "$nsid" || fail "$what is not there"
  device=$(nvme_device "$NQN-$name" "$nsid")
  sys=/sys/block/${device#/dev/}
  expect "bytes of $what" "$bytes" "$(($(cat "$sys/size") * 512))"
  expect "block size of $what" "$block" "$(cat "$sys/queue/logical_block_size")"
  expect "UUID of $what" "$(printf "$name%.0s" {1..8})-0000-4000-8000-00000000000$nsid" \
    "$(cat "$sys/uuid")"
  nvme id-ns "$device" -n "$nsid" >/run/scenario/id-ns
  expect "NSZE of $what" "$(printf '0x%x' $((bytes / block)))" \
    "$(sed -n 's/^nsze *: *//p' /run/scenario/id-ns)"
  pattern "$name" "$nsid" | dd of="$device" bs=64k oflag=direct seek=2 iflag=fullblock status=none
done
# The pattern of one is nowhere but in its place.
for row in "${all[@]}"; do
  read -r name nsid _ _ <<<"$row"
  wanted=$(pattern "$name" "$nsid" | sha256sum)
  # Null has no memory.
  [ "$name$nsid" = a7 ] && wanted=$(head -c 262144 /dev/zero | sha256sum)
  expect "data of namespace $nsid of $name" "$wanted" \
    "$(dd if="$(nvme_device "$NQN-$name" "$nsid")" bs=64k skip=2 count=4 iflag=direct status=none |
      sha256sum)"
done
expect "the file itself" "$(pattern a 2 | sha256sum)" \
  "$(dd if=/run/scenario/a.img bs=64k skip=2 count=4 status=none | sha256sum)"
nvme_disconnect "$NQN-a"
nvme_disconnect "$NQN-b"
judge_clean
judge_account
sluice_stop
