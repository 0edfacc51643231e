# title: over siw, a host breaks every rule there is; the daemon answers, lives and serves others
# devices: siw
# suite: all
# timeout: 400 s
# needs: sluice hostile-host

# Not in the smoke suite: siw's accept loses a first message now and then (README), which this host
# takes for a wrong answer; with some 150 connections that is about every second run on a busy machine.
. /share/guest/hostile.sh
