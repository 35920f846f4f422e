//! `perennial check`: whether the settings are valid. What is wrong with them was printed when they were loaded.

use super::{Exit, SettingsSource, print, say};
use crate::settings::LoadedSettings;

pub(super) fn run(loaded: LoadedSettings, source: SettingsSource) -> Exit {
    for warning in &loaded.warnings {
        say(format_args!("{warning} (a warning)"));
    }
    let count = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
    let routes = count(loaded.settings.routes.len(), "route");
    let resources = count(loaded.settings.resources.len(), "resource");
    print(&format!("{}: ok, {routes}, {resources}\n", source.name()))
}
