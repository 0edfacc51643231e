# title: hosts come and go all the time while another one writes, and verifies every block
# group: nvme
# timeout: 180 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/endurance.sh"
storm_beside_io 8
