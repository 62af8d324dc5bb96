#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, one after the other, and fails with the first that finds something.
# Policies that are generated from seeds, which coverage cannot guide, are compared with Casbin by number and not by time.
# Tokens that nobody signed are sent by number too.
# usage: fuzz.sh NAME_REGEXP DURATION COMPARISONS TOKENS
set -euo pipefail
names=${1:?a regular expression of target names} duration=${2:?a duration such as 30s} comparisons=${3:?a number of comparisons} tokens=${4:?a number of tokens}

# go test -list prints a package's targets, then the line "ok PACKAGE": join them to "PACKAGE TARGET".
targets=$(go test -run '^$' -list '^Fuzz' ./... |
  awk '/^Fuzz/ {name[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print $2, name[i]; n = 0}' |
  awk -v names="$names" '$2 ~ names')
[ -n "$targets" ] || { echo "no fuzz target matches $names" >&2; exit 1; }

count=0
while read -r package target; do
  echo "== $package $target"
  # Minimising an input that is merely new would else take most of the time.
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 10x "$package"
  count=$((count + 1))
done <<<"$targets"
if [[ FuzzDifferential =~ $names ]]; then
  seed=$((RANDOM << 30 | RANDOM << 15 | RANDOM)) # other policies each time; a failure prints its seed
  echo "== TestDifferential, $comparisons comparisons from seed $seed"
  go test -count=1 -v -timeout 60m -run '^TestDifferential$' ./pdp/stage/policy -comparisons "$comparisons" -seed "$seed"
fi
if [[ FuzzBadTokens =~ $names ]]; then
  echo "== TestBadTokensLeaveNothing, $tokens tokens"
  go test -count=1 -v -timeout 60m -run '^TestBadTokensLeaveNothing$' ./pdp/stage/identity -tokens "$tokens"
fi
echo "$count fuzz targets ran $duration each"
