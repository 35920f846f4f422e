//! A batch: commands that are carried out one after the other, and what becomes of the others if one is refused.

// Decision: All operations of a batch are tried.

use super::CommandError;

/// The fate of the commands of a batch if one of them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Atomicity {
    /// Each stands for itself: what can be done is done.
    Each,
    /// All are done or none. All are tried, so that each refusal is told; the others are cancelled.
    All,
}

/// The end of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchEnd<W> {
    /// One for each command.
    pub(crate) results: Vec<Result<W, CommandError>>,
    /// Whether what was staged stays. If not, nothing was done.
    pub(crate) stays: bool,
}

/// Tries the commands of a batch in their order. `stage` decides one, on top of what those before it have staged, and stages
/// what it does; a command that it refuses stages nothing.
///
/// An error of `stage` ends the batch: then nothing of it may stay.
pub(crate) fn try_batch<C, W, E>(
    atomicity: Atomicity,
    commands: impl IntoIterator<Item = C>,
    stage: impl FnMut(C) -> Result<Result<W, CommandError>, E>,
) -> Result<BatchEnd<W>, E> {
    let results = commands.into_iter().map(stage);
    let mut results: Vec<_> = results.collect::<Result<_, E>>()?;
    let stays = atomicity == Atomicity::Each || results.iter().all(Result::is_ok);
    if !stays {
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = Err(CommandError::Cancelled);
        }
    }
    Ok(BatchEnd { results, stays })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// `+a` adds a name, `-a` removes it, `!` fails.
    fn stage(
        names: &mut BTreeMap<char, usize>,
        (at, command): (usize, &str),
    ) -> Result<Result<usize, CommandError>, &'static str> {
        let mut command = command.chars();
        let (kind, name) = (command.next(), command.next().unwrap_or_default());
        Ok(match kind {
            Some('+') if names.contains_key(&name) => {
                Err(CommandError::Precondition { current: None })
            }
            Some('+') => Ok(names.insert(name, at).unwrap_or(at)),
            Some('-') => names.remove(&name).ok_or(CommandError::Absent),
            _ => return Err("failed"),
        })
    }

    #[test]
    fn a_batch_ends_as_its_atomicity_says() {
        use Atomicity::{All, Each};
        let absent = || Err(CommandError::Absent);
        let there = || Err(CommandError::Precondition { current: None });
        let cancelled = || Err(CommandError::Cancelled);
        for (atomicity, commands, results, names) in [
            (All, &[][..], vec![], "x"),
            (All, &["+a", "+b"], vec![Ok(0), Ok(1)], "abx"),
            (All, &["+a", "-a", "-x"], vec![Ok(0), Ok(0), Ok(9)], ""),
            (All, &["-x", "+x"], vec![Ok(9), Ok(1)], "x"),
            (All, &["+a", "+x"], vec![cancelled(), there()], "x"),
            (All, &["+x", "+a"], vec![there(), cancelled()], "x"),
            (
                All,
                &["+a", "+x", "-b", "-x"],
                vec![cancelled(), there(), absent(), cancelled()],
                "x",
            ),
            (All, &["+a", "+a"], vec![cancelled(), there()], "x"),
            (
                Each,
                &["+a", "+x", "-b", "-x"],
                vec![Ok(0), there(), absent(), Ok(9)],
                "a",
            ),
            (Each, &["+x"], vec![there()], "x"),
        ] {
            let before = BTreeMap::from([('x', 9)]);
            let mut staged = before.clone();
            let tried = commands.iter().copied().enumerate();
            let end = try_batch(atomicity, tried, |command| stage(&mut staged, command)).unwrap();
            let after = if end.stays { staged } else { before };
            assert_eq!(end.results, results, "{commands:?}");
            assert_eq!(after.keys().collect::<String>(), names, "{commands:?}");
        }
    }

    #[test]
    fn an_error_ends_a_batch() {
        for atomicity in [Atomicity::Each, Atomicity::All] {
            let mut staged = BTreeMap::new();
            let commands = ["+a", "!", "+b"].into_iter().enumerate();
            let end = try_batch(atomicity, commands, |command| stage(&mut staged, command));
            assert_eq!(end, Err("failed"));
            assert_eq!(staged.keys().collect::<String>(), "a");
        }
    }
}
