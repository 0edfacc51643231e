# title: a daemon with an idle host sleeps for a minute: few context switches, no CPU to speak of
# suite: all
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
idle 60
