# title: Two guests: a host dies thirty times; how long both targets hold on to what it had
# suite: all
# guests: 2
# disks: 1x256MiB
# timeout: 3000 s

. "$LAB/guest/kills.sh"

target() { target_survives 30; }
host() { host_dies; }
