//! Compares the parts that run with those that the settings want: the surplus ones and the missing ones. Pure.

/// The difference between what there is and what is wanted, as positions in the two lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Difference {
    /// Positions of the parts that run and are not wanted.
    pub surplus: Vec<usize>,
    /// Positions of the parts that are wanted and do not run.
    pub missing: Vec<usize>,
}

/// Compares what there is with what is wanted. Of several that are the same, those that came first are kept.
pub(in crate::app) fn compare<H, W>(
    have: &[H],
    want: &[W],
    same: impl Fn(&H, &W) -> bool,
) -> Difference {
    let mut missing: Vec<(usize, &W)> = want.iter().enumerate().collect();
    let surplus = have.iter().enumerate().filter(|(_, have)| {
        let found = missing.iter().position(|(_, want)| same(have, want));
        found.map(|at| missing.remove(at)).is_none()
    });
    let surplus = surplus.map(|(at, _)| at).collect();
    Difference {
        surplus,
        missing: missing.into_iter().map(|(at, _)| at).collect(),
    }
}

/// Takes the elements at these positions, which ascend, out of a list.
pub(in crate::app) fn take_out<T>(list: &mut Vec<T>, positions: &[usize]) -> Vec<T> {
    let mut at = 0..;
    let out = list.extract_if(.., |_| {
        at.next()
            .is_some_and(|at| positions.binary_search(&at).is_ok())
    });
    out.collect()
}

/// The first name, by its number, that is not taken.
pub(in crate::app) fn free_name(
    name: impl Fn(usize) -> String,
    is_taken: impl Fn(&str) -> bool,
) -> (usize, String) {
    let mut number = 0;
    loop {
        let name = name(number);
        if !is_taken(&name) {
            return (number, name);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_stays_and_the_rest_goes_or_comes() {
        for (have, want, surplus, missing) in [
            ("", "", &[][..], &[][..]),
            ("ab", "ab", &[], &[]),
            ("ab", "ba", &[], &[]),
            ("", "ab", &[], &[0, 1]),
            ("ab", "", &[0, 1], &[]),
            ("abc", "bd", &[0, 2], &[1]),
            // Of equal ones, such as two times port 0, the older ones stay.
            ("aa", "a", &[1], &[]),
            ("a", "aaa", &[], &[1, 2]),
            ("aba", "aab", &[], &[]),
        ] {
            let [have, want] = [have, want].map(|text| text.chars().collect::<Vec<_>>());
            let difference = compare(&have, &want, |a, b| a == b);
            let (surplus, missing) = (surplus.to_vec(), missing.to_vec());
            assert_eq!(
                difference,
                Difference { surplus, missing },
                "{have:?} {want:?}"
            );
        }
    }

    #[test]
    fn what_is_taken_out_is_what_the_positions_say() {
        let mut list = vec!["a", "b", "c", "d"];
        assert_eq!(take_out(&mut list, &[]), [""; 0]);
        assert_eq!(take_out(&mut list, &[1, 3]), ["b", "d"]);
        assert_eq!(list, ["a", "c"]);
        assert_eq!(take_out(&mut list, &[7]), [""; 0]);
    }

    #[test]
    fn a_name_that_is_still_in_use_is_not_given_again() {
        let name = |number| format!("handler-{number}");
        let taken = ["handler-0", "handler-2"];
        let free = free_name(name, |name| taken.contains(&name));
        assert_eq!(free, (1, "handler-1".to_owned()));
        assert_eq!(free_name(name, |_| false).0, 0);
    }
}
