# title: DH-HMAC-CHAP by every hash function with every group, both ways
# timeout: 600 s
# cpus: 4
# suite: all

. "$LAB/guest/authentication.sh"
auth_warnings
pairs=()
for hash in sha256 sha384 sha512; do
  for group in null ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192; do pairs+=("$hash $group"); done
done
serve_hosts "${pairs[@]}"
# 6.1's host knows no authentication.
grep -qw dhchap_secret /dev/nvme-fabrics || { sluice_stop; exit 0; }
for i in "${!pairs[@]}"; do
  read -r hash group <<<"${pairs[i]}"
  say "$hash $group"
  authenticates "$i" "$hash" "$group"
  nvme_disconnect
done
no_secrets
judge_clean
judge_account
sluice_stop
