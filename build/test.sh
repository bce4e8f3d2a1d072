#!/usr/bin/env bash
# Runs the test programs and adds up their results. Ends with the line "N passed, N failed, N skipped".
#
#   build/test.sh [PROJECT ...]     names below tests/, such as Core.Tests; all when none is given
#
# Each program's output goes to artifacts/test-logs; a failing program's log is printed. Skipped tests are listed
# with their reasons.
set -uo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
logs=$root/artifacts/test-logs
rm -rf "$logs"
mkdir -p "$logs"

if [ $# -gt 0 ]; then
    projects=("$@")
else
    projects=()
    for project in tests/*.Tests; do
        [ "$project" = tests/EndToEnd.Tests ] || projects+=("${project#tests/}")
    done
    # Last and alone: it starts whole platforms.
    projects+=(EndToEnd.Tests)
fi

failed_projects=()
passed=0 failed=0 skipped=0
trap 'exit 130' INT TERM

for project in "${projects[@]}"; do
    program=$root/artifacts/bin/Platform.$project/release/Platform.$project
    if [ ! -x "$program" ]; then
        echo "$project: not built ($program)" >&2
        failed=$((failed + 1))
        failed_projects+=("$project")
        continue
    fi
    log=$logs/$project.log
    started=$SECONDS
    code=0
    # In the foreground: a background job of a script would ignore SIGINT, and so would every process it starts.
    timeout --foreground --signal=INT --kill-after=30 1200 "$program" -noColor >"$log" 2>&1 || code=$?
    summary=$(grep -E '^ +Platform\.[A-Za-z.]+ +Total: ' "$log" | tail -n 1)
    number() { sed -n "s/.*$1: \([0-9]*\).*/\1/p" <<<"$summary"; }
    total=$(number Total) errors=$(number Errors) bad=$(number Failed) skips=$(number Skipped) not_run=$(number 'Not Run')
    if [ -z "$total" ]; then
        # It ended before it could count: a crash is a failure of its own.
        total=1 errors=0 bad=1 skips=0 not_run=0
    fi
    bad=$((bad + errors))
    [ "$code" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    good=$((total - bad - skips - not_run))
    [ "$good" -ge 0 ] || good=0
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skips))
    printf '%-24s %5d passed %3d failed %3d skipped  %4ds\n' "$project" "$good" "$bad" "$skips" $((SECONDS - started))
    if [ "$bad" -gt 0 ]; then
        failed_projects+=("$project")
        sed 's/^/    /' "$log" | tail -n 200
    elif [ "$skips" -gt 0 ]; then
        grep -A1 '\[SKIP\]' "$log" | grep -v '^--$' | sed 's/^/    /'
    fi
done

[ ${#failed_projects[@]} -eq 0 ] || echo "Failed: ${failed_projects[*]} (logs in artifacts/test-logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
