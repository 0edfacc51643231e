# Rows: run device job target few many few_ms many_ms, then busy and idle ticks before, between, after.
# Prints a table of instructions per I/O; medians where there were several runs.
function median(list, n,   i, j, t) {
  for (i = 2; i <= n; i++)
    for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function of(key, what,   i, list) {
  for (i = 1; i <= count[key]; i++) list[i] = value[key, i, what]
  return median(list, count[key])
}
# How far the runs lie apart, in percent of their median.
function apart(key,   i, v, low, high) {
  for (i = 1; i <= count[key]; i++) {
    v = value[key, i, "cost"]
    if (i == 1 || v < low) low = v
    if (i == 1 || v > high) high = v
  }
  return 100 * (high - low) / of(key, "cost")
}
function busy(key) { return sprintf("%d of %d", of(key, "busy"), of(key, "ticks")) }
{
  key = $2 SUBSEP $3 SUBSEP $4
  i = ++count[key]
  if (!(($2, $3) in seen)) { seen[$2, $3] = 1; rows++; device[rows] = $2; job[rows] = $3 }
  value[key, i, "cost"] = ($8 - $7) * 1e6 / ($6 - $5)
  # What the second run had more than the first.
  value[key, i, "busy"] = ($13 - $11) - ($11 - $9)
  value[key, i, "ticks"] = value[key, i, "busy"] + ($14 - $12) - ($12 - $10)
  if (i > runs) runs = i
}
END {
  print "| device | job | nvmet | sluice | ratio | ram | busy: nvmet | busy: sluice | apart: nvmet | apart: sluice |"
  print "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
  for (r = 1; r <= rows; r++) {
    n = device[r] SUBSEP job[r] SUBSEP "nvmet"
    s = device[r] SUBSEP job[r] SUBSEP "sluice"
    m = device[r] SUBSEP job[r] SUBSEP "ram"
    ratio = of(s, "cost") / of(n, "cost")
    if (ratio > worst) worst = ratio
    if (ratio > 1.3) above = above " " device[r] "/" job[r]
    far = runs > 1 ? sprintf("%.2f %% | %.2f %%", apart(n), apart(s)) : "one run | one run"
    printf "| %s | %s | %d | %d | %.3f | %d | %s | %s | %s |\n", device[r], job[r],
      of(n, "cost"), of(s, "cost"), ratio, of(m, "cost"), busy(n), busy(s), far
  }
  printf "\nRuns: %d. Largest ratio: %.3f; the mark is 1.3.\n", runs, worst
  if (above != "") printf "\nRows above the mark:%s\n", above
}
