//! `perennial types --ts`: types of the records, for programs that use the API.

use super::{Exit, print};
use crate::api::typescript;
use crate::settings::Settings;

pub(super) fn run(settings: &Settings) -> Exit {
    print(&typescript(&settings.resources))
}
