# What the scripts in this folder share; they source it. Each prints a line a step and "N passed, N failed" at the end.
# Where one can't run it says `SKIP ... because ...` and exits with 77, or with 1 if OPS_TESTS=require: a gate must not
# be green because nothing was tried.
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

# Asks until the answer is yes, for 30 seconds or $PATIENCE.
until_true() { # COMMAND...
    local ends=$((SECONDS + ${PATIENCE:-30}))
    until "$@"; do
        [ "$SECONDS" -lt "$ends" ] || { echo "never: $*" >&2; return 1; }
        sleep 0.05
    done
}

is() { # WANTED COMMAND...: the command says exactly this
    local wanted="$1" said
    shift
    said=$("$@" 2>/dev/null) || true
    [ "$said" = "$wanted" ]
}

has() { # WANTED COMMAND...: the command says this among other things
    local wanted="$1" said
    shift
    said=$("$@" 2>/dev/null) || true
    grep -qF -- "$wanted" <<<"$said"
}

# Only what goes wrong is worth reading.
quiet() { "$@" >/dev/null; }

# The first block of shell commands below this heading of the README.
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
