//! What the value of a key may be.

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Bool,
    /// A level, or a filter of targets and levels.
    Filter,
    Path,
    /// The name of a file, without its folder.
    FileName,
    /// Within these bounds, inclusive.
    Integer(i64, i64),
    /// `"auto"` or an integer within these bounds.
    AutoOr(i64, i64),
    Number(f64, f64),
    /// Seconds, inclusive.
    Duration(f64, f64),
    /// Bytes, inclusive.
    Size(u64, u64),
    /// `"auto"` or bytes, inclusive.
    AutoOrSize(u64, u64),
    /// One of these now, and of those in a later release.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// `IP:PORT`
    Address,
    /// `IP:PORT`, or `systemd:NAME`.
    Listen,
    /// A list of them, at least one.
    Listens,
    /// A file name relative to this file, one `*` allowed in the last part.
    Include,
    /// A list of them.
    Includes,
    /// A URL path: begins with `/`, does not end with one.
    UrlPath,
    /// Headers by name.
    Headers,
    /// Values of `Cache-Control` by pattern.
    CacheRules,
    /// Pages by status.
    ErrorPages,
    /// Who may: `"public"`, or `{ read = "public", write = "public" }`.
    Access,
    /// What a record looks like: `"any"`, or a table of fields, which [`fields`](super::fields) reads.
    Fields,
    /// Content types by the ending of a file's name.
    ContentTypes,
    /// A host name, or an address, without a port.
    Host,
    /// A list of them.
    Hosts,
    /// `type/subtype`
    MediaType,
    /// A list of them.
    MediaTypes,
    /// Refused for now: what it may be need not be said yet.
    Anything,
}

impl Kind {
    /// What each item of it may be, if it is a list.
    pub(crate) fn items(self) -> Option<Self> {
        match self {
            Self::Listens => Some(Self::Listen),
            Self::Includes => Some(Self::Include),
            Self::MediaTypes => Some(Self::MediaType),
            Self::Hosts => Some(Self::Host),
            Self::Bool
            | Self::Filter
            | Self::Path
            | Self::FileName
            | Self::Integer(..)
            | Self::AutoOr(..)
            | Self::Number(..)
            | Self::Duration(..)
            | Self::Size(..)
            | Self::AutoOrSize(..)
            | Self::Choice(..)
            | Self::Address
            | Self::Listen
            | Self::Include
            | Self::UrlPath
            | Self::Headers
            | Self::CacheRules
            | Self::ErrorPages
            | Self::Access
            | Self::Fields
            | Self::MediaType
            | Self::ContentTypes
            | Self::Host
            | Self::Anything => None,
        }
    }
}
