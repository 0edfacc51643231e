# title: two thousand connects and disconnects in a row leave nothing behind
# suite: all
# group: nvme
# timeout: 3000 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
storm 2000
