//! `perennial check`: whether the settings are valid. What is wrong with them was printed when they were loaded.

use std::io::Write as _;

use super::{Exit, SettingsSource, print};
use crate::settings::{SettingFault, Settings};

pub(super) fn run(settings: &Settings, warnings: &[SettingFault], source: &SettingsSource) -> Exit {
    for warning in warnings {
        drop(writeln!(std::io::stderr(), "{warning} (a warning)"));
    }
    let count = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
    let routes = count(settings.routes.len(), "route");
    let resources = count(settings.resources.len(), "resource");
    print(&format!("{source}: ok, {routes}, {resources}\n"))
}
