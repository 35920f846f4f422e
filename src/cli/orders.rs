//! `perennial restart`, `stop` and `start`: orders to a part of a running daemon.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AdminArg, Exit, SettingsSource, admin_client, complain, print};

/// A part of the daemon.
#[derive(Debug, clap::Args)]
pub(super) struct PartArgs {
    /// The part, as `perennial status` names it, such as writer or request-handlers
    #[arg(value_name = "PART")]
    part: String,
    #[command(flatten)]
    admin: AdminArg,
}

/// The answer of the daemon, as far as it is printed.
#[derive(serde::Deserialize)]
struct OrderDone {
    state: String,
    generation: u64,
    seconds: f64,
}

impl PartArgs {
    /// Gives the order to the running daemon and prints what came of it.
    pub(super) fn order(self, source: SettingsSource, order: &str) -> Exit {
        let Self { part, admin } = self;
        admin.ask(source, |address| {
            let name = utf8_percent_encode(&part, NON_ALPHANUMERIC);
            let answer = match admin_client::post(address, &format!("/supervisor/{name}/{order}")) {
                Ok(answer) => answer,
                Err(error) => return complain(&error, error.exit()),
            };
            match serde_json::from_slice(&answer) {
                Ok(OrderDone {
                    state,
                    generation,
                    seconds,
                }) => print(&format!(
                    "{part} is {state} (generation {generation}), after {seconds:.3} s\n"
                )),
                Err(error) => complain(&error, Exit::Failed),
            }
        })
    }
}
