//! `Cache-Control`: decided when a file is read, so that a request costs no matching.

// Decision: Cache-Control is decided when a file is read.

use std::sync::OnceLock;

use bytes::Bytes;
use globset::{Glob, GlobMatcher};

use super::containment::SafePath;
use crate::settings::CacheRule;

/// The content types of pages.
const PAGES: [&[u8]; 2] = [b"text/html", b"application/xhtml+xml"];

/// The rules of one root, in their order: the first that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CacheRules(Vec<LazyRule>);

/// A rule. What matches its pattern is made when it is needed first: a reload with many routes needs few of them.
#[derive(Debug, Clone)]
struct LazyRule {
    pattern: Glob,
    matcher: OnceLock<GlobMatcher>,
    value: Bytes,
}

impl PartialEq for LazyRule {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.value) == (&other.pattern, &other.value)
    }
}

impl Eq for LazyRule {}

impl LazyRule {
    fn matches(&self, name: &str) -> bool {
        let matcher = || self.pattern.compile_matcher();
        self.matcher.get_or_init(matcher).is_match(name)
    }
}

impl CacheRules {
    /// The rules as they were written.
    pub(crate) fn new(rules: &[CacheRule]) -> Self {
        let rules = rules.iter().map(|rule| LazyRule {
            pattern: rule.pattern.clone(),
            matcher: OnceLock::new(),
            value: Bytes::copy_from_slice(rule.value.as_bytes()),
        });
        Self(rules.collect())
    }

    /// The value for what `path` leads to; a folder's path leads to its `index`.
    ///
    /// Without a rule, a browser has to ask for a page again each time (which costs a 304): otherwise it would keep the page
    /// for a tenth of the page's age, and show it beside newer scripts.
    pub(crate) fn of(&self, path: &SafePath, index: &str, content_type: &[u8]) -> Option<Bytes> {
        let mut name = path.as_str().trim_start_matches('/').to_owned();
        if path.is_folder() {
            name.push_str(index);
        }
        if let Some(rule) = self.0.iter().find(|rule| rule.matches(&name)) {
            return Some(rule.value.clone());
        }
        let page = PAGES.iter().any(|page| content_type.starts_with(page));
        page.then(|| Bytes::from_static(b"no-cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_the_file_counts() {
        let rule = |pattern: &str, value: &str| CacheRule {
            pattern: Glob::new(pattern).unwrap(),
            value: value.to_owned(),
        };
        let rules = CacheRules::new(&[rule("assets/**", "1"), rule("**/*.html", "2")]);
        for (path, expected) in [
            ("/", Some("2")),
            ("/docs/", Some("2")),
            ("/assets/", Some("1")),
            ("/assets/a.css", Some("1")),
            ("/a.css", None),
        ] {
            let value = rules.of(&SafePath::new(path).unwrap(), "index.html", b"text/css");
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{path}");
        }
        let page = SafePath::new("/a.htm").unwrap();
        for rules in [rules, CacheRules::default()] {
            for page_type in [
                "text/html; charset=utf-8",
                "application/xhtml+xml; charset=utf-8",
            ] {
                let value = rules.of(&page, "index.html", page_type.as_bytes());
                assert_eq!(value.unwrap(), "no-cache");
            }
            assert_eq!(rules.of(&page, "index.html", b"text/plain"), None);
        }
    }
}
