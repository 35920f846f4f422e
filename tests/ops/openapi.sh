#!/usr/bin/env bash
# The description of the API is true: schemathesis makes requests of /_openapi.json, right ones and wrong ones, and each answer
# must be one that the document has; a validator, a generator of types and the compiler of TypeScript take the document and the
# types as they are; a browser shows it. SEED, EXAMPLES and PHASES choose the requests; 20,000 of them are of the phase "coverage",
# whatever EXAMPLES is. WITHOUT=HEAD leaves a method out.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need_node openapi
need openapi "python3 python3-venv chromium" python3 chromium
[ -x "$PERENNIAL" ] || skip openapi "there is no $PERENNIAL (cargo build --release)"

work_folder

cp "$REPO"/tests/ops/openapi/* "$WORK"
cd "$WORK"
python_packages openapi schemathesis==4.32.5 hypothesis==6.170.17 openapi-spec-validator==0.9.0
node_packages openapi openapi-typescript@7.13.0 typescript@5.9.3

serve perennial.toml
python/bin/python -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())' \
    "$SITE/_openapi.json" >openapi.json

generate() { node_modules/.bin/openapi-typescript openapi.json --output generated.ts; }
types() { "$PERENNIAL" --config perennial.toml types --ts >types.ts; }
compile() { node_modules/.bin/tsc --noEmit --strict --skipLibCheck false "$1"; }
# The page as a browser makes it, which finds no other host.
page() {
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$WORK/chromium" \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --virtual-time-budget=10000 \
        --dump-dom "$SITE/_docs" >page.html 2>chromium.log && node page.mjs
}
requests() {
    PYTHONPATH=. SCHEMATHESIS_HOOKS=hooks python/bin/schemathesis run "$SITE/_openapi.json" --checks all \
        --phases "${PHASES:-examples,coverage,fuzzing,stateful}" ${WITHOUT:+--exclude-method "$WITHOUT"} \
        --max-examples "${EXAMPLES:-50}" --seed "${SEED:-1}" --workers 1 \
        --suppress-health-check too_slow --continue-on-failure --generation-database none --warnings off --no-color
}

check "the document is valid" quiet python/bin/openapi-spec-validator openapi.json
check "types are made of it" quiet generate
check "they compile" compile generated.ts
check "the daemon prints its own types" types
check "they compile, too" compile types.ts
check "the page shows each operation and each schema" page
check "answers are as described" requests
check "no request was a fault of the daemon" is 0 grep -c -e ' ERROR ' -e panicked log

result
