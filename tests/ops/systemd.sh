#!/usr/bin/env bash
# The shipped unit files under a real systemd, as PID 1 of a container on a temporary overlay of this machine's disk. Needs
# root and systemd-nspawn, but neither a running systemd nor a network.
set -euo pipefail
. "$(dirname "$0")/harness.sh"

[ "$(id -u)" = 0 ] || skip systemd "it needs root"
need systemd "systemd systemd-sysv dbus systemd-container procps curl strace util-linux" \
    systemd-nspawn nsenter dbus-daemon pgrep curl strace mount
[ -x "$PERENNIAL" ] || skip systemd "there is no $PERENNIAL (cargo build --release)"
for CGROUPS in /sys/fs/cgroup/unified /sys/fs/cgroup none; do
    [ ! -e "$CGROUPS/cgroup.procs" ] || break
done
[ "$CGROUPS" != none ] || skip systemd "there is no version 2 of control groups"

NAME=perennial-$$
CGROUP=$CGROUPS/$NAME
DISK=$(mktemp -d)
NSPAWN='' LEADER=''

# --- the machine
down() {
    local code=$?
    trap - EXIT
    if [ "$code" != 0 ] || [ "$FAILED" != 0 ]; then
        [ -z "$LEADER" ] || inside systemctl status --no-pager --full perennial.service || true
        [ -z "$LEADER" ] || inside journalctl --no-pager --boot --output short-precise | tail -40 || true
    fi
    [ -z "$LEADER" ] || kill -s RTMIN+4 "$LEADER" 2>/dev/null || true # power off
    if [ -n "$NSPAWN" ]; then
        TIMEOUT=10 until_true gone "$NSPAWN" || echo 1 >"$CGROUP/cgroup.kill"
        wait "$NSPAWN" 2>/dev/null || true
    fi
    umount "$DISK/merged" 2>/dev/null || true
    umount "$DISK" 2>/dev/null || true
    rmdir "$DISK"
    # nspawn does not remove its control groups, in either hierarchy.
    local group
    for group in "$CGROUP" "/sys/fs/cgroup/systemd/$NAME"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; || true
    done
    exit "$code"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
inside() { nsenter --target "$LEADER" --mount --uts --ipc --pid --net --cgroup -- "$@"; }
booted() {
    local state
    kill -0 "$NSPAWN" 2>/dev/null || { cat "$DISK/log"; exit 1; }
    LEADER=$(pgrep -P "$NSPAWN" | head -n 1) || return 1
    state=$(inside systemctl is-system-running 2>/dev/null) || true
    [ "$state" = running ] || [ "$state" = degraded ]
}

trap down EXIT
mount -t tmpfs -o size=1G tmpfs "$DISK"
mkdir "$DISK"/{upper,work,merged}
mount -t overlay overlay -o "lowerdir=/,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/merged" 2>/dev/null ||
    skip systemd "there is no overlay file system"
# The container begins as a machine without Perennial, also if this machine has it installed or has logs of it.
rm -rf "$DISK"/merged/{etc,srv,var/lib,var/log,var/lib/private,var/log/private}/perennial "$DISK"/merged/usr/bin/perennial \
    "$DISK"/merged/etc/systemd/system/{,{multi-user,sockets}.target.wants/}perennial.*
mkdir "$CGROUP"
(
    echo "$BASHPID" >"$CGROUP/cgroup.procs"
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    # basic.target: no service of this machine starts. The clone and the binary are bound because the container has its own
    # /tmp.
    exec systemd-nspawn --quiet --boot --directory="$DISK/merged" --machine="$NAME" --register=no --keep-unit \
        --console=pipe --link-journal=no --private-network --capability=CAP_BPF,CAP_NET_ADMIN \
        --system-call-filter=bpf --bind-ro="$REPO" --bind-ro="$(dirname "$(realpath "$PERENNIAL")")" \
        -- --unit=basic.target
) </dev/null >"$DISK/log" 2>&1 &
NSPAWN=$!
check "systemd boots" until_true booted

# --- queries about the service
SITE=http://127.0.0.1:3000
ADMIN=http://127.0.0.1:3001
show() { inside systemctl show --value -p "$1" perennial.service; }
code() { inside curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
journal() { inside journalctl --no-pager --boot --output cat --unit perennial.service; }
process() { inside cat "/proc/$(show MainPID)/status"; }
sees() { process | tr '\t' ' ' | grep -q -- "$1"; }
changed() { [ "$(show MainPID)" != "$1" ] && [ "$(show ActiveState)" = active ]; }

# --- installed by the README's commands, except for the path of the binary and a watchdog of two seconds
inside sh -c 'mkdir -p /run/systemd/system/perennial.service.d &&
    printf "[Service]\nWatchdogSec=2s\n" > /run/systemd/system/perennial.service.d/soon.conf'
install_by_readme() {
    local lines
    lines=$(commands "### systemd")
    [ -n "$lines" ] && inside sh -euc "cd '$REPO'; ${lines//target\/release\/perennial/$PERENNIAL}"
}
check "the README's commands install and start it" install_by_readme

# --- start and status
check "the service is active" is active show ActiveState
check "it is ready" is 200 code "$ADMIN/readyz"
check "the page of the site" is 200 code "$SITE/"
check "a record is created" is 201 code "$SITE/books" -H 'Content-Type: application/json' -d '{"title":"Dune"}'
check "systemctl status shows that it is serving" until_true is serving show StatusText
check "healthcheck succeeds in the container" inside perennial healthcheck --config /etc/perennial/perennial.toml

# --- hardened
check "it runs as its own user" sees "Uid: 6[0-9][0-9][0-9][0-9] "
check "it has no capabilities" sees "CapEff: 0000000000000000"
check "system calls are filtered" sees "Seccomp: 2"
check "it can gain no privileges" sees "NoNewPrivs: 1"
check "other users can not read the records" is "700" inside stat -c %a /var/lib/private/perennial

# --- the log level
inside sed -i '$a [logging]\nlevel = "perennial=debug"' /etc/perennial/perennial.toml
inside systemctl kill --signal=HUP --kill-who=main perennial.service
check "SIGHUP takes over the log level" until_true has 'to "perennial=debug"' journal

# --- reload
inside sed -i '$a [limits]\nbody = "1 KiB"' /etc/perennial/perennial.toml
long() { code "$SITE/books" -H 'Content-Type: application/json' -d "{\"title\":\"$(printf '%02000d' 0)\"}"; }
check "a reload with a good file succeeds" inside systemctl reload perennial.service
check "the new limit is in force" is 413 long
check "systemd knows that the reload is over" until_true is active show ActiveState
inside cp /etc/perennial/perennial.toml /etc/perennial/good
inside sed -i 's/^listen/lisen/' /etc/perennial/perennial.toml
LINE=$(inside sed -n '/^lisen/=' /etc/perennial/perennial.toml)
not_reloaded() { ! inside systemctl reload perennial.service 2>/dev/null; }
check "a reload with a wrong file fails" not_reloaded
check "the journal names the line" has "/etc/perennial/perennial.toml:$LINE:1: server.lisen: unknown; did you mean listen?" journal
check "the service goes on" is active show ActiveState
check "the limit stays in force" is 413 long
inside mv /etc/perennial/good /etc/perennial/perennial.toml
watched() { inside sed -i "s/^listen/watch = true\nlisten/; s/1 KiB/$1/" /etc/perennial/perennial.toml; }
watched "4 KiB"
check "a reload switches the watch on" inside systemctl reload perennial.service
inside sed -i 's/4 KiB/1 KiB/' /etc/perennial/perennial.toml
check "what is saved then is in force without a reload" until_true is 413 long

# --- kill
PID=$(show MainPID)
inside systemctl kill --signal=KILL --kill-who=main perennial.service
check "it restarts after kill -9" until_true changed "$PID"
check "systemd counts the restart" is 1 show NRestarts
check "the record is still there" has Dune inside curl --silent "$SITE/books"

# --- backup and restore
check "the README's commands make a backup" inside sh -euc "$(commands "### Backup")"
check "the README's commands restore it" inside sh -euc "$(commands "### Restore")"
check "the backup has the record" has Dune inside curl --silent "$SITE/books"

# --- a supervisor that hangs while everything else works: strace stops the thread of the supervisors
PID=$(show MainPID)
THREAD=$(inside sh -c "grep -l '^actix-rt' /proc/$PID/task/*/comm" | sort -t / -k 5 -n | head -n 1 | cut -d / -f 5)
inside sh -c 'echo $$ > /run/holder
    exec strace -qq -p "$0" -e trace=epoll_wait -e inject=epoll_wait:delay_exit=60s' "$THREAD" >/dev/null 2>&1 &
check "the watchdog notices a supervisor that hangs" until_true has "Watchdog timeout (limit 2s)" journal
# strace must end first: the process can not exit while it is traced.
inside sh -c 'kill -9 "$(cat /run/holder)"'
check "systemd starts it again" until_true changed "$PID"
check "the page of the site is served again" is 200 code "$SITE/"

# --- the whole process stopped
PID=$(show MainPID)
inside systemctl kill --signal=STOP --kill-who=main perennial.service
check "a frozen process is replaced" until_true changed "$PID"

# --- wrong settings
inside systemctl stop perennial.service
check "it stops" is inactive show ActiveState
check "the stop is a success" is success show Result
check "the exit code is 0" is 0 show ExecMainStatus
inside cp /etc/perennial/perennial.toml /etc/perennial/good
inside sed -i 's/^listen/lisen/' /etc/perennial/perennial.toml
refused() { ! inside systemctl start perennial.service 2>/dev/null; }
LINE=$(inside sed -n '/^lisen/=' /etc/perennial/perennial.toml)
check "it does not start with wrong settings" refused
check "the exit code is 78" is 78 show ExecMainStatus
check "systemd does not try again" is failed show ActiveState
check "the journal names the line" has "/etc/perennial/perennial.toml:$LINE:1: server.lisen: unknown; did you mean listen?" journal
inside mv /etc/perennial/good /etc/perennial/perennial.toml

# --- socket activation
inside sed -i 's/^listen = .*/listen = ["systemd:http"]/' /etc/perennial/perennial.toml
inside systemctl start perennial.socket
check "nothing runs before the first request" is failed show ActiveState
check "the first request starts it" is 200 code "$SITE/"
check "it is active" until_true is active show ActiveState
# Four clients send requests in sequence, each on a new connection, during three restarts.
clients() {
    inside sh -c 'for client in 1 2 3 4; do
        (while [ ! -e /run/enough ]; do
            curl --silent --output /dev/null --write-out "%{http_code}\n" --max-time 20 http://127.0.0.1:3000/books
        done) > /run/codes.$client &
    done; wait'
}
clients &
CLIENTS=$!
for _ in 1 2 3; do
    PID=$(show MainPID)
    inside systemctl restart perennial.service
    until_true changed "$PID"
done
inside touch /run/enough
wait "$CLIENTS"
CODES=$(inside sh -c 'cat /run/codes.*' | sort | uniq -c | xargs)
echo "     answers during three restarts: $CODES"
check "no request was refused during three restarts" test "${CODES#* }" = 200
inside systemctl stop perennial.socket perennial.service
check "it stops at the end" is success show Result

result
