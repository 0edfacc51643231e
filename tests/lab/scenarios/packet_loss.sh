# title: Two guests: one packet of a hundred is lost each way, and every block still verifies
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 150 s

. "$LAB/guest/loss.sh"

target() { target_loses 1; }
host() { host_loses 2m 1; }
