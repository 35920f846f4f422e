//! Tokens whose signatures were verified. They are remembered, so that only the first of many requests with the same token costs the
//! verification of a signature, a tenth of a millisecond or more.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::TokenSettings;
use crate::telemetry::Counter;
use crate::tokens::{self, TokenFault, ValidToken};
use crate::wire::{Identity, ShownBy};

/// The bytes of tokens that are remembered. If there are more, those that have expired are forgotten, and else all.
const REMEMBERED_BYTES_MAX: usize = 4 << 20;

/// The tokens of the settings.
#[derive(Debug)]
pub(super) struct VerifiedTokens {
    settings: TokenSettings,
    remembered: Mutex<Remembered>,
    /// Counts when all are forgotten.
    forgotten: Counter,
}

#[derive(Debug, Default)]
struct Remembered {
    tokens: HashMap<Box<str>, (ValidToken, Arc<Identity>)>,
    bytes: usize,
}

impl Remembered {
    fn keep_only(&mut self, keep: impl Fn(&ValidToken) -> bool) {
        self.tokens.retain(|_, (token, _)| keep(token));
        self.bytes = self.tokens.keys().map(|text| text.len()).sum();
    }
}

impl VerifiedTokens {
    pub(super) fn new(settings: &TokenSettings) -> Self {
        Self {
            settings: settings.clone(),
            remembered: Mutex::default(),
            forgotten: Counter::default(),
        }
    }

    /// Whether these are the settings that tokens are verified by.
    pub(super) fn is_of(&self, settings: &TokenSettings) -> bool {
        self.settings == *settings
    }

    /// The number of times that all tokens were forgotten, since there were too many.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.get()
    }

    /// The client that shows this token, at this time in seconds since 1970.
    pub(super) fn client(&self, text: &str, now: f64) -> Result<Arc<Identity>, TokenFault> {
        if let Some((token, identity)) = self.remembered.lock().tokens.get(text) {
            token.check_time(now)?;
            return Ok(Arc::clone(identity));
        }
        let keys = self.settings.keys.as_ref().ok_or(TokenFault::Signature)?;
        let token = tokens::verify(text, keys, &self.settings.rules())?;
        token.check_time(now)?;
        let identity = Arc::new(Identity {
            name: format!("jwt:{}", token.subject),
            by: ShownBy::Token {
                roles: token.roles.clone(),
                until: token.until,
            },
        });
        let mut remembered = self.remembered.lock();
        if remembered.bytes + text.len() > REMEMBERED_BYTES_MAX {
            remembered.keep_only(|token| token.check_time(now) != Err(TokenFault::Expired));
        }
        if remembered.bytes + text.len() > REMEMBERED_BYTES_MAX {
            self.forgotten.inc();
            remembered.keep_only(|_| false);
        }
        let value = (token, Arc::clone(&identity));
        if remembered.tokens.insert(text.into(), value).is_none() {
            remembered.bytes += text.len();
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::tests::Issuer;
    use crate::tokens::{TokenAlgorithm, TokenKeys};

    const NOW: f64 = 1_000_000.0;

    fn tokens(issuer: &Issuer) -> VerifiedTokens {
        let algorithms = vec![TokenAlgorithm::EdDsa];
        VerifiedTokens::new(&TokenSettings {
            keys: Some(TokenKeys::read(&issuer.public, &algorithms).unwrap()),
            algorithms,
            issuer: None,
            audience: None,
            role_claim: "role".to_owned(),
            leeway: std::time::Duration::ZERO,
        })
    }

    #[test]
    fn a_token_that_is_remembered_ends_when_it_ends() {
        let issuer = Issuer::ed25519();
        let tokens = tokens(&issuer);
        let token = issuer.token(&json!({ "sub": "ann", "exp": NOW + 5.0, "role": ["a"] }));
        for now in [NOW, NOW + 4.9] {
            let client = tokens.client(&token, now).unwrap();
            assert_eq!(client.name, "jwt:ann");
            let roles = vec!["a".to_owned()];
            let until = NOW + 5.0;
            assert_eq!(client.by, ShownBy::Token { roles, until });
        }
        assert_eq!(tokens.client(&token, NOW + 5.0), Err(TokenFault::Expired));
        assert_eq!(tokens.remembered.lock().tokens.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let issuer = Issuer::ed25519();
        let tokens = tokens(&issuer);
        let padding = "x".repeat(5_000);
        let token = |n: usize, ends: f64| {
            issuer.token(&json!({ "sub": n.to_string(), "exp": ends, "padding": padding }))
        };
        let fit = REMEMBERED_BYTES_MAX / token(1_000, NOW).len();
        for n in 0..fit {
            let ends = if n % 2 == 0 { NOW + 1.0 } else { NOW + 9.0 };
            tokens.client(&token(n + 1_000, ends), NOW).unwrap();
        }
        let count = || tokens.remembered.lock().tokens.len();
        assert_eq!(count(), fit);
        tokens.client(&token(9_998, NOW + 9.0), NOW + 2.0).unwrap();
        assert_eq!(count(), fit / 2 + 1, "the others have expired");
        assert_eq!(tokens.forgotten(), 0);
        for n in 0..fit {
            tokens
                .client(&token(n + 2_000, NOW + 9.0), NOW + 2.0)
                .unwrap();
        }
        assert_eq!(tokens.forgotten(), 1);
        let bytes = tokens.remembered.lock().bytes;
        assert!(bytes <= REMEMBERED_BYTES_MAX, "{bytes}");
        assert!(count() < fit);
    }
}
