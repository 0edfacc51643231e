# title: a host breaks every rule there is; the daemon answers, lives and serves others
# devices: rxe
# timeout: 400 s
# needs: sluice hostile-host

. /share/guest/hostile.sh
