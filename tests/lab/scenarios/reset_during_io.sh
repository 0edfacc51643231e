# title: the host resets its controller again and again while fio writes, then all is verified
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
resets 3
