//! `perennial user new`: makes the hash of a user's password for the settings.

use std::io::BufRead as _;

use argon2::{Argon2, PasswordHasher as _};

use super::key::random_secret;
use super::{Exit, print, say};
use crate::settings::name_fault;

/// The fewest characters of a password that somebody chose.
const CHARACTERS_MIN: usize = 8;

/// The orders about users.
#[derive(Debug, clap::Subcommand)]
pub(super) enum UserCommand {
    /// Make a password: it goes to stderr, once, and its hash for the settings to stdout
    New {
        /// The name, by which access names the user: basic:NAME
        #[arg(value_name = "NAME")]
        name: String,
        /// Read the password from the first line of stdin [default: make a random one]
        #[arg(long)]
        stdin: bool,
    },
}

impl UserCommand {
    pub(super) fn run(self) -> Exit {
        let Self::New { name, stdin } = self;
        if let Some(problem) = name_fault(&name) {
            say(format!("perennial: {problem}"));
            return Exit::Usage;
        }
        let password = if stdin {
            chosen()
        } else {
            random_secret().ok_or("the system gives no random bytes")
        };
        let password = match password {
            Ok(password) => password,
            Err(problem) => {
                say(format!("perennial: {problem}"));
                return Exit::Failed;
            }
        };
        let hash = match Argon2::default().hash_password(password.as_bytes()) {
            Ok(hash) => hash,
            Err(error) => {
                say(format!("perennial: the password can't be hashed: {error}"));
                return Exit::Failed;
            }
        };
        if !stdin {
            say("The password, for the user alone; it is stored nowhere and not shown again:");
            say(&password);
        }
        say(format!(
            "For the settings; then name it in access, such as access = {{ read = \"public\", write = [\"basic:{name}\"] }}:"
        ));
        print(&format!("[auth.users.{name}]\npassword = \"{hash}\"\n"))
    }
}

fn chosen() -> Result<String, &'static str> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let password = line.trim_end_matches(['\r', '\n']);
    match read {
        Ok(_) if password.chars().count() >= CHARACTERS_MIN => Ok(password.to_owned()),
        Ok(_) => Err("a password needs at least 8 characters"),
        Err(_) => Err("stdin has no line of UTF-8"),
    }
}
