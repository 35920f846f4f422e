#!/usr/bin/env bash
# Lists as other programs know them, in Node: 500 random queries are answered like those of json-server 0.17.4, or the difference
# is in a list with its reason; and unmodified clients (react-admin's providers for json-server and for simple REST, and
# refine's) make all their calls. SEED and QUERIES choose the random queries.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need_node clients
[ -x "$PERENNIAL" ] || skip clients "there is no $PERENNIAL (cargo build --release)"

work_folder

cp "$REPO"/tests/ops/clients/*.mjs "$WORK"
cd "$WORK"
node_packages clients json-server@0.17.4 ra-data-json-server@5.15.3 ra-data-simple-rest@5.15.3 @refinedev/simple-rest@6.0.1

cat >perennial.toml <<'END'
server = { listen = ["127.0.0.1:0"], admin = "127.0.0.1:0", data = "data" }
[resource.things]
id = "sequence"
[resource.posts]
id = "sequence"
put = "merge"
[resource.posts.fields]
title = { type = "string", required = true, max_length = 40 }
views = { type = "integer", min = 0 }
tags = { type = "array", items = "string" }
author = { type = "object", fields = { name = { type = "string" } } }
END
serve perennial.toml
node data.mjs >db.json
PORT=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
node node_modules/json-server/lib/cli/bin.js --host 127.0.0.1 --port "$PORT" --quiet db.json >server.log 2>&1 &
SERVER=$!
until_true quiet node -e 'fetch(process.argv[1]).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))' "http://127.0.0.1:$PORT/things/1"

check "random queries are answered as by json-server, or differ for a reason" \
    node differential.mjs "$SITE" "http://127.0.0.1:$PORT" "${SEED:-1}" "${QUERIES:-500}"
for client in ra-data-json-server ra-data-simple-rest refine; do
    check "all calls of $client" node client.mjs "$client" "$SITE"
done

result
