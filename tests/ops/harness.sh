# Functions that the scripts in this folder source. Each script prints one line for each step, and "N passed, N failed" at
# the end. A script that can't run prints `SKIP ... because ...` and exits with 77, or with 1 if OPS_TESTS=require, so that
# the gate does not pass when nothing was tested.
# shellcheck shell=bash

PASSED=0 FAILED=0
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The binary under test.
PERENNIAL=${PERENNIAL:-${CARGO_TARGET_DIR:-$REPO/target}/release/perennial}

skip() { # WHAT WHY
    echo "SKIP $1 because $2"
    [ "${OPS_TESTS:-}" = require ] && exit 1
    exit 77
}

need() { # WHAT PACKAGES TOOL...
    local what="$1" packages="$2" tool
    shift 2
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$what" "there is no $tool (apt-get install $packages)"
    done
}

# Installs Node, if it is not there and can be.
need_node() { # WHAT
    command -v node >/dev/null && command -v npm >/dev/null && return
    [ "$(id -u)" = 0 ] || skip "$1" "there is no node or npm (apt-get install nodejs npm)"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null ||
        skip "$1" "nodejs and npm can't be installed"
}

# Makes $WORK, a folder that is removed at the end of the script, when the processes DAEMON and SERVER are killed. If the script
# fails, the ends of the logs in it are printed.
work_folder() {
    WORK=$(mktemp -d) DAEMON='' SERVER=''
    trap clean EXIT
}

clean() {
    local code=$? process
    trap - EXIT
    [ "$code" = 0 ] || tail -n 30 "$WORK"/*log
    for process in $DAEMON $SERVER; do
        kill -9 "$process" && wait "$process" || true
    done 2>/dev/null
    rm -rf "$WORK"
    exit "$code"
}

# Starts the daemon as DAEMON, and waits until it is ready. SITE and ADMIN are its addresses.
serve() { # CONFIG
    # What another one wrote before is not this one's.
    : >"$WORK/log"
    NO_COLOR=1 "$PERENNIAL" --config "$1" serve 2>"$WORK/log" &
    DAEMON=$!
    until_true has " ready" cat "$WORK/log"
    SITE=$(address "listening") ADMIN=$(address "admin")
}

address() { # NAME
    sed -n "s#.*$1 on \(http:[^ ]*[^ /]\).*#\1#p" "$WORK/log" | head -1
}

# Installs packages of Python with their tools into $WORK/python/bin.
python_packages() { # WHAT PACKAGE...
    local what="$1"
    shift
    python3 -m venv "$WORK/python" >"$WORK/venv.log" 2>&1 || skip "$what" "there is no venv (apt-get install python3-venv)"
    "$WORK/python/bin/pip" install --quiet --no-compile "$@" >"$WORK/pip.log" 2>&1 || skip "$what" "$* can't be installed"
}

# Installs packages of Node into $WORK/node_modules.
node_packages() { # WHAT PACKAGE...
    local what="$1"
    shift
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$WORK" "$@" >"$WORK/npm.log" 2>&1 ||
        skip "$what" "$* can't be installed"
}

# A step that must succeed.
check() { # NAME COMMAND...
    local name="$1" begun
    shift
    begun=$(date +%s%3N)
    if "$@"; then
        PASSED=$((PASSED + 1))
        echo "ok   $name ($(($(date +%s%3N) - begun)) ms)"
    else
        FAILED=$((FAILED + 1))
        echo "FAIL $name"
    fi
}

# Repeats a command until it succeeds, for at most $TIMEOUT seconds (30).
until_true() { # COMMAND...
    local ends=$((SECONDS + ${TIMEOUT:-30}))
    until "$@"; do
        [ "$SECONDS" -lt "$ends" ] || { echo "timed out: $*" >&2; return 1; }
        sleep 0.05
    done
}

is() { # WANTED COMMAND...: the output is exactly WANTED
    local wanted="$1" output
    shift
    output=$("$@" 2>/dev/null) || true
    [ "$output" = "$wanted" ]
}

has() { # WANTED COMMAND...: the output contains WANTED
    local wanted="$1" output
    shift
    output=$("$@" 2>/dev/null) || true
    grep -qF -- "$wanted" <<<"$output"
}

# Hides the standard output of a command.
quiet() { "$@" >/dev/null; }

# Prints the first block of shell commands below this heading of the README.
commands() { # HEADING
    awk -v heading="$1" '
        /^#/ { below = ($0 == heading) }
        /^```sh$/ && below { inside = 1; next }
        /^```$/ { if (inside) exit }
        inside { print }' "$REPO/README.md"
}

result() {
    echo "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ]
}
