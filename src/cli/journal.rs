//! `perennial journal`: the changes that a store has.

use std::io::{self, BufWriter, Write as _};

use super::{Exit, check, say};
use crate::settings::LoadedSettings;
use crate::storage::{PrintError, print_journal};

pub(super) fn run(loaded: &LoadedSettings, from: Option<u64>, verify: bool) -> Exit {
    if verify {
        return check::data(&loaded.settings);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print_journal(&loaded.settings.server.data, from, &mut out);
    match printed.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => Exit::Ok,
        Err(PrintError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            say(format_args!("perennial: {error}"));
            if error.is_damage() {
                Exit::Data
            } else {
                Exit::Failed
            }
        }
    }
}
