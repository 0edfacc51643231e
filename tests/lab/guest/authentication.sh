# Hosts that have to authenticate themselves (needs Linux 6.12 as the host).

host_nqn() { echo "nqn.2026-01.lab:h$1"; }
host_id() { printf '5b0f9c3e-0d6a-4c1c-9a55-6c61620b%04d' "$1"; }
key_of() { cat "/run/scenario/keys/$1"; }

# serve_hosts PAIR...: serves one disk to a host for each PAIR ("sha256 ffdhe2048"), from 0; each has
# a key, and one for the controller. The log has everything.
serve_hosts() {
  local i=0 pair transform
  mkdir -p /run/scenario/keys
  sluice_base >/run/scenario/auth.toml
  printf '%s\n' '[log]' 'level = "trace"' >>/run/scenario/auth.toml
  for pair; do
    # Keys of every form: the transformation need not be the exchange's hash.
    transform=(none sha256 sha384 sha512)
    sluice keys gen --hash "${transform[i % 4]}" --out "/run/scenario/keys/h$i"
    # One of nvme-cli's own making too.
    (umask 077 && nvme gen-dhchap-key --hmac=1 --nqn "$NQN" >"/run/scenario/keys/c$i")
    sluice keys check "/run/scenario/keys/c$i"
    printf '%s\n' '[[host]]' "nqn = \"$(host_nqn $i)\"" \
      "key_file = \"/run/scenario/keys/h$i\"" "controller_key_file = \"/run/scenario/keys/c$i\"" \
      "hashes = [\"${pair% *}\"]" "dh_groups = [\"${pair#* }\"]" >>/run/scenario/auth.toml
    i=$((i + 1))
  done
  {
    printf '%s\n' '[[subsystem]]' "nqn = \"$NQN\""
    local list='' j
    for ((j = 0; j < i; j++)); do list+="\"$(host_nqn $j)\", "; done
    printf '%s\n' "hosts = [$list]" '[[subsystem.namespace]]' 'nsid = 1' 'ram = "16 MiB"'
  } >>/run/scenario/auth.toml
  sluice check /run/scenario/auth.toml
  sluice_start </run/scenario/auth.toml
  sluice_warm_up
}

# as_host N [ARGUMENT...]: `nvme connect` as that host.
as_host() {
  local n=$1
  shift
  reach within 60 nvme connect -t rdma -a "$IP" -s "$PORT" -n "$NQN" -q "$(host_nqn "$n")" \
    -I "$(host_id "$n")" "$@"
}

# log_has PATTERN COUNT: the daemon's log has so many such lines, or more.
log_has() { [ "$(sed 's/\x1b\[[0-9;]*m//g' "$SLUICE_LOG" | grep -cE "$1")" -ge "$2" ]; }

# authenticates N HASH GROUP: host N gets in both ways, with these algorithms, on all its queues, and
# its disk is there; then it leaves.
authenticates() {
  local n=$1 hash=$2 group=$3
  as_host "$n" -S "$(key_of "h$n")" -C "$(key_of "c$n")" -i 2
  wait_until 15 nvme_device || fail "no disk for $hash $group"
  dd if="$(nvme_device)" of=/dev/null bs=64k count=4 iflag=direct status=none
  wait_until 5 log_has "host authenticated.*h$n .*hash=$hash group=$group mutual=true again=false" 3 ||
    fail "the daemon does not say that host $n authenticated three queues by $hash $group"
}

# no_secrets: neither a key's text nor the key's bytes are in the log or in the kernel's.
no_secrets() {
  local file text
  for file in /run/scenario/keys/*; do
    text=$(cut -d: -f3 "$file")
    # Without the check sum and what shares its last bytes.
    text=${text:0:40}
    ! grep -qF "$text" "$SLUICE_LOG" || fail "the log has the key of $file"
    ! grep -qiF "$(printf %s "$text" | base64 -d | od -An -v -tx1 | tr -d ' \n')" "$SLUICE_LOG" ||
      fail "the log has the bytes of $file"
  done
}

# refused WHY COMMAND...: the command fails, and the daemon's log says why.
refused() {
  local why=$1 before
  before=$(grep -c "$why" "$SLUICE_LOG" || :)
  shift
  expect_failure "$@"
  wait_until 5 log_has "authentication failed.*$why" $((before + 1)) ||
    fail "the daemon does not say that $why"
}

# auth_warnings: what the host's kernel says of failures.
auth_warnings() {
  allow_warning 'nvme nvme[0-9]+: qid [0-9]+: (authentication (setup )?failed|no key|controller authentication failed)'
  allow_warning 'nvme nvme[0-9]+: (failed to connect queue|Connect command failed|qid [0-9]+ auth_send failed)'
}
