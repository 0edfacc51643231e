# Rows: run device job target round iops. Prints medians with an interval that holds the true median
# with at least 95 % (order statistics: nothing is assumed of the distribution), and of the ratios
# within a round.
function sorted(list, n,   i, j, t) {
  for (i = 2; i <= n; i++)
    for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
}
# The k-th smallest and k-th largest of n hold the median with 1 - 2 P(Binomial(n, 1/2) < k).
function rank(n,   k, tail, term) {
  term = tail = 0.5 ^ n
  for (k = 1; 2 * (tail + term * (n - k + 1) / k) <= 0.05 && k < n / 2; k++) {
    term *= (n - k + 1) / k
    tail += term
  }
  return k
}
function show(list, n, format,   k, middle) {
  sorted(list, n)
  k = rank(n)
  middle = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
  return sprintf(format " (" format " to " format ")", middle, list[k], list[n - k + 1])
}
function iops(target,   i) {
  for (i = 1; i <= rounds; i++) list[i] = value[device[r], job[r], target, i]
  return show(list, rounds, "%d")
}
function ratio(target,   i) {
  for (i = 1; i <= rounds; i++)
    list[i] = value[device[r], job[r], target, i] / value[device[r], job[r], "nvmet", i]
  return show(list, rounds, "%.2f")
}
{
  if (!(($2, $3) in seen)) { seen[$2, $3] = 1; rows++; device[rows] = $2; job[rows] = $3 }
  value[$2, $3, $4, $5] = $6
  if ($5 > rounds) rounds = $5
}
END {
  print "| device | job | nvmet, IOPS | sluice, IOPS | sluice / nvmet |"
  print "|---|---|--:|--:|--:|"
  for (r = 1; r <= rows; r++)
    printf "| %s | %s | %s | %s | %s |\n", device[r], job[r], iops("nvmet"), iops("sluice"),
      ratio("sluice")
  printf "\nPairs: %d. In brackets the interval that holds the median with 95 %% or more.\n", rounds
}
