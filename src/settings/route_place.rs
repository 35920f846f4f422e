//! The place of a route: a path prefix, or a host and a path prefix, as its key writes them.

use super::texts::{is_host, url_path_fault};

/// The place of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutePlace<'a> {
    /// The host whose requests it answers; `None` is every host.
    pub host: Option<&'a str>,
    /// The path prefix, decoded: `/`, or without a slash at its end.
    pub path: &'a str,
}

impl<'a> RoutePlace<'a> {
    /// Reads a key: `/app` is for every host, `example.org/app` for that one.
    pub fn of(key: &'a str) -> Self {
        let slash = key.find('/').unwrap_or(key.len());
        let (host, path) = key.split_at_checked(slash).unwrap_or((key, ""));
        Self {
            host: (!host.is_empty()).then_some(host),
            path,
        }
    }
}

/// The fault of the key of a route.
pub(super) fn fault(key: &str) -> Option<String> {
    let RoutePlace { host, path } = RoutePlace::of(key);
    let Some(host) = host else {
        return url_path_fault(path);
    };
    if path.is_empty() {
        return Some(format!(
            "{key:?} must begin with /, or with a host and a path, such as \"example.org/\""
        ));
    }
    if host.contains('*') {
        return Some(format!(
            "{host:?} has a *; write a route for each host, and what they share without a host"
        ));
    }
    let is_small = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host(host) || !is_small {
        return Some(format!(
            "{host:?} is not a host; write it in small letters and without a port, such as \"example.org/app\", or begin with /"
        ));
    }
    url_path_fault(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_path_and_maybe_a_host_before_it() {
        for (key, host, path) in [
            ("/", None, "/"),
            ("/app", None, "/app"),
            ("example.org/", Some("example.org"), "/"),
            ("example.org/a/b", Some("example.org"), "/a/b"),
            ("[::1]/a", Some("[::1]"), "/a"),
        ] {
            assert_eq!(RoutePlace::of(key), RoutePlace { host, path });
            assert_eq!(fault(key), None, "{key}");
        }
        for wrong in [
            "",
            "app",
            "example.org",
            "example.org:80/",
            "Example.org/",
            "*.example.org/",
            "example.org//",
            "example.org/a/",
            "example.org/_a",
            "exam ple/a",
            "./a",
            "http://example.org/",
        ] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
    }
}
