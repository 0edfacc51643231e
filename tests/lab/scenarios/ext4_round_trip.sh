# title: a file system is made, filled, unmounted, disconnected, connected again, checked and read
# group: nvme
# timeout: 120 s
# cpus: 4
# disks: 1x256MiB

tree=/run/scenario/tree
mkdir -p "$tree/deep/er" "$tree/many"
head -c 6000000 /dev/urandom >"$tree/deep/er/large"
for i in $(seq 60); do head -c $((i * 97)) /dev/urandom >"$tree/many/$i"; done
ln -s ../deep/er/large "$tree/many/link"
sums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }
sums "$tree" >/run/scenario/wanted
expect "files of the tree" 61 "$(wc -l </run/scenario/wanted)"

sluice_export 'ram = "96 MiB"'
sluice_warm_up

nvme_connect "$NQN" -i 2
device=$(nvme_device)
mkfs.ext4 -q -F "$device"
mount -t ext4 "$device" /mnt
cp -a "$tree/." /mnt/
umount /mnt
nvme_disconnect
judge_clean

nvme_connect "$NQN" -i 2
device=$(nvme_device)
fsck.ext4 -f -n "$device"
mount -t ext4 -o ro "$device" /mnt
sums /mnt >/run/scenario/found
[ "$(readlink /mnt/many/link)" = ../deep/er/large ] || fail "the link is not what it was"
umount /mnt
cmp /run/scenario/wanted /run/scenario/found || fail "the files are not what they were"
nvme_disconnect
judge_clean
judge_account
sluice_stop
