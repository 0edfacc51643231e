# title: Compare, Verify, Copy, Write Zeroes and what the logs and Identify say of them
# group: nvme
# timeout: 90 s
# cpus: 4
# disks: 1x256MiB

# What the disks in memory take when they are written.
RSS_GROWTH_KIB=$((16384 + 32768))
sluice_export 'ram = "16 MiB"' $'ram = "16 MiB"\nblock_size = 4096'
sluice_warm_up
nvme_connect "$NQN" -i 2
controller=/dev/$(nvme_controllers "$NQN")

# number FIELD COMMAND...: of the JSON that nvme prints.
number() {
  local text
  text=$(nvme "${@:2}" -o json)
  [[ $text =~ \"$1\"\ *:\ *\"?([0-9]+) ]] || fail "no $1: $text"
  echo "${BASH_REMATCH[1]}"
}
id_ctrl() { number "$1" id-ctrl "$controller"; }
expect "optional commands: Compare, DSM, Write Zeroes, Select, Verify, Copy" $((0x19d)) "$(id_ctrl oncs)"
expect "Compare and Write" 1 "$(id_ctrl fuses)"
expect "entries of the error log, 0's based" 63 "$(id_ctrl elpe)"
errors() { number num_err_log_entries smart-log "$controller"; }

head -c 8192 /dev/urandom >/run/scenario/data
head -c 8192 /dev/urandom >/run/scenario/other
head -c 8192 /dev/zero >/run/scenario/zeroes
for nsid in 1 2; do
  wait_until 15 nvme_device "$NQN" "$nsid" || fail "namespace $nsid is not there"
  device=$(nvme_device "$NQN" "$nsid")
  block=$((nsid == 1 ? 512 : 4096))
  last=$((8192 / block - 1))
  # Eight kibibytes at block 64: with an RDMA READ. One block: in the capsule.
  blocks() { nvme "$1" "$device" -n "$nsid" -s "$2" -c "${3:-$last}" "${@:4}"; }
  blocks write 64 "$last" -z 8192 -d /run/scenario/data
  blocks compare 64 "$last" -z 8192 -d /run/scenario/data
  blocks compare 64 0 -z "$block" -d /run/scenario/data
  before=$(errors)
  for length in 8192 "$block"; do
    ! blocks compare 64 $((length / block - 1)) -z "$length" -d /run/scenario/other 2>/run/scenario/says ||
      fail "other data compare as the same"
    grep -qi 'compare failure' /run/scenario/says || fail "no Compare Failure: $(cat /run/scenario/says)"
  done
  expect "a difference is no error" "$before" "$(errors)"
  blocks verify 64
  nvme copy "$device" -n "$nsid" --sdlba=200 --slbs=64 --blocks="$last" --format=0
  blocks compare 200 "$last" -z 8192 -d /run/scenario/data
  blocks write-zeroes 64
  blocks compare 64 "$last" -z 8192 -d /run/scenario/zeroes
  blocks compare 200 "$last" -z 8192 -d /run/scenario/data

  # What can't be is refused, and the log says which field it was.
  expect_failure blocks verify $((16 * 1024 * 1024 / block))
  expect "errors" $((before + 1)) "$(errors)"
  nvme error-log "$controller" -e 1 -o json >/run/scenario/log
  cat /run/scenario/log
  grep -qE '"nsid" *: *'"$nsid"'\b' /run/scenario/log || fail "the error log names no namespace"
  grep -qE '"(parm_err_loc|parm_error_location|param_error_location)" *: *40\b' /run/scenario/log ||
    fail "the error log does not name the first block's field"
done
nvme_disconnect
judge_clean
judge_account
sluice_stop
