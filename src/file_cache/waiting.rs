//! The requests that wait for files of one root: many that want the same file cause one look at it.

use std::collections::HashMap;
use std::sync::Arc;

/// The most requests that may wait for files of one root.
pub(crate) const WAITING_MAX: usize = 1024;

/// Waiting requests, by the path of the file.
#[derive(Debug)]
pub(crate) struct WaitingList<T> {
    by_path: HashMap<Arc<str>, Vec<T>>,
    total: usize,
}

/// The result of joining the requests for a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined<T> {
    /// It is the first that wants this file: a look has to be begun.
    First,
    /// It waits for a look that was begun before.
    Later,
    /// Too many wait: it is given back.
    Full(T),
}

impl<T> Default for WaitingList<T> {
    fn default() -> Self {
        Self {
            by_path: HashMap::new(),
            total: 0,
        }
    }
}

impl<T> WaitingList<T> {
    /// Lets a request wait for `path`.
    pub(crate) fn join(&mut self, path: &Arc<str>, request: T) -> Joined<T> {
        if self.total >= WAITING_MAX {
            return Joined::Full(request);
        }
        self.total += 1;
        let waiting = self.by_path.entry(Arc::clone(path)).or_default();
        waiting.push(request);
        if waiting.len() == 1 {
            Joined::First
        } else {
            Joined::Later
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether a request waits for `path`.
    pub(crate) fn wants(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Takes out all that wait for `path`.
    pub(crate) fn take(&mut self, path: &str) -> Vec<T> {
        let all = self.by_path.remove(path).unwrap_or_default();
        self.total -= all.len();
        all
    }

    /// Takes out all that wait.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.total = 0;
        self.by_path.drain().flat_map(|(_, all)| all).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_answers_all_who_wait_for_a_file_and_others_wait_on() {
        let mut waiting = WaitingList::default();
        let (a, b) = (Arc::from("/a"), Arc::from("/b"));
        assert_eq!(waiting.join(&a, 1), Joined::First);
        assert_eq!(waiting.join(&a, 2), Joined::Later);
        assert_eq!(waiting.join(&b, 3), Joined::First);
        assert_eq!(waiting.take("/a"), [1, 2]);
        assert!(!waiting.wants("/a") && waiting.wants("/b"));
        assert_eq!(waiting.join(&a, 4), Joined::First);
        let mut rest = waiting.take_all();
        rest.sort_unstable();
        assert_eq!(rest, [3, 4]);
        assert!(waiting.take("/a").is_empty());
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut waiting = WaitingList::default();
        let a = Arc::from("/a");
        for n in 0..WAITING_MAX {
            assert!(!matches!(waiting.join(&a, n), Joined::Full(_)));
        }
        assert_eq!(waiting.join(&a, 7), Joined::Full(7));
        assert_eq!(waiting.take("/a").len(), WAITING_MAX);
        assert_eq!(waiting.join(&a, 7), Joined::First);
    }
}
