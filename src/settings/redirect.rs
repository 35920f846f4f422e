//! `route.*.redirect.to`: where a route sends its clients.

use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// Stands for the rest of a path.
const REST: &str = "{path}";

/// The address to which clients are sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct RedirectTo {
    before: String,
    /// The text behind the rest of the path; `None` if that is not part of it.
    after: Option<String>,
}

/// The error of a text to which no client can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not an address to send clients to; write a path such as \"/new{{path}}\", or an address such as \"https://example.org{{path}}\""
)]
pub struct NotRedirect;

impl RedirectTo {
    /// The address for a request with this rest of its path, which is empty or begins with `/`, and this query. It leads to no other
    /// host than that of the settings, whatever the rest is.
    pub fn address(&self, rest: &str, query: &str) -> String {
        let mut address = self.before.clone();
        if let Some(after) = &self.after {
            // Neither "//" nor "/\\" may begin a path: browsers take what follows for a host.
            let rest = rest.replace('\\', "%5C") + after;
            let doubled = address.ends_with('/');
            address.push_str(if doubled {
                rest.trim_start_matches('/')
            } else {
                &rest
            });
        }
        if !query.is_empty() {
            address.push(if address.contains('?') { '&' } else { '?' });
            address.push_str(query);
        }
        address
    }
}

impl FromStr for RedirectTo {
    type Err = NotRedirect;

    fn from_str(text: &str) -> Result<Self, NotRedirect> {
        let (before, after) = match text.split_once(REST) {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let all = [before, after.unwrap_or_default()];
        let plain = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '{' | '}' | '\\' | '"' | '<' | '>' | '#')
        };
        let is_path = before.starts_with('/') && !before.starts_with("//");
        let is_address = ["http://", "https://"]
            .iter()
            .any(|scheme| before.starts_with(scheme));
        // The rest of a path must not become part of the host.
        let has_host = || {
            let uri = before.parse::<Uri>().ok();
            let authority = uri.as_ref().and_then(Uri::authority).map(Authority::as_str);
            let authority = authority.filter(|authority| !authority.contains('@'));
            let host_ends = before.splitn(4, '/').nth(3).is_some()
                || after.is_none_or(|after| after.is_empty() || after.starts_with(['/', '?']));
            authority.is_some() && host_ends
        };
        let right = all.iter().all(|part| part.chars().all(plain))
            && (is_path || is_address && has_host())
            && !(before.contains('?') && after.is_some());
        right
            .then(|| Self {
                before: before.to_owned(),
                after: after.map(str::to_owned),
            })
            .ok_or(NotRedirect)
    }
}

impl TryFrom<String> for RedirectTo {
    type Error = NotRedirect;

    fn try_from(text: String) -> Result<Self, NotRedirect> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn the_rest_of_a_path_and_the_query_are_kept() {
        for (to, rest, query, expected) in [
            ("/new", "/a", "", "/new"),
            ("/new", "", "b=c", "/new?b=c"),
            ("/new?x=y", "", "b=c", "/new?x=y&b=c"),
            ("/new{path}", "", "", "/new"),
            ("/new{path}", "/a/b%20c", "d", "/new/a/b%20c?d"),
            ("/{path}", "/a", "", "/a"),
            ("/{path}", "", "", "/"),
            ("/{path}/x", "", "", "/x"),
            ("/{path}/x", "/a", "", "/a/x"),
            ("/new{path}.html", "/a", "", "/new/a.html"),
            (
                "https://example.org{path}",
                "/a",
                "",
                "https://example.org/a",
            ),
            (
                "https://example.org{path}",
                "",
                "b",
                "https://example.org?b",
            ),
            (
                "https://example.org/x/{path}",
                "/a/",
                "",
                "https://example.org/x/a/",
            ),
        ] {
            let to: RedirectTo = to.parse().unwrap();
            assert_eq!(to.address(rest, query), expected);
        }
    }

    #[test]
    fn no_client_can_choose_the_host() {
        for to in [
            "/{path}",
            "/{path}/evil.example",
            "/new{path}",
            "https://example.org{path}",
            "https://example.org/{path}",
        ] {
            let to: RedirectTo = to.parse().unwrap();
            for rest in [
                "",
                "//evil.example",
                "/\\evil.example",
                "/\\/evil.example",
                "///evil.example",
                "/@evil.example",
                "/.evil.example",
            ] {
                let base = Url::parse("https://own.example/").unwrap();
                let led = base.join(&to.address(rest, "")).unwrap();
                assert!(
                    ["own.example", "example.org"].contains(&led.host_str().unwrap()),
                    "{rest}: {led}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for to in [
            "",
            "new",
            "//example.org",
            "ftp://example.org/",
            "https://",
            "https:///a",
            "javascript:alert(1)",
            "{path}",
            "/a b",
            "/\u{e9}",
            "/a{query}",
            "/a{path}{path}",
            "/a#b",
            "/\\a",
            "https://a:b@example.org/",
            "https://example.org{path}.evil.example",
            "https://exa{path}mple.org",
            "/a?b={path}",
            "/a\r\nx: y",
        ] {
            assert_eq!(to.parse::<RedirectTo>(), Err(NotRedirect), "{to}");
        }
    }
}
