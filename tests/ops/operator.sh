#!/usr/bin/env bash
# The parts of the README's operator's chapter that need another store or another disk than its commands have: upgrade from
# each released format, go back, salvage, and a full disk.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need operator "curl python3 mount" curl python3 mount tar
[ -x "$PERENNIAL" ] || skip operator "there is no $PERENNIAL (cargo build --release)"
[ "$(id -u)" = 0 ] || skip operator "it mounts a disk of its own, which needs root"

WORK=$(mktemp -d)
DAEMON=''
stop() {
    [ -z "$DAEMON" ] || { kill "$DAEMON" 2>/dev/null && wait "$DAEMON"; } || true
    DAEMON=''
}
clean() {
    local code=$?
    trap - EXIT
    stop
    [ "$code" = 0 ] || tail -50 "$WORK/log" || true
    umount "$WORK/disk" 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap clean EXIT

export PERENNIAL__SERVER__LISTEN=127.0.0.1:0 PERENNIAL__SERVER__ADMIN=127.0.0.1:0 NO_COLOR=1
cat >"$WORK/perennial.toml" <<END
[resource.books]
[resource.albums]
id = "sequence"
END
cd "$WORK"
JSON='Content-Type: application/json'
run() { # COMMAND OF PERENNIAL...: beside the daemon or without one, on the data folder $DATA
    PERENNIAL__SERVER__DATA=$DATA "$PERENNIAL" --config "$WORK/perennial.toml" "$@"
}
start() { # DATA FOLDER
    DATA=$1
    # What the last one wrote is not this one's.
    : >"$WORK/log"
    PERENNIAL__SERVER__DATA=$DATA "$PERENNIAL" --config "$WORK/perennial.toml" serve >/dev/null 2>"$WORK/log" &
    DAEMON=$!
    until_true has " ready" cat "$WORK/log"
    SITE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$WORK/log")
    ADMIN=$(sed -n 's/.*admin on \(http:[^ ]*\).*/\1/p' "$WORK/log")
}
code() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
title() { curl --silent --max-time 10 "$SITE/books/$1"; }
whole() { run check --data >"$WORK/checked" 2>&1; }

for format in sled-only journal-and-view; do
    mkdir "$WORK/$format"
    tar -xzf "$REPO/tests/fixtures/$format.tar.gz" -C "$WORK/$format"
    start "$WORK/$format"
    check "upgrade: a store of the format $format is served" \
        is '{"id":"emma","title":"Emma","year":1815}' title emma
    stop
    check "upgrade: it is whole" whole
done
set_aside() { compgen -G "$WORK/sled-only/aside-*" >/dev/null; }
check "upgrade: the store of the older format was moved aside, not removed" set_aside

# Go back. A backup before the upgrade; then the store is one of a newer version: the version of its first frame is raised.
saved() { run backup before.backup 2>"$WORK/log"; }
check "go back: a backup before the upgrade" saved
newer() {
    python3 - "$WORK"/journal-and-view/journal/*.journal <<'END'
import struct, sys
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
for path in sys.argv[1:]:
    with open(path, "r+b") as file:
        file.seek(64)
        head = bytearray(file.read(48))
        if head[:4] == b"PRNF":
            head[4] = 3
            head[40:44] = struct.pack(">I", crc32c(head[:40]))
            file.seek(64)
            file.write(head)
END
    # Without a view, the journal has to be read.
    rm -r "$WORK/journal-and-view/view"
}
check "go back: the store of a newer program" newer
start_refused() {
    start "$WORK/journal-and-view"
    has "has version 3, this program knows 2" curl --silent --max-time 10 "$ADMIN/readyz/storage"
}
check "go back: the program of before says that the store is newer" start_refused
check "go back: the site is served, records are not" is 503 code "$SITE/books/emma"
stop
check "go back: the backup is restored" quiet run restore before.backup --into "$WORK/before"
start "$WORK/before"
check "go back: its records are served" is '{"id":"emma","title":"Emma","year":1815}' title emma
stop

# Salvage: the view is gone, and a byte of the journal is not what was written.
start "$WORK/damaged"
for id in one two three; do
    check "salvage: the record $id is written" is 201 code -H "$JSON" -d "{\"id\":\"$id\",\"title\":\"title $id\"}" "$SITE/books"
done
stop
damage() {
    rm -rf "$WORK/damaged/view" "$WORK/damaged/snapshots"
    sed -i '0,/title two/s//title TWO/' "$WORK"/damaged/journal/*.journal
}
check "salvage: the store is damaged" damage
start "$WORK/damaged"
told() { has "perennial salvage" curl --silent --max-time 10 "$ADMIN/readyz/storage"; }
check "salvage: the daemon names the command" until_true told
stop
salvaged() {
    local code=0
    run salvage --into "$WORK/salvaged" >"$WORK/log" 2>&1 || code=$?
    [ "$code" = 65 ] && has "books/two" cat "$WORK/log"
}
check "salvage: what is lost is named" salvaged
start "$WORK/salvaged"
check "salvage: the others are served" is '{"id":"three","title":"title three"}' title three
check "salvage: the lost one is not" is 404 code "$SITE/books/two"
stop

# A full disk. The reserve is 64 MiB.
mkdir "$WORK/disk"
mount -t tmpfs -o size=200m none "$WORK/disk"
start "$WORK/disk/data"
post() { code -H "$JSON" -d "{\"id\":\"$1\",\"title\":\"$1\"}" "$SITE/books"; }
check "full disk: a write while there is room" is 201 post first
fill() {
    local free
    free=$(df --output=avail -k "$WORK/disk" | tail -n 1)
    head -c "$((free - 40 * 1024))K" /dev/zero >"$WORK/disk/filler"
}
check "full disk: another program fills it" fill
check "full disk: a write is answered 507" is 507 post second
check "full disk: records are read" is '{"id":"first","title":"first"}' title first
check "full disk: deleting is possible" is 200 code -X DELETE "$SITE/books/first"
rm "$WORK/disk/filler"
written() { is 201 post third; }
check "full disk: writes go on when there is room" until_true written
stop

result
