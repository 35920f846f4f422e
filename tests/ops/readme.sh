#!/usr/bin/env bash
# Runs the README: a fresh clone, `cargo run --release`, then every command of its `console` blocks, whose output must be as
# printed there. Ids and times are ignored, and of response heads (curl -i) only the printed lines are compared.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

need readme "git curl iproute2 util-linux" git curl cargo
# In a network namespace of its own, ports 3000 and 3001 are free.
if [ "$(id -u)" = 0 ] && [ -z "${ISOLATED:-}" ] && command -v unshare >/dev/null && command -v ip >/dev/null; then
    ISOLATED=1 exec unshare --net "$0"
fi
[ -z "${ISOLATED:-}" ] || ip link set lo up

WORK=$(mktemp -d)
DAEMON=''
clean() {
    local code=$?
    trap - EXIT
    [ "$code" = 0 ] || tail -20 "$WORK/log" || true
    [ -z "$DAEMON" ] || kill "$DAEMON" 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap clean EXIT

git clone --quiet "$REPO" "$WORK/perennial"
cd "$WORK/perennial"
RUN=$(commands "## Two commands" | sed -n 's/ *#.*//; /^cargo run/p')
BUILT=$(dirname "$PERENNIAL")
mkdir -p target/release
if [ "${BUILD:-yes}" = no ]; then
    # The clone is not built: $PERENNIAL runs instead, which may be a debug binary.
    cp "$PERENNIAL" target/release/perennial
    RUN=target/release/perennial
elif [ -d "$BUILT/deps" ]; then
    # Reuses the compiled dependencies.
    cp -a "$BUILT/.fingerprint" "$BUILT/build" "$BUILT/deps" target/release/
fi
unset CARGO_TARGET_DIR

served() {
    kill -0 "$DAEMON" || exit 1
    has " ready" cat "$WORK/log"
}
NO_COLOR=1 $RUN >"$WORK/log" 2>&1 </dev/null &
DAEMON=$!
TIMEOUT=900 check "$RUN" until_true served

# Writes each command to a file, and its expected output to another.
awk -v into="$WORK/step" '
    /^```console$/ { inside = 1; next }
    /^```$/ { inside = 0 }
    inside && /^\$ / { n = sprintf("%s.%02d", into, ++count); print substr($0, 3) > (n ".command"); printf "" > (n ".expected"); next }
    inside { print > (n ".expected") }' README.md

ID='[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
TAG='"1-[0-9a-v]{6}"'
# The id and the entity tag in the README, and those of the record created here.
WRITTEN=$(grep -oE "$ID" README.md | head -n 1)
WRITTEN_TAG=$(grep -oE "$TAG" README.md | head -n 1)
HERE=''
HERE_TAG=''
plain() { # FILE
    tr -d '\r' <"$1" | sed -E -e "s/$ID/ID/g" -e "s/$TAG/TAG/" -e 's/up +[0-9.]+s/up TIME/' \
        -e 's/hash [0-9a-f]{16}/hash HASH/' -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g' -e "$HANDLERS"
}
# The README shows the tree of a machine with two cores.
HANDLERS=''
[ "$(nproc)" = 2 ] || HANDLERS='/ handler-[0-9]/d'

step() { # FILE WITHOUT ENDING
    local command
    command=$(sed "s/$WRITTEN/${HERE:-$WRITTEN}/g; s/$WRITTEN_TAG/${HERE_TAG:-$WRITTEN_TAG}/g" "$1.command")
    timeout 60 bash -c "$command" >"$1.output" 2>&1 || true
    [ -n "$HERE" ] || HERE=$(grep -oE "$ID" "$1.output" | head -n 1) || true
    [ -n "$HERE_TAG" ] || HERE_TAG=$(grep -oE "$TAG" "$1.output" | head -n 1) || true
    plain "$1.expected" >"$1.wanted"
    plain "$1.output" >"$1.got"
    # A missing newline at the end does not count.
    [ -z "$(tail -c 1 "$1.got")" ] || echo >>"$1.got"
    case "$command" in
        *"curl -si"*) ! grep -vxFf "$1.got" "$1.wanted" ;;
        *) diff "$1.wanted" "$1.got" ;;
    esac
}

for file in "$WORK"/step.*.command; do
    check "$(cat "$file")" step "${file%.command}"
done
kill "$DAEMON"
stopped() {
    local code=0
    wait "$DAEMON" || code=$?
    DAEMON=''
    [ "$code" = 0 ]
}
check "it stops with exit code 0" stopped

result
