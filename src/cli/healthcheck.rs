//! `perennial healthcheck`: whether a running daemon can serve, for container engines and scripts.

use super::{Exit, admin_address, admin_client, complain};
use crate::settings::Settings;

pub(super) fn run(settings: &Settings) -> Exit {
    match admin_client::get(admin_address(settings), "/readyz") {
        Ok(_ready) => Exit::Ok,
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}
