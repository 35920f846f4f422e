#!/usr/bin/env bash
# Builds and runs the shipped Dockerfile with a separate Docker engine. No image is pulled: the base images of the Dockerfile
# are made here from Debian packages and this machine's Rust toolchain. Crates come from the registry.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

[ "$(id -u)" = 0 ] || skip docker "it needs root"
need docker "docker.io mmdebstrap iptables iproute2 curl util-linux" \
    dockerd mmdebstrap iptables ip nsenter curl rustc
# Debian's client: a newer one elsewhere in the PATH may lack the builder.
DOCKER=/usr/bin/docker
[ -x "$DOCKER" ] || skip docker "there is no $DOCKER (apt-get install docker.io)"

WORK=$(mktemp -d)
BASE=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
NETWORK=perennial-$$
ENGINE=''
export DOCKER_HOST=unix://$WORK/socket DOCKER_BUILDKIT=1

# --- the engine
engine_up() { # DOCKERD AND OPTIONS...
    "$@" --host "$DOCKER_HOST" --data-root "$WORK/data" --exec-root "$WORK/exec" --pidfile "$WORK/pid" \
        </dev/null >>"$WORK/log" 2>&1 &
    ENGINE=$!
    until_true answers || { tail -20 "$WORK/log"; return 1; }
}
answers() {
    kill -0 "$ENGINE" || exit 1
    "$DOCKER" version >/dev/null 2>&1
}
engine_down() {
    [ -n "$ENGINE" ] || return 0
    kill "$ENGINE" 2>/dev/null || true
    wait "$ENGINE" || true
    ENGINE=''
    umount "$WORK/exec/netns/default" 2>/dev/null || true
}
clean() {
    local code=$? group
    trap - EXIT
    if [ "$code" != 0 ] || [ "$FAILED" != 0 ]; then
        "$DOCKER" logs perennial 2>&1 | tail -50 || true
        "$DOCKER" inspect perennial || true
    fi
    "$DOCKER" ps -aq 2>/dev/null | xargs -r "$DOCKER" rm --force --volumes >/dev/null || true
    engine_down
    ip netns del "$NETWORK" 2>/dev/null || true
    rm -rf "$WORK" "$BASE"
    for group in /sys/fs/cgroup/*/docker; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; || true
    done
    exit "$code"
}
trap clean EXIT

# --- build, in the network of this machine, without a Docker network
engine_up dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false

# The image that a FROM line of the Dockerfile names.
image() { sed -n "s/^FROM \($1:[^ ]*\).*/\1/p" "$REPO/Dockerfile"; }
debian() {
    mmdebstrap --quiet --variant=apt bookworm - 2>/dev/null | "$DOCKER" import --change 'CMD ["bash"]' - "$(image debian)"
}
rust() {
    local root="$BASE/rust" toolchain
    toolchain=$(rustc --print sysroot)
    mmdebstrap --quiet --variant=apt --include=gcc,libc6-dev,make,ca-certificates bookworm "$root" 2>/dev/null
    # This machine's certificate authorities, so that a proxy in front of the registry is trusted.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    mkdir -p "$root/usr/local/rust"
    cp -a "$toolchain/bin" "$toolchain/lib" "$root/usr/local/rust/"
    # The binary need not be fast here, so it is built in less time.
    tar -C "$root" -c . | "$DOCKER" import \
        --change 'ENV CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1' \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo' \
        - "$(image rust)"
    rm -rf "$root"
}
# The README's commands; `docker build` also needs --network=host here, and a container gets what $MOUNTED says.
MOUNTED=()
docker() {
    local command="$1"
    shift
    case "$command" in
        build) "$DOCKER" build --quiet --network=host "$@" ;;
        run) "$DOCKER" run "${MOUNTED[@]}" "$@" ;;
        *) "$DOCKER" "$command" "$@" ;;
    esac
}
by_readme() { # COMMAND
    local line
    line=$(commands "### Docker" | sed -e ':more' -e '/\\$/{N;s/\\\n *//;b more' -e '}' | grep "^docker $1 ")
    (cd "$REPO" && eval "$line")
}
check "$(image debian) is made" quiet debian
check "$(image rust) is made" quiet rust
check "the image is built from the shipped Dockerfile" by_readme build
[ "$FAILED" = 0 ] || { result; exit 1; }
engine_down

# --- run, in a network namespace without a route
ip netns add "$NETWORK"
network() { nsenter --net="/run/netns/$NETWORK" "$@"; }
network ip link set lo up
engine_up nsenter --net="/run/netns/$NETWORK" dockerd

SITE=http://127.0.0.1:3000
inspect() { "$DOCKER" inspect --format "{{$1}}" perennial; }
code() { network curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
restarted() { [ "$(inspect .RestartCount)" = "$1" ] && [ "$(inspect .State.Running)" = true ]; }
check "the README's command starts it" quiet by_readme run
check "the page of the site, through the published port" until_true is 200 code "$SITE/"
check "a record is created" is 201 code "$SITE/books" -H 'Content-Type: application/json' -d '{"title":"Dune"}'
check "the container is healthy" until_true is healthy inspect .State.Health.Status
check "it does not run as root" is 65532:65532 inspect .Config.User
check "the root file system is read-only" is true inspect .HostConfig.ReadonlyRootfs
check "healthcheck succeeds" "$DOCKER" exec perennial perennial healthcheck
check "the shipped settings are valid" quiet "$DOCKER" exec perennial perennial check
check "only the volume is writable" has "Read-only file system" \
    sh -c "$DOCKER exec --user 0 perennial touch /etc/x 2>&1"
kill -9 "$(inspect .State.Pid)"
check "it restarts after kill -9" until_true restarted 1
check "the record is still there" until_true has Dune network curl --silent "$SITE/books"
check "the container is healthy again" until_true is healthy inspect .State.Health.Status
# Failures have the documented exit codes.
check "healthcheck fails without a daemon" is 1 sh -c \
    "$DOCKER run --rm --entrypoint perennial perennial healthcheck >/dev/null 2>&1; echo \$?"
check "wrong settings exit with 78" is 78 sh -c \
    "$DOCKER run --rm --env PERENNIAL__SERVER__ADMIN=nowhere perennial >/dev/null 2>&1; echo \$?"
check "it stops" quiet "$DOCKER" stop perennial
check "the exit code is 0" is 0 inspect .State.ExitCode
logs() { "$DOCKER" logs perennial 2>&1; }
check "the log reports an orderly stop" has "stopped reason=shutdown" logs

# --- settings of its owner, in a folder that is mounted
write_settings() { # LINES: the shipped settings and these take the place of the file, as an editor saves it
    printf '%s\n' "$(cat "$REPO/config/container.toml")" "$1" >"$WORK/settings/new"
    mv "$WORK/settings/new" "$WORK/settings/perennial.toml"
}
hang_up() { quiet "$DOCKER" kill --signal HUP perennial; }
mkdir "$WORK/settings"
write_settings '# nothing of its own'
MOUNTED=(-v "$WORK/settings:/etc/perennial:ro")
"$DOCKER" rm perennial >/dev/null
check "it starts with settings that are mounted" quiet by_readme run
check "a resource that they do not have" until_true is 404 code "$SITE/pens"
check "the records of the volume are there" has Dune network curl --silent "$SITE/books"
check "SIGHUP is sent" hang_up
check "unchanged settings: the log says so" until_true has "nothing has changed" logs
write_settings '[resource.pens]
access = "public"'
check "SIGHUP is sent" hang_up
check "a resource that was added is served" until_true is 200 code "$SITE/pens"
check "the log says that the settings are in force" until_true has "read again and in force" logs
write_settings '[resource.pens]
acess = "public"'
check "SIGHUP is sent" hang_up
check "wrong settings are refused in the log" until_true has "did you mean access?" logs
check "what was in force still is" is 200 code "$SITE/pens"
check "SIGHUP ends nothing" is "0 true" inspect ".RestartCount}} {{.State.Running"

result
