#!/usr/bin/env bash
# Backups in a bucket of a real server of the protocol of Amazon S3 (moto, from PyPI): by schedule, with the server killed and
# the daemon killed in the middle, and restored.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need s3 "curl python3-venv" curl python3
[ -x "$PERENNIAL" ] || skip s3 "there is no $PERENNIAL (cargo build --release)"

work_folder

# Only what the server needs for buckets.
python_packages s3 'moto[s3]==5.2.5' flask flask-cors

export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=secret
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
BUCKET=http://127.0.0.1:$PORT/bucket
BACKUPS=s3://bucket/backups/perennial

server() { # Starts it, empty as it keeps everything in memory, and makes the bucket.
    "$WORK/python/bin/moto_server" -p "$PORT" >>"$WORK/server.log" 2>&1 &
    SERVER=$!
    until_true curl --silent --fail --output /dev/null -X PUT "$BUCKET"
}

daemon() { # Starts it, and waits until it is ready, and its store open.
    serve "$WORK/perennial.toml"
    until_true quiet curl --fail --silent "$ADMIN/readyz"
}

mkdir "$WORK/site"
cat >"$WORK/perennial.toml" <<END
server = { listen = ["127.0.0.1:0"], admin = "127.0.0.1:0", data = "$WORK/data" }
[route."/"]
files = { root = "$WORK/site" }
[resource.books]
access = "public"
[backup]
to = "$BACKUPS"
endpoint = "http://127.0.0.1:$PORT"
every = "1s"
keep = { last = 2 }
END

metric() { curl --silent --max-time 10 "$ADMIN/metrics" | sed -n "s/^perennial_backup_$1 //p"; }
at_least() { [ "$(metric "$1" | cut -d. -f1)" -ge "$2" ]; }
verified() { at_least change "$1" && at_least verified_timestamp_seconds "$(metric last_success_timestamp_seconds)"; }
listed() { curl --silent --max-time 10 "$BUCKET?list-type=2" | grep -o '<Key>[^<]*' | sed 's/<Key>//'; }
unfinished() { listed | grep -q '\.unfinished$'; }
all_finished() { ! unfinished && ! has "<UploadId>" curl --silent "$BUCKET?uploads"; }
few() { [ "$(listed | grep -c '\.backup$')" -le 3 ]; }
records() { # FROM TO: writes them, 20 kB each that can't be compressed.
    python3 - "$SITE" "$1" "$2" <<'END'
import base64, http.client, json, os, sys
site, first, last = sys.argv[1].removeprefix("http://"), int(sys.argv[2]), int(sys.argv[3])
client = http.client.HTTPConnection(site, timeout=10)
for n in range(first, last):
    body = json.dumps({"n": n, "filling": base64.b64encode(os.urandom(15000)).decode()})
    client.request("POST", "/books", body, {"Content-Type": "application/json"})
    answer = client.getresponse()
    answer.read()
    assert answer.status == 201, answer.status
END
}
all_records() { # SITE: prints the sum of all records, in order
    local start=0 page
    while page=$(curl --silent --fail --max-time 10 "$1/books?_sort=n&_start=$start&_limit=100") && [ "$page" != "[]" ]; do
        echo "$page"
        start=$((start + 100))
    done | sha256sum
}

server
daemon
check "1000 records are written" records 0 1000
check "a backup has all of them, and is verified" until_true verified 1000
check "old backups are removed" until_true few

TIMEOUT=10 until_true unfinished && kill -9 "$SERVER"
wait "$SERVER" 2>/dev/null || true
check "the server is gone in the middle, and that is counted" until_true at_least failures_total 1
check "records are still written" records 1000 1001
check "it is ready" is 200 curl --silent --output /dev/null --write-out '%{http_code}' "$ADMIN/readyz"
server
check "the next backup has all records" until_true verified 1001

TIMEOUT=10 until_true unfinished && kill -9 "$DAEMON"
wait "$DAEMON" 2>/dev/null || true
check "the daemon is killed in the middle" unfinished
daemon
check "records are written after the restart" records 1001 1002
check "the next backup has all records, too" until_true verified 1002
# A backup that is being made at this moment is unfinished, too.
check "nothing is left of the one that was killed" until_true all_finished
kill -TERM "$DAEMON"
wait "$DAEMON" || true

daemon
SUM=$(all_records "$SITE")
kill -9 "$DAEMON"
wait "$DAEMON" 2>/dev/null || true
mv "$WORK/data" "$WORK/lost"
check "the newest backup is restored" quiet "$PERENNIAL" --config "$WORK/perennial.toml" restore "$BACKUPS"
daemon
check "it has the same records" is "$SUM" all_records "$SITE"

result
