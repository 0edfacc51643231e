# title: Two guests: up to five packets of a hundred are lost each way, and every block verifies
# suite: all
# guests: 2
# group: pair
# disks: 1x256MiB
# timeout: 400 s

. "$LAB/guest/loss.sh"

target() { target_loses 2 5; }
host() { host_loses 512k 2 5; }
