//! The room of a disk, and the shortage of it.

use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn the_automatic_reserve_is_a_twentieth_of_the_disk_within_bounds() {
    for (total, reserve) in [(100, 64), (2_000, 100), (1_000_000, 1024)] {
        let disk = Disk {
            available: 0,
            total: total * MIB,
        };
        assert_eq!(disk.reserve(AutoSize::Auto), reserve * MIB);
        assert_eq!(disk.reserve(AutoSize::Bytes(5)), 5);
    }
}

#[test]
fn there_is_a_ballast_only_on_a_disk_with_plenty_of_room() {
    let ballast = |available, total| {
        let disk = Disk {
            available: available * MIB,
            total: total * MIB,
        };
        disk.ballast(AutoSize::Auto).is_some()
    };
    assert!(ballast(500, 1_000));
    assert!(!ballast(127, 1_000));
    assert!(!ballast(60, 1_000));
    assert!(!ballast(400, 500));
}

fn reserving(reserve: AutoSize) -> crate::settings::Settings {
    let mut settings = crate::settings::Settings::default();
    settings.storage.reserve = reserve;
    settings
}

fn limits(reserve: AutoSize) -> SharedLimits {
    SharedLimits::new(&reserving(reserve))
}

fn space(folder: &Path, limits: &SharedLimits) -> Space {
    Space::new(folder, limits, &Arc::new(Incidents::new(folder)))
}

#[test]
fn the_ballast_is_freed_once_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let space = space(folder.path(), &limits(AutoSize::Bytes(0)));
    assert!(!space.release(), "there is none yet");
    let disk = Disk {
        available: u64::MAX / 2,
        total: u64::MAX / 2,
    };
    space.take_ballast(disk);
    assert!(space.release());
    assert!(!space.release());
    space.take_ballast(disk);
    assert!(space.release());
}

#[test]
fn writes_are_refused_on_a_disk_with_less_room_than_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(AutoSize::Bytes(u64::MAX));
    let space = space(folder.path(), &limits);
    assert!(!space.is_short(), "nobody has looked yet");
    assert!(space.refuses());
    let told = space.trouble().unwrap();
    for part in [
        "the disk is full",
        "storage.reserve keeps",
        "delete records",
    ] {
        assert!(told.contains(part), "{told}");
    }
    limits.set(&reserving(AutoSize::Bytes(0)));
    space.look(&DataFolder::new(folder.path()));
    assert!(
        !space.is_short(),
        "the reserve was changed, and nobody wrote"
    );
    assert_eq!(space.trouble(), None);
    assert!(!space.refuses());
    assert!(space.incidents.all().is_empty(), "no write was refused");
    let nowhere = Space {
        folder: "/nowhere".into(),
        ..space
    };
    assert!(!nowhere.refuses());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_took_no_more_is_asked_again_also_if_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::new(folder.path());
    let space = space(folder.path(), &limits(AutoSize::Bytes(0)));
    let error = || JournalError::Io {
        path: "the journal".into(),
        source: io::ErrorKind::QuotaExceeded.into(),
    };
    for bytes in [u64::MAX, u64::MAX - 1] {
        // A file of this length can't be made anywhere.
        space.had_none(&error(), bytes);
        space.refused();
        assert!(space.refuses(), "the attempt is not due");
        tokio::time::advance(FULL_PAUSE).await;
        assert!(!space.refuses(), "a write would be tried");
        space.look(&data);
        let told = space.trouble().unwrap();
        assert!(told.contains("the journal: "), "{told}");
    }
    space.had_none(&error(), 4096);
    space.look(&data);
    assert!(space.is_short(), "the attempt is not due");
    tokio::time::advance(FULL_PAUSE).await;
    space.look(&data);
    assert_eq!(space.trouble(), None);
    assert!(!folder.path().join("room").exists());
    let [incident] = space.incidents.all().try_into().unwrap();
    assert_eq!(incident.kind, IncidentKind::FullDisk);
    assert_eq!(incident.done, "writes were refused until there was room: 2");
}
