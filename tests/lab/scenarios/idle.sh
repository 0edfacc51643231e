# title: a daemon with an idle host sleeps: few context switches, no CPU time to speak of
# group: nvme
# timeout: 150 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
idle 15
