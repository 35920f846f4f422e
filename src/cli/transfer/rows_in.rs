//! Notes which rows of a file are stored, so that a repeated import sends only the others. Pure.

use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};

/// The most stretches of rows that are not in. An import stops at the parcel that has more.
const STRETCHES_MAX: usize = 100_000;

/// The rows of a file, by their numbers from 0 on, as far as they were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowsIn {
    /// The rows before this one were answered.
    answered: u64,
    /// The stretches of them that are not in: each the first row, and the one after the last.
    missing: Vec<(u64, u64)>,
    /// The sum of the hashes of those that are in.
    sum: u64,
}

/// The hash of a row at its place.
pub(super) fn hash_of(row: u64, text: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(&row.to_le_bytes());
    hasher.write(text);
    hasher.finish()
}

impl RowsIn {
    /// The number of rows that were answered and are not in.
    pub(super) fn missing(&self) -> u64 {
        self.missing.iter().map(|(from, to)| to - from).sum()
    }

    /// The number of rows that are in.
    pub(super) fn count(&self) -> u64 {
        self.answered - self.missing()
    }

    /// Whether the stretches of rows that are not in are more than are kept.
    pub(super) fn is_too_scattered(&self) -> bool {
        self.missing.len() > STRETCHES_MAX
    }

    /// The place in `missing` of the stretch that has the row, or else where it would be.
    fn find(&self, row: u64) -> Result<usize, usize> {
        let after = self.missing.partition_point(|(from, _)| *from <= row);
        let before = after.checked_sub(1);
        let stretch = before.and_then(|at| Some((at, self.missing.get(at)?.1)));
        match stretch {
            Some((at, to)) if row < to => Ok(at),
            Some(_) | None => Err(after),
        }
    }

    /// Whether the row is in.
    pub(super) fn has(&self, row: u64) -> bool {
        row < self.answered && self.find(row).is_err()
    }

    /// Notes that the row of this hash is in.
    pub(super) fn add(&mut self, row: u64, hash: u64) {
        self.miss(row);
        if let Ok(at) = self.find(row)
            && let Some(&(from, to)) = self.missing.get(at)
        {
            let left = [(from, row), (row + 1, to)];
            let left = left.into_iter().filter(|(from, to)| from < to);
            self.missing.splice(at..=at, left);
            self.sum = self.sum.wrapping_add(hash);
        }
    }

    /// Notes that the row was answered; it is not in unless it was before.
    pub(super) fn miss(&mut self, row: u64) {
        if row >= self.answered {
            match self.missing.last_mut() {
                Some((_, to)) if *to == self.answered => *to = row + 1,
                Some(_) | None => self.missing.push((self.answered, row + 1)),
            }
            self.answered = row + 1;
        }
    }
}

/// Rows that are on their way to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowsSent {
    pub(super) rows: u64,
    /// The sum of their hashes.
    pub(super) sum: u64,
}

/// Compares the rows of a file, one after the other, with those that are in and those that were on their way.
pub(super) struct RowsCheck<'a> {
    rows_in: &'a RowsIn,
    /// The first row that was on its way, and the others.
    sent: (u64, RowsSent),
    row: u64,
    sum: u64,
    sent_sum: u64,
}

impl<'a> RowsCheck<'a> {
    /// `next` is the first row that no answer told of.
    pub(super) fn new(rows_in: &'a RowsIn, next: u64, sent: Option<RowsSent>) -> Self {
        let sent = sent.unwrap_or(RowsSent { rows: 0, sum: 0 });
        Self {
            rows_in,
            sent: (next, sent),
            row: 0,
            sum: 0,
            sent_sum: 0,
        }
    }

    /// Takes the next row; without a text if it has none. False if no other matters.
    pub(super) fn row(&mut self, text: Option<&[u8]>) -> bool {
        let row = self.row;
        self.row += 1;
        let hash = text.map_or(0, |text| hash_of(row, text));
        let (next, sent) = self.sent;
        if self.rows_in.has(row) {
            self.sum = self.sum.wrapping_add(hash);
        } else if (next..next + sent.rows).contains(&row) {
            self.sent_sum = self.sent_sum.wrapping_add(hash);
        }
        self.row < self.rows_in.answered.max(next + sent.rows)
    }

    /// Whether all rows that are in are where they were.
    pub(super) fn are_in(&self) -> bool {
        self.sum == self.rows_in.sum
    }

    /// Whether all rows that were on their way are as they were.
    pub(super) fn are_as_sent(&self) -> bool {
        self.sent_sum == self.sent.1.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::as_u64;

    /// Rows by letters: `i` is in, `m` is missing.
    fn letters(rows: &RowsIn) -> String {
        let letter = |row| if rows.has(row) { 'i' } else { 'm' };
        (0..rows.answered).map(letter).collect()
    }

    #[test]
    fn rows_are_in_or_missing_and_come_in_later() {
        let mut rows = RowsIn::default();
        for (row, is_in) in [1, 0, 0, 0, 1, 1, 0, 1].into_iter().enumerate() {
            match is_in {
                1 => rows.add(as_u64(row), 1),
                _ => rows.miss(as_u64(row)),
            }
        }
        assert_eq!(letters(&rows), "immmiimi");
        assert_eq!(rows.missing, [(1, 4), (6, 7)]);
        assert_eq!((rows.count(), rows.missing(), rows.sum), (4, 4, 4));
        for (row, all, missing) in [
            (2, "imimiimi", &[(1, 2), (3, 4), (6, 7)][..]),
            (2, "imimiimi", &[(1, 2), (3, 4), (6, 7)]),
            (3, "imiiiimi", &[(1, 2), (6, 7)]),
            (6, "imiiiiii", &[(1, 2)]),
            (1, "iiiiiiii", &[]),
            (8, "iiiiiiiii", &[]),
        ] {
            rows.add(row, 1);
            rows.miss(row);
            assert_eq!((letters(&rows).as_str(), &*rows.missing), (all, missing));
        }
        assert_eq!((rows.count(), rows.sum), (9, 9));
        assert!(!rows.has(9));
    }

    #[test]
    fn scattered_rows_are_bounded() {
        let mut rows = RowsIn::default();
        let max = as_u64(STRETCHES_MAX);
        for row in 0..max * 2 {
            match row % 2 {
                0 => rows.miss(row),
                _ => rows.add(row, 0),
            }
        }
        assert!(!rows.is_too_scattered());
        rows.miss(max * 2);
        assert!(rows.is_too_scattered());
    }

    #[test]
    fn a_file_may_differ_where_rows_are_missing_and_nowhere_else() {
        let text = ["a", "wrong", "b", "c", "d"];
        let mut rows = RowsIn::default();
        rows.add(0, hash_of(0, b"a"));
        rows.miss(1);
        rows.add(2, hash_of(2, b"b"));
        let sent = RowsSent {
            rows: 2,
            sum: hash_of(3, b"c").wrapping_add(hash_of(4, b"d")),
        };
        let check = |text: &[&str], sent| {
            let mut check = RowsCheck::new(&rows, 3, sent);
            let mut read = 0;
            for row in text {
                read += 1;
                if !check.row((*row != "none").then_some(row.as_bytes())) {
                    break;
                }
            }
            (check.are_in(), check.are_as_sent(), read)
        };
        assert_eq!(check(&text, Some(sent)), (true, true, 5));
        assert_eq!(check(&text, None), (true, true, 3));
        for (changed, expected) in [
            (["a", "mended", "b", "c", "d"], (true, true, 5)),
            (["a", "none", "b", "c", "d"], (true, true, 5)),
            (["x", "wrong", "b", "c", "d"], (false, true, 5)),
            (["none", "wrong", "b", "c", "d"], (false, true, 5)),
            (["b", "wrong", "a", "c", "d"], (false, true, 5)),
            (["a", "b", "c", "d", "e"], (false, false, 5)),
            (["a", "wrong", "b", "d", "c"], (true, false, 5)),
        ] {
            assert_eq!(check(&changed, Some(sent)), expected, "{changed:?}");
        }
        assert_eq!(check(&text[..2], None), (false, true, 2), "it is shorter");
    }
}
