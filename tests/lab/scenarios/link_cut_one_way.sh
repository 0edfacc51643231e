# title: Two guests: only what the target sends is lost, then only what the host sends
# suite: all
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 300 s

. "$LAB/guest/link.sh"

target() { target_cuts target host; }
host() { host_cuts target host; }
