//! `perennial healthcheck`: whether a running daemon can serve, for container engines and scripts.

use super::{Exit, admin_client, complain};

pub(super) fn run(admin: &str) -> Exit {
    match admin_client::get(admin, "/readyz") {
        Ok(_ready) => Exit::Ok,
        Err(error) => complain(&error, Exit::Failed),
    }
}
