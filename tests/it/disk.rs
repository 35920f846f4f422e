//! File systems for one test, in an image file or in memory. They need root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::required::skip;

/// The kind of the file systems: ext4, or what `DISK_KIND` names, `xfs` or `btrfs`.
fn kind() -> String {
    std::env::var("DISK_KIND").unwrap_or_else(|_| "ext4".to_owned())
}

#[track_caller]
fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// A mounted file system; dropping it unmounts it.
pub(crate) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    #[track_caller]
    fn mount(image: PathBuf, mount_point: PathBuf) -> Self {
        std::fs::create_dir_all(&mount_point).unwrap();
        // The file system itself writes nothing back for long, so that only the daemon's syncs count. The copy of an image has the
        // UUID of the other one.
        let options = Path::new(match kind().as_str() {
            "xfs" => "loop,nouuid",
            _ => "loop,commit=300",
        });
        run("mount", &[Path::new("-o"), options, &image, &mount_point]);
        Self { image, mount_point }
    }

    /// Makes a file system in an image file and mounts it.
    #[track_caller]
    pub(crate) fn make(folder: &Path, size: &str) -> Self {
        let image = folder.join("disk.img");
        run("truncate", &[Path::new("-s"), Path::new(size), &image]);
        let force = if kind() == "ext4" { "-F" } else { "-f" };
        let make = format!("mkfs.{}", kind());
        run(&make, &[Path::new("-q"), Path::new(force), &image]);
        Self::mount(image, folder.join("disk"))
    }

    #[track_caller]
    pub(crate) fn tmpfs(folder: &Path, size: &str) -> Self {
        let mount_point = folder.join("disk");
        std::fs::create_dir_all(&mount_point).unwrap();
        let size = format!("size={size}");
        let (kind, of) = (Path::new("-ttmpfs"), Path::new("none"));
        run(
            "mount",
            &[kind, Path::new("-o"), Path::new(&size), of, &mount_point],
        );
        Self {
            image: PathBuf::new(),
            mount_point,
        }
    }

    /// Copies the image as a power cut would leave it now, and mounts the copy.
    #[track_caller]
    pub(crate) fn cut(&self, folder: &Path) -> Self {
        let image = folder.join("cut.img");
        run("cp", &[Path::new("--sparse=always"), &self.image, &image]);
        Self::mount(image, folder.join("cut"))
    }

    /// Writes everything to the image.
    #[track_caller]
    pub(crate) fn sync(&self) {
        run("sync", &[Path::new("-f"), &self.mount_point]);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.mount_point.join("data")
    }

    pub(crate) fn mount_point(&self) -> &Path {
        &self.mount_point
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.mount_point).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.mount_point.display());
        }
    }
}

fn can_mount() -> bool {
    let root = Command::new("id").arg("-u").output();
    let root = root.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let tool = |name: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output();
        found.is_ok_and(|output| output.status.success())
    };
    let make = format!("mkfs.{}", kind());
    root && Path::new("/dev/loop-control").exists() && tool(&make) && tool("losetup")
}

/// Whether this machine can mount such file systems; prints why the test is skipped if not.
#[track_caller]
pub(crate) fn available() -> bool {
    let available = can_mount();
    if !available {
        let make = format!("root, /dev/loop-control or mkfs.{} is missing", kind());
        skip(&make);
    }
    available
}
