# title: four GiB written and verified, without one block that is not what was written
# suite: all
# group: nvme
# timeout: 1500 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
verified 16
