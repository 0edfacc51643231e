# title: two hundred connects and disconnects in a row leave nothing behind
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
storm 200
