//! `perennial key new`: makes the secret of a client, and what the settings have of it.

use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Exit, print, say};
use crate::settings::{Scope, SecretHash, is_day, name_fault};

/// The random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The beginning of each secret, by which scanners of sources find one that was published by mistake.
const PREFIX: &str = "prn_";

/// The orders about keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key: its secret goes to stderr, once, and what the settings need to stdout
    New {
        /// The name, by which access names it: key:NAME
        #[arg(value_name = "NAME")]
        name: String,
        /// The most that it may do, such as books:write, /files:read or *:read; may be given several times [default: whatever access
        /// allows]
        #[arg(long, value_name = "PERMISSION", value_parser = scope)]
        scope: Vec<String>,
        /// The last day on which it is valid, in UTC, such as 2027-12-31 [default: it does not end]
        #[arg(long, value_name = "DAY", value_parser = day)]
        expires: Option<String>,
    },
}

fn scope(text: &str) -> Result<String, &'static str> {
    let scope: Result<Scope, ()> = text.parse();
    let right = "write a resource, a route or *, then :read or :write, such as books:write";
    scope.map(|_| text.to_owned()).map_err(|()| right)
}

fn day(text: &str) -> Result<String, &'static str> {
    let is_day = is_day(text);
    is_day
        .then(|| text.to_owned())
        .ok_or("write a day such as 2027-12-31")
}

/// A secret that nobody can guess.
pub(super) fn random_secret() -> Option<String> {
    let mut random = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    let digits = random.iter().map(|byte| format!("{byte:02x}"));
    Some(std::iter::once(PREFIX.to_owned()).chain(digits).collect())
}

impl KeyCommand {
    pub(super) fn run(self) -> Exit {
        let Self::New {
            name,
            scope,
            expires,
        } = self;
        if let Some(problem) = name_fault(&name) {
            say(format!("perennial: {problem}"));
            return Exit::Usage;
        }
        let Some(secret) = random_secret() else {
            say("perennial: the system gives no random bytes");
            return Exit::Failed;
        };
        say("The secret, for the client alone; it is stored nowhere and not shown again:");
        say(&secret);
        say("For the settings; then name it in access, such as access = { read = \"public\", write = [\"key:NAME\"] }:".replace("NAME", &name));
        let hash = SecretHash::of(secret.as_bytes());
        let scope = if scope.is_empty() {
            String::new()
        } else {
            format!("scope = {scope:?}\n")
        };
        let expires = expires.map_or(String::new(), |day| format!("expires = {day:?}\n"));
        print(&format!(
            "[auth.keys.{name}]\nhash = \"{hash}\"\n{scope}{expires}"
        ))
    }
}
