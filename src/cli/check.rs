//! `perennial check`: whether the settings are fine. What is wrong with them was told when they were loaded.

use super::{Exit, Source};
use crate::settings::Settings;

#[expect(
    clippy::print_stdout,
    reason = "the answer of a command goes to stdout"
)]
pub(super) fn run(settings: &Settings, source: &Source) -> Exit {
    let (routes, resources) = (settings.routes.len(), settings.resources.len());
    println!("{source}: ok, {routes} routes, {resources} resources");
    Exit::Ok
}
