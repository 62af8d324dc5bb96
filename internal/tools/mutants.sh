#!/usr/bin/env bash
# Breaks a copy of the tree with one patch at a time and expects the tests of a package tree to notice.
# Fails when a patch does not apply or does not compile, and when a mutant survives: then a test is missing.
# usage: mutants.sh PACKAGE_DIRECTORY NAME_REGEXP
#   patches stand in PACKAGE_DIRECTORY/testdata/mutants/*.patch; the first line of each says what it breaks: "# …"
set -euo pipefail
dir=${1:?a package directory such as pdp/stage/policy} names=${2:?a regular expression of patch names}
root=$(git rev-parse --show-toplevel)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# git apply must not take the copy for a part of a repository that it may lie in.
export GIT_CEILING_DIRECTORIES
GIT_CEILING_DIRECTORIES=$(dirname "$copy")

cd "$root"
# The working tree as it is, also what is not committed yet, without what git ignores.
git ls-files -z --cached --others --exclude-standard -- go.mod go.sum '*.go' "$dir" |
  while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
  tar --null --files-from=- -cf - | tar -xf - -C "$copy"
cd "$copy"
log=$copy/.mutant.log
run_tests() { go test -failfast -timeout 5m "./$dir/..." >"$log" 2>&1; }

shopt -s nullglob
patches=()
for patch in "$dir"/testdata/mutants/*.patch; do
  ! [[ $(basename "$patch" .patch) =~ $names ]] || patches+=("$patch")
done
[ ${#patches[@]} -gt 0 ] || { echo "no mutant matches $names" >&2; exit 1; }

echo "== without a mutant"
run_tests || { tail -n 40 "$log" >&2; echo "the tests fail without a mutant: nothing can be learnt" >&2; exit 1; }

bad=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  what=$(head -n 1 "$patch")
  if [[ $what != '# '* ]]; then
    echo "NO TITLE       $name: the first line must be \"# what it breaks\""; bad=$((bad + 1)); continue
  fi
  if ! git apply --check "$patch" 2>"$log"; then
    echo "DOES NOT APPLY $name: ${what#\# }"; sed 's/^/    /' "$log"; bad=$((bad + 1)); continue
  fi
  git apply "$patch"
  if ! go test -run '^$' "./$dir/..." >"$log" 2>&1; then
    echo "NO COMPILE     $name: ${what#\# }"; head -n 10 "$log" | sed 's/^/    /'; bad=$((bad + 1))
  elif run_tests; then
    echo "SURVIVES       $name: ${what#\# }"; bad=$((bad + 1))
  else
    killer=$(grep -m 1 -oE -- '^ *--- FAIL: [^ ]+|^panic: .{0,60}' "$log" | tr -s ' ' || true)
    echo "killed         $name: ${what#\# } (${killer#--- FAIL: })"
  fi
  git apply -R "$patch"
done
[ "$bad" -eq 0 ] || { echo "$bad of ${#patches[@]} mutants are not killed" >&2; exit 1; }
echo "all ${#patches[@]} mutants are killed"
