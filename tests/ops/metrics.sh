#!/usr/bin/env bash
# Checks /metrics with promtool, before and after some requests and a panic.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need metrics "prometheus curl" promtool curl
[ -x "$PERENNIAL" ] || skip metrics "there is no $PERENNIAL (cargo build --release)"

work_folder

export PERENNIAL__SERVER__LISTEN=127.0.0.1:0 PERENNIAL__SERVER__ADMIN=127.0.0.1:0
export PERENNIAL__SERVER__DATA=$WORK/data PERENNIAL__CHAOS__ENABLED=true
cd "$REPO"
serve config/perennial.toml

code() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
JSON='Content-Type: application/json'
lint() { curl --silent --max-time 10 "$@" "$ADMIN/metrics" | promtool check metrics; }
counted() { curl --silent --max-time 10 "$ADMIN/metrics" | grep -q "$1"; }

check "promtool accepts the metrics before any request" lint
check "GET of a page" is 200 code "$SITE/"
check "GET of a missing page" is 404 code "$SITE/gone"
check "POST of a record" is 201 code -H "$JSON" -d '{"title":"Dune"}' "$SITE/books"
check "a method that is not allowed" is 405 code -X PUT "$SITE/books"
check "a panic is ordered" is 204 code -H "$JSON" -H "Perennial-Admin: 1" -d '{"child":"file-cache"}' "$ADMIN/chaos"
check "the restart is counted" until_true counted '^perennial_child_restarts_total{child="file-cache",cause="panic"} 1$'
check "promtool accepts the metrics afterwards" lint
check "OpenMetrics if requested" has "# EOF" \
    curl --silent --header 'Accept: application/openmetrics-text' "$ADMIN/metrics"

result
