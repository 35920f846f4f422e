//! `perennial check`: whether the settings are valid. What is wrong with them was printed when they were loaded.

use super::{Exit, SettingsSource, print};
use crate::settings::Settings;

pub(super) fn run(settings: &Settings, source: &SettingsSource) -> Exit {
    let count = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
    let routes = count(settings.routes.len(), "route");
    let resources = count(settings.resources.len(), "resource");
    print(&format!("{source}: ok, {routes}, {resources}\n"))
}
