//! What somebody may have meant by a name that is not known.

/// The name among `names` that is nearest to `wrong`, if one is near.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Words of two letters are all near each other: something must be left of both.
    let near = |name: &&str| {
        let far = distance(wrong, name);
        far <= 2.max(name.len() / 3) && far < name.len().min(wrong.len())
    };
    names
        .into_iter()
        .filter(near)
        .min_by_key(|name| distance(wrong, name))
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let next = (diagonal + usize::from(from != *to))
                .min(left + 1)
                .min(above + 1);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            diagonal = above;
            left = next;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = ["listen", "server", "id"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("sevrer", names), Some("server"));
        assert_eq!(nearest("idd", names), Some("id"));
        assert_eq!(nearest("zzzzzz", names), None);
        assert_eq!(nearest("xx", names), None);
    }

    #[test]
    fn the_distance_is_the_number_of_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("ab", "ab"), 0);
    }
}
