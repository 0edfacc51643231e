# title: two hosts at once: each sees only what is for it, both write and verify side by side
# group: nvme
# timeout: 120 s
# cpus: 4
# disks: 1x256MiB

# Two hosts on one kernel: what makes a host is its NQN and its identifier.
first=(-q nqn.2014-08.org.nvmexpress:uuid:11111111-0d6a-4c1c-9a55-6c61620a0001
  -I 11111111-0d6a-4c1c-9a55-6c61620a0001)
second=(-q nqn.2014-08.org.nvmexpress:uuid:22222222-0d6a-4c1c-9a55-6c61620a0002
  -I 22222222-0d6a-4c1c-9a55-6c61620a0002)
sluice_start <<END
$(sluice_base)
[[subsystem]]
nqn = "$NQN-a"
hosts = ["${first[1]}"]
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
[[subsystem]]
nqn = "$NQN-b"
hosts = ["${second[1]}"]
[[subsystem.namespace]]
nsid = 1
ram = "16 MiB"
END
sluice_warm_up

seen() { nvme_discover "$@" | sed -n "s/^subnqn: *//p" | grep -v discovery | xargs; }
expect "what the first host discovers" "$NQN-a" "$(seen "${first[@]}")"
expect "what the second host discovers" "$NQN-b" "$(seen "${second[@]}")"

nvme_connect "$NQN-a" "${first[@]}" -i 1
nvme_connect "$NQN-b" "${second[@]}" -i 1
sluice_status -o json >/run/scenario/status
for host in "${first[1]}" "${second[1]}"; do
  grep -q "\"host_nqn\": *\"$host\"" /run/scenario/status || fail "status does not show $host"
done
fio_verify "$(nvme_device "$NQN-a")" --size=4m --randseed=1 >/run/scenario/first.txt &
one=$!
(fio_verify "$(nvme_device "$NQN-b")" --size=4m --randseed=2)
wait "$one" || fail "the first host's fio: $(tail -n 3 /run/scenario/first.txt)"
# One leaves; the other goes on.
nvme_disconnect "$NQN-a"
fio_verify "$(nvme_device "$NQN-b")" --size=1m
nvme_disconnect "$NQN-b"
judge_clean
judge_account
sluice_stop
