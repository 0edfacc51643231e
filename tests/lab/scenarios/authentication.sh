# title: DH-HMAC-CHAP: hosts get in by their keys, both ways and again; wrong keys and none are refused
# group: nvme
# timeout: 120 s
# cpus: 4
# disks: 1x256MiB

. "$LAB/guest/authentication.sh"
auth_warnings
serve_hosts "sha256 ffdhe2048" "sha384 null" "sha512 ffdhe3072"

if ! grep -qw dhchap_secret /dev/nvme-fabrics; then
  # 6.1's host knows no authentication: it gets no further than Connect.
  expect_failure as_host 0
  sluice_stop
  exit 0
fi
# No key, another's, and a controller that is another's.
expect_failure as_host 0
refused "another key" as_host 0 -S "$(key_of h1)"
refused "the host gave up" as_host 0 -S "$(key_of h0)" -C "$(key_of c1)"
judge_clean

authenticates 1 sha384 null
nvme_disconnect
authenticates 2 sha512 ffdhe3072
nvme_disconnect
authenticates 0 sha256 ffdhe2048
# Again, while the disk is used.
controller=$(nvme_controllers)
fio_begin "$(nvme_device)" --size=2m
echo "$(key_of h0)" >"/sys/class/nvme/$controller/dhchap_secret"
wait_until 20 log_has "host authenticated.*h0 .*mutual=true again=true" 3 ||
  fail "the three queues were not authenticated again"
fio_end
expect "state" live "$(nvme_state "$controller")"
nvme_disconnect

# One way: the host does not ask who we are.
as_host 0 -S "$(key_of h0)" -i 1
wait_until 5 log_has "host authenticated.*h0 .*mutual=false" 2 || fail "not authenticated one way"
nvme_disconnect
no_secrets
judge_clean
judge_account
sluice_stop
