//! The client of a request, as far as it has shown who it is.

use crate::settings::Scope;

/// A client that has shown who it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Identity {
    /// `key:` and the name of its key, `basic:` and the name of the user, or `jwt:` and the subject of its token.
    pub(crate) name: String,
    /// The means by which it has shown it.
    pub(crate) by: ShownBy,
}

/// The means by which a client has shown who it is, with what the means says about it.
#[derive(Debug, PartialEq)]
pub(crate) enum ShownBy {
    /// A key, with the limits of what it may do.
    Key {
        scope: Option<Vec<Scope>>,
        /// The time when it ends, in seconds since 1970, if it does.
        until: Option<f64>,
    },
    /// A name with a password.
    Password,
    /// A token, with the roles in it and the time when it ends, in seconds since 1970.
    Token { roles: Vec<String>, until: f64 },
}

impl Identity {
    /// The time when it has to be shown anew, in seconds since 1970; `None` if that does not end by itself.
    pub(crate) fn until(&self) -> Option<f64> {
        match self.by {
            ShownBy::Token { until, .. } => Some(until),
            ShownBy::Key { until, .. } => until,
            ShownBy::Password => None,
        }
    }
}
