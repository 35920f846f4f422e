//! What the settings name on the disk: the folders of routes must be there, their error pages should be.
//!
//! Looked at by `perennial check` and before a start. A folder that vanishes later is the file cache's business.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::SettingFault;
use super::walk::Findings;

/// Adds folders that can't be served to the faults, and pages that are not there to the warnings.
pub(super) fn check(found: &mut Findings) {
    for (prefix, _) in found.named("route") {
        let root = ["route", &prefix, "files", "root"].map(str::to_owned);
        let Some((Value::String(text), location)) = found.written.get(root.as_slice()) else {
            continue;
        };
        if text.is_empty() || text.contains('\0') {
            continue;
        }
        let folder = PathBuf::from(text);
        let location = location.clone();
        match folder_fault(&folder) {
            Some(problem) => found.fault(location, &root, problem),
            None => pages(found, &prefix, &folder),
        }
    }
}

fn folder_fault(folder: &Path) -> Option<String> {
    match fs::metadata(folder) {
        Ok(is) if is.is_dir() => {
            let error = fs::read_dir(folder).err()?;
            Some(format!("{} can't be read: {error}", absolute(folder)))
        }
        Ok(_) => Some(format!(
            "{} is not a folder; name the folder that the file is in",
            absolute(folder)
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(format!(
            "there is no folder {}; create it, or name another one",
            absolute(folder)
        )),
        Err(error) => Some(format!("{} can't be used: {error}", absolute(folder))),
    }
}

/// The path from the root of the file system, since relative ones depend on the working folder.
fn absolute(folder: &Path) -> String {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    path.display().to_string()
}

/// A page may come with the next version of the site, so that a missing one is worth a warning only.
fn pages(found: &mut Findings, prefix: &str, folder: &Path) {
    let key = ["route", prefix, "errors"].map(str::to_owned);
    let Some((Value::Object(pages), location)) = found.written.get(key.as_slice()) else {
        return;
    };
    let missing = pages.values().filter_map(Value::as_str).filter_map(|page| {
        let file = folder.join(page.trim_start_matches('/'));
        (!file.is_file()).then(|| format!("there is no file {}", absolute(&file)))
    });
    let warnings: Vec<_> = missing
        .map(|problem| SettingFault::new(location.clone(), &key, problem))
        .collect();
    found.warnings.extend(warnings);
}
