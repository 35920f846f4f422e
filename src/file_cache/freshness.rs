//! Decides when an entry is compared with its file again.

/// The freshness of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Serve it.
    Fresh,
    /// Serve it, and have the file looked at meanwhile: so a page that is asked for often never waits.
    Ageing,
    /// Look at the file first.
    Stale,
}

/// The freshness of what was compared with its file `age_ms` ago, where a change has to be seen within `revalidate_ms`.
///
/// Younger than half of it: fresh. Younger than it: ageing. Else stale; with 0, everything is stale at once.
pub(crate) fn freshness(age_ms: u64, revalidate_ms: u64) -> Freshness {
    if age_ms >= revalidate_ms {
        Freshness::Stale
    } else if age_ms >= revalidate_ms / 2 {
        Freshness::Ageing
    } else {
        Freshness::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ages_in_two_steps() {
        for (age, revalidate, expected) in [
            (0, 1000, Freshness::Fresh),
            (499, 1000, Freshness::Fresh),
            (500, 1000, Freshness::Ageing),
            (999, 1000, Freshness::Ageing),
            (1000, 1000, Freshness::Stale),
            (u64::MAX, 1000, Freshness::Stale),
            (0, 0, Freshness::Stale),
            (0, 1, Freshness::Ageing),
        ] {
            assert_eq!(
                freshness(age, revalidate),
                expected,
                "{age} of {revalidate}"
            );
        }
    }
}
