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

# The drills are built, or those of the test binary IT are run.
drill() { # TEST
    local drills=(cargo test --test it --)
    [ -z "${IT:-}" ] || drills=("$IT")
    "${drills[@]}" --ignored --nocapture --test-threads 1 "$1"
}
FAULTS=${FAULTS:-1000}
faults() {
    # Half of them at rest, half under load.
    DAMAGE_SINGLE=$((FAULTS / 2)) DAMAGE_DOUBLE=$((FAULTS / 5)) drill damage::one_damaged_file
    DAMAGE_UNDER_LOAD=$((FAULTS / 2)) drill damage_under_load::
    drill ill_disk::
    drill disk_full::
}
kills() { DRILL_KILLS=${KILLS:-1000} drill drills::kill_9; }
power_cuts() {
    local kind
    for kind in ext4 xfs btrfs; do
        if [ $kind != ext4 ] && ! { command -v mkfs.$kind && grep -qw $kind /proc/filesystems; }; then
            echo "no power cuts on $kind: the kernel or mkfs.$kind is missing"
            continue
        fi
        DISK_KIND=$kind POWERCUT_IMAGES=${POWER_CUTS:-100} tests/ops/powercut.sh
    done
}
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
