# title: the RDMA device goes while nobody is connected: the daemon lets go of it, and says how
# group: nvme
# timeout: 200 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/faults.sh"

for seen in "a device that hosts have used" "a device that nobody has used yet"; do
  say "$seen"
  sluice_export 'ram = "16 MiB"'
  [[ $seen == *nobody* ]] || sluice_warm_up
  rdma_down &
  device_is_given_back "$!"
  rdma_up
done
sluice_restart
judge_baseline
sluice_warm_up
nvme_connect
fio_verify "$(nvme_device)" --size=1m
nvme_disconnect
judge_clean
judge_account
sluice_stop
