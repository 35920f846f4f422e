#!/usr/bin/env bash
# Each promise of the store by a command, one after the other: `tests/ops/store.sh` shows all of them, `tests/ops/store.sh figures`
# only those that are named. FAULTS (1000), KILLS (1000), POWER_CUTS (100) and RECORDS (1000000) set how much is done. It takes
# hours in full, so the gate runs smaller numbers of faults, kills, power cuts and tasks that are cut off; the other rows measure,
# and are not a part of it.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need store "python3" python3
[ -x "$PERENNIAL" ] || skip store "there is no $PERENNIAL (cargo build --release)"
PERENNIAL=$(realpath "$PERENNIAL")
export PERENNIAL PERENNIAL_BINARY="$PERENNIAL"
cd "$REPO"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

drill() { # TEST
    cargo test --test it -- --ignored --nocapture --test-threads 1 "$1"
}
faults() {
    DAMAGE_SINGLE=${FAULTS:-1000} DAMAGE_DOUBLE=$((${FAULTS:-1000} / 5)) drill damage::one_damaged_file
    drill ill_disk::
    drill disk_full::
}
kills() { DRILL_KILLS=${KILLS:-1000} drill drills::kill_9; }
power_cuts() { POWERCUT_IMAGES=${POWER_CUTS:-100} tests/ops/powercut.sh; }
cut_off() { drill cut_off::; }
durable_writes() { cargo bench --bench storage; }
figures() { python3 tests/ops/store_figures.py "$WORK" "${RECORDS:-1000000}"; }
beside_sqlite() { tests/ops/beside_sqlite.sh; }

ROWS=(faults kills power_cuts cut_off durable_writes figures beside_sqlite)
[ $# -eq 0 ] || ROWS=("$@")
for row in "${ROWS[@]}"; do
    check "$row" "$row"
done
result
