# title: a hundred hosts come and go while another one writes, and verifies every block
# suite: all
# group: nvme
# timeout: 600 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
storm_beside_io 100
