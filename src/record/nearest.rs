//! Finds the name that was probably meant by an unknown one.

/// The name among `names` that is nearest to `wrong`, if one is near enough to be suggested.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = |name: &str| 2.max(name.len() / 3);
    let letters = wrong.chars().count();
    // Names of very different lengths are never near, and need not be compared.
    let alike = names
        .into_iter()
        .filter(|name| name.chars().count().abs_diff(letters) <= most(name));
    let with_distance = alike.map(|name| (strsim::levenshtein(wrong, name), name));
    // All words of two letters are near to each other, so a letter of both must be left.
    let near = with_distance.filter(|(distance, name)| {
        *distance <= most(name) && *distance < name.len().min(wrong.len())
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_for_a_misspelt_one() {
        let names = ["listen", "server", "id"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("sevrer", names), Some("server"));
        assert_eq!(nearest("idd", names), Some("id"));
        assert_eq!(nearest("zzzzzz", names), None);
        assert_eq!(nearest("xx", names), None);
    }
}
