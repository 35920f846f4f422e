//! `Cache-Control`: decided when a file is read, so that a request costs no matching.

// Decision: Cache-Control is decided when a file is read.

use std::sync::OnceLock;

use bytes::Bytes;
use globset::{Glob, GlobMatcher};

use crate::settings::CacheRule;

/// The content types of pages.
const PAGES: [&[u8]; 2] = [b"text/html", b"application/xhtml+xml"];

/// Patterns of paths below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Patterns(Vec<LazyPattern>);

impl Patterns {
    /// The patterns as they were written.
    pub(crate) fn new(patterns: &[Glob]) -> Self {
        Self(patterns.iter().map(LazyPattern::new).collect())
    }

    /// Whether one matches the file with this name below the folder.
    pub(crate) fn match_file(&self, name: &str) -> bool {
        let name = name.trim_start_matches('/');
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

/// A pattern. What matches it is made when it is needed first: a reload with many routes needs few of them.
#[derive(Debug, Clone)]
struct LazyPattern {
    pattern: Glob,
    matcher: OnceLock<GlobMatcher>,
}

impl PartialEq for LazyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for LazyPattern {}

impl LazyPattern {
    fn new(pattern: &Glob) -> Self {
        Self {
            pattern: pattern.clone(),
            matcher: OnceLock::new(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        let matcher = || self.pattern.compile_matcher();
        self.matcher.get_or_init(matcher).is_match(name)
    }
}

/// The rules of one root, in their order: the first that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CacheRules(Vec<(LazyPattern, Bytes)>);

impl CacheRules {
    /// The rules as they were written.
    pub(crate) fn new(rules: &[CacheRule]) -> Self {
        let rules = rules.iter().map(|rule| {
            let value = Bytes::copy_from_slice(rule.value.as_bytes());
            (LazyPattern::new(&rule.pattern), value)
        });
        Self(rules.collect())
    }

    /// The value for the file with this name below the folder.
    ///
    /// Without a rule, a browser has to ask for a page again each time (which costs a 304): otherwise it would keep the page
    /// for a tenth of the page's age, and show it beside newer scripts.
    pub(crate) fn of(&self, name: &str, content_type: &[u8]) -> Option<Bytes> {
        let name = name.trim_start_matches('/');
        if let Some((_, value)) = self.0.iter().find(|(pattern, _)| pattern.matches(name)) {
            return Some(value.clone());
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
            ("/index.html", Some("2")),
            ("/docs/index.html", Some("2")),
            ("/assets/index.html", Some("1")),
            ("/assets/a.css", Some("1")),
            ("/a.css", None),
        ] {
            let value = rules.of(path, b"text/css");
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{path}");
        }
        for rules in [rules, CacheRules::default()] {
            for page_type in [
                "text/html; charset=utf-8",
                "application/xhtml+xml; charset=utf-8",
            ] {
                let value = rules.of("/a.htm", page_type.as_bytes());
                assert_eq!(value.unwrap(), "no-cache");
            }
            assert_eq!(rules.of("/a.htm", b"text/plain"), None);
        }
    }
}
