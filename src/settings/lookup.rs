//! Finding keys by their paths.

use super::keys::{KEYS, Key};

/// The key of this path, whose `*` parts match any name.
pub(crate) fn find(path: &[&str]) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let pattern: Vec<_> = key.path.split('.').collect();
        pattern.len() == path.len() && matches_prefix(&pattern, path)
    })
}

/// The keys below this path; none if it is no table.
pub(crate) fn below(path: &[&str]) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| {
        let pattern: Vec<_> = key.path.split('.').collect();
        pattern.len() > path.len() && matches_prefix(&pattern, path)
    })
}

fn matches_prefix(pattern: &[&str], path: &[&str]) -> bool {
    pattern
        .iter()
        .zip(path)
        .all(|(wanted, is)| *wanted == "*" || wanted == is)
}

/// The names that may stand below this path.
pub(crate) fn names_below(path: &[&str]) -> Vec<&'static str> {
    let mut names: Vec<_> = below(path)
        .filter_map(|key| key.path.split('.').nth(path.len()))
        .filter(|name| *name != "*")
        .collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_operator_match_a_star() {
        assert!(find(&["route", "/", "files", "root"]).is_some());
        assert!(below(&["resource", "books"]).next().is_some());
        assert!(find(&["resource", "books"]).is_none());
    }
}
