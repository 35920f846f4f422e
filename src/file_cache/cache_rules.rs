//! What a file says about being kept: decided when it is read, so that a request costs no matching.

use bytes::Bytes;
use globset::GlobMatcher;

use super::containment::SafePath;
use crate::settings::CacheRule;

/// The rules of one root, in their order: the first that matches counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheRules {
    rules: Vec<(GlobMatcher, Bytes)>,
}

impl CacheRules {
    /// The rules as they were written.
    pub(crate) fn new(rules: &[CacheRule]) -> Self {
        let rules = rules.iter().map(|rule| {
            let value = Bytes::copy_from_slice(rule.value.as_bytes());
            (rule.pattern.compile_matcher(), value)
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// The value for what `path` leads to; a folder's path leads to its `index`.
    pub(crate) fn of(&self, path: &SafePath, index: &str) -> Option<Bytes> {
        if self.rules.is_empty() {
            return None;
        }
        let mut name = path.as_str().trim_start_matches('/').to_owned();
        if path.is_folder() {
            name.push_str(index);
        }
        let found = self.rules.iter().find(|(glob, _)| glob.is_match(&name));
        found.map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use globset::Glob;

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
            let value = rules.of(&SafePath::new(path).unwrap(), "index.html");
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
