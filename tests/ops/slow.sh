#!/usr/bin/env bash
# Five hundred slow clients at once, of three kinds: heads that never end, bodies that arrive slowly, answers that are read
# slowly. slowhttptest checks every five seconds whether the service is available; an ordinary client sends requests all
# the time, with a timeout of five seconds. Each kind runs for SECONDS_EACH (20) seconds.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need slow "slowhttptest curl" slowhttptest curl
[ -x "$PERENNIAL" ] || skip slow "there is no $PERENNIAL (cargo build --release)"
# 500 descriptors in the client, 500 in the daemon, and some more.
ulimit -n 4096 2>/dev/null || skip slow "there are fewer than 4096 open files allowed (ulimit -n)"

SECONDS_EACH=${SECONDS_EACH:-20}
work_folder

mkdir "$WORK/site"
# Larger than the kernel's socket buffers, so that a client that does not read blocks the daemon's writes.
head -c 3600000 /dev/zero | tr '\0' x >"$WORK/site/index.html"
cat >"$WORK/perennial.toml" <<TOML
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
data = "$WORK/data"
[route."/"]
files = { root = "$WORK/site" }
[resource.books]
TOML
serve "$WORK/perennial.toml"

# An ordinary client: prints one status for each request, or 000 if there was no answer within five seconds.
ordinary() {
    while [ ! -e "$WORK/enough" ]; do
        curl --silent --output /dev/null --write-out '%{http_code}\n' --max-time 5 "$SITE/books" || true
        sleep 0.05
    done >"$WORK/codes"
}

slow() { # NAME OPTIONS...
    local name="$1" client
    shift
    rm -f "$WORK/enough"
    ordinary &
    client=$!
    slowhttptest -c 500 -r 250 -p 5 -l "$SECONDS_EACH" "$@" >"$WORK/slow" 2>&1 </dev/null || true
    touch "$WORK/enough"
    wait "$client"
    # Removes terminal colours.
    sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g' "$WORK/slow"
    local yes no most
    yes=$(grep -c 'service available: *YES' "$WORK/slow" || true)
    no=$(grep -c 'service available: *NO' "$WORK/slow" || true)
    most=$(sed -n 's/^connected: *\([0-9]*\).*/\1/p' "$WORK/slow" | sort -n | tail -n 1)
    echo "     $name: available $yes times of $((yes + no)), ${most:-0} slow connections at once," \
        "an ordinary client got $(sort "$WORK/codes" | uniq -c | xargs)"
    [ "$yes" -gt 0 ] && [ "$no" = 0 ] && [ "${most:-0}" -ge 400 ] && [ -s "$WORK/codes" ] &&
        ! grep -qv '^200$' "$WORK/codes"
}

check "slow heads" slow "slow heads" -H -i 3 -x 24 -t GET -u "$SITE/"
check "slow bodies" slow "slow bodies" -B -i 3 -x 10 -s 8192 -t POST -f application/json -u "$SITE/books"
check "slow reads" slow "slow reads" -X -w 512 -y 1024 -n 3 -z 32 -k 1 -u "$SITE/"
check "the daemon is ready afterwards" is 200 curl --silent --output /dev/null --write-out '%{http_code}' "$ADMIN/readyz"
check "no child was restarted" is 0 sh -c \
    "'$PERENNIAL' --config '$WORK/perennial.toml' status >/dev/null 2>&1; curl --silent $ADMIN/metrics |
        sed -n 's/^perennial_child_restarts_total{.*} //p' | grep -cv '^0$' || true"
kill "$DAEMON"
stopped() {
    local code=0
    wait "$DAEMON" || code=$?
    DAEMON=''
    [ "$code" = 0 ]
}
check "it stops with exit code 0" stopped

result
