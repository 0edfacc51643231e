# title: What work requests do around the move to the error state: the close path's table, row by row
# needs: verbs-experiments
# timeout: 240 s

# What the rows provoke: refused keys, unanswered requests, a modify and sizes that are not allowed.
allow_warning 'rxe0: qp#[0-9]+ make_send_cqe: non-flush error status'
allow_warning 'rxe0: (qp#[0-9]+ rxe_modify_qp|rxe_create_qp): returned err = -22'
allow_warning 'siw: got TERMINATE'
allow_warning 'iwpm_register_pid: Unable to send a nlmsg'
modprobe sch_netem
RDMAV_ALLOW_DISASSOC_DESTROY=1 verbs-experiments "$IP:7500" >/run/scenario/rows.txt || {
  grep -E 'WRONG|rows in' /run/scenario/rows.txt || tail -n 20 /run/scenario/rows.txt
  fail "$(grep -c '^WRONG' /run/scenario/rows.txt) rows are not as the table says"
}
grep -E '^(Rxe|Siw|shipped)|rows in' /run/scenario/rows.txt
