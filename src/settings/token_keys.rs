//! `[auth.jwt]`: the keys of tokens, whose file is read with the settings, so that a reload takes both or none.

use serde::Deserialize as _;
use serde_json::Value;

use super::findings::{Findings, NamedFile};
use super::rules::may_lack;
use crate::tokens::{TokenAlgorithm, TokenKeys};

const KEYS: [&str; 3] = ["auth", "jwt", "keys"];
const ALGORITHMS: [&str; 3] = ["auth", "jwt", "algorithms"];

/// Reads the file of the keys.
pub(super) fn read(found: &mut Findings) {
    let Some(file) = found.named_file(&KEYS) else {
        return;
    };
    found.set_value(&KEYS, file.told());
    let algorithms = algorithms(found);
    // What is wrong with them has been told.
    if algorithms.is_empty() {
        return;
    }
    match TokenKeys::read(&file.content, &algorithms) {
        Ok(keys) => found.token_keys = Some((file.path, keys)),
        Err(fault) => found.fault_of(&KEYS, format!("{} {fault}", file.path.display())),
    }
}

fn algorithms(found: &Findings) -> Vec<TokenAlgorithm> {
    let written = found.value_of(&ALGORITHMS).and_then(Value::as_array);
    let items = written.into_iter().flatten();
    items
        .filter_map(|item| TokenAlgorithm::deserialize(item).ok())
        .collect()
}

/// Tokens need keys and algorithms.
pub(super) fn check(found: &mut Findings) {
    let Some((_, location)) = found
        .located_in(&["auth"])
        .into_iter()
        .find(|(name, _)| name == "jwt")
    else {
        return;
    };
    for (needed, example) in [
        (ALGORITHMS, "algorithms = [\"EdDSA\"]"),
        (KEYS, "keys = \"jwt.pem\""),
    ] {
        if found.value_of(&needed).is_none() && !may_lack(found, &["auth", "jwt"]) {
            let problem = format!("has no {}; write {example}", needed[2]);
            found.fault(location.clone(), &["auth", "jwt"], problem);
        }
    }
}

/// Warns of a secret that every user of the machine can read.
pub(super) fn permissions(found: &mut Findings) {
    let is_secret = algorithms(found).contains(&TokenAlgorithm::Hs256);
    let path = found.token_keys.as_ref().map(|(path, _)| path);
    let warning = path
        .filter(|_| is_secret)
        .and_then(|path| NamedFile::open_to_all(path));
    if let Some(warning) = warning {
        found.warn_of(&KEYS, warning);
    }
}
