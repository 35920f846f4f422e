#!/usr/bin/env bash
# The lecture's client against the shipped settings: six calls at once through one aiohttp session. aiohttp is installed from
# PyPI into a temporary folder. BINARY is the daemon (target/release/perennial).
set -euo pipefail
cd "$(dirname "$0")/../.."
binary="${BINARY:-${CARGO_TARGET_DIR:-target}/release/perennial}"
work="$(mktemp -d)"
daemon=""

cleanup() {
    if [ -n "$daemon" ]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

skip() {
    echo "SKIP the lecture's client because $1 ($2)"
    [ "${OPS_TESTS:-}" = require ] && exit 1
    exit 77
}
[ -x "$binary" ] || skip "$binary is missing" "cargo build --release"
python3 -m venv "$work/venv" >"$work/venv.log" 2>&1 || skip "python3 can not create a venv" "apt-get install python3-venv"
"$work/venv/bin/pip" install --quiet aiohttp >"$work/pip.log" 2>&1 || skip "aiohttp can not be installed" "tail of pip: $(tail -1 "$work/pip.log")"

PERENNIAL__SERVER__LISTEN=127.0.0.1:0 PERENNIAL__SERVER__ADMIN=127.0.0.1:0 PERENNIAL__SERVER__DATA="$work/data" NO_COLOR=1 \
    "$binary" --config config/perennial.toml serve 2>"$work/log" &
daemon=$!
for _ in $(seq 200); do
    grep -qw ready "$work/log" && break
    kill -0 "$daemon" 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.05
done
address="$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log" | head -1)"
[ -n "$address" ] || { cat "$work/log"; exit 1; }

"$work/venv/bin/python" - "$address" <<'PYTHON' || { cat "$work/log"; exit 1; }
import asyncio
import json
import sys

import aiohttp

BASE = sys.argv[1].rstrip("/")


async def fetch(session, path):
    async with session.get(BASE + path) as response:
        return response.status, await response.json()


async def add(session, path, record):
    # data=, not json=, so the body is sent as text/plain.
    async with session.post(BASE + path, data=json.dumps(record)) as response:
        assert response.request_info.headers["Content-Type"] == "text/plain; charset=utf-8"
        return response.status, await response.json()


async def remove(session, path, record):
    async with session.delete(BASE + path, data=json.dumps(record)) as response:
        return response.status, await response.json()


async def main():
    async with aiohttp.ClientSession() as session:
        results = await asyncio.gather(
            fetch(session, "/books"),
            add(session, "/books", {"title": "The Dispossessed", "author": "Ursula K. Le Guin"}),
            add(session, "/books", {"title": "Nineteen Eighty-Four", "author": "George Orwell"}),
            add(session, "/movies", {"title": "Stalker", "director": "Andrei Tarkovsky"}),
            remove(session, "/books", {"title": "Nineteen Eighty-Four"}),
            remove(session, "/movies", {"title": "Stalker"}),
        )
        for status, body in results:
            print(status, json.dumps(body))
            assert 200 <= status < 300, status
        status, books = await fetch(session, "/books")
        assert status == 200 and any(book["title"] == "The Dispossessed" for book in books), books
        assert len(books) == 2 - len(results[4][1]), books
        status, movies = await fetch(session, "/movies")
        assert status == 200 and len(movies) == 1 - len(results[5][1]), movies


asyncio.run(main())
PYTHON
echo "1 passed, 0 failed, 0 skipped"
