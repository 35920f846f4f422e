#!/usr/bin/env bash
# Cuts the power while records of 100 B to 100 KB are written, POWERCUT_IMAGES times (30), and looks for every acknowledged
# record. Then shows that the same test fails without the sync of the store's log. The file system is ext4, or DISK_KIND (xfs,
# btrfs). Needs root and loop devices.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
    echo "SKIP power cuts: $1 ($2)"
    [ "${OPS_TESTS:-}" = require ] && exit 1
    exit 77
}
[ "$(id -u)" = 0 ] || skip "need root" "sudo $0"
for tool in "mkfs.${DISK_KIND:-ext4}" mount losetup; do
    command -v "$tool" >/dev/null || skip "$tool is missing" "apt-get install e2fsprogs xfsprogs btrfs-progs mount"
done
[ -e /dev/loop-control ] || skip "no loop devices" "modprobe loop"

cargo test --test it -- --ignored --nocapture --exact \
    powercut::a_power_cut_at_any_moment_loses_no_acknowledged_record
echo "1 passed, 0 failed, 0 skipped"
