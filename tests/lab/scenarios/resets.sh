# title: twenty resets of the controller in a row under verified writes
# suite: all
# group: nvme
# timeout: 400 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
resets 20
