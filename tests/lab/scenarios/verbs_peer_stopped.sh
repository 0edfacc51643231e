# title: Two guests: requests to a peer whose whole machine stops
# suite: all
# guests: 2
# needs: verbs-experiments
# timeout: 120 s

target() {
  allow_warning 'rxe0: qp#[0-9]+ make_send_cqe: non-flush error status'
  allow_warning 'iwpm_register_pid: Unable to send a nlmsg'
  await listening
  local rows=/run/scenario/rows.txt
  mkfifo /run/scenario/go
  verbs-experiments "$HOST_IP:7500" peer_stopped >"$rows" </run/scenario/go &
  local pid=$! go
  exec {go}>/run/scenario/go
  wait_until 20 grep -q '^connected' "$rows" || { cat "$rows"; fail "not connected"; }
  ask pause host
  echo >&"$go"
  local status=0
  wait "$pid" || status=$?
  exec {go}>&-
  ask resume host
  cat "$rows"
  expect "exit status of the rows" 0 "$status"
  signal ended
}

host() {
  allow_warning 'iwpm_register_pid: Unable to send a nlmsg'
  # Its stdin stays open until the other guest has finished.
  mkfifo /run/scenario/open
  verbs-experiments peer "$HOST_IP:7500" </run/scenario/open >/run/scenario/peer.txt &
  local pid=$! hold
  exec {hold}>/run/scenario/open
  wait_until 20 grep -q '^listening' /run/scenario/peer.txt || fail "the peer does not listen"
  signal listening
  await ended 100
  exec {hold}>&-
  # Whatever it makes of the lost time, it must be gone.
  wait "$pid" || :
}
