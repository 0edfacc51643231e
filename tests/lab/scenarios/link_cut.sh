# title: Two guests: the link is cut both ways, then the target's, and heals; the host comes back
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 150 s

. "$LAB/guest/link.sh"

target() { target_cuts both target; }
host() { host_cuts both target; }
