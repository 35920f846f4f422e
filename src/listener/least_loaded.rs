//! Chooses the handler that takes the next connection. Pure.

/// The present state of one handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether an unfenced incarnation runs.
    pub running: bool,
    /// Connections it has.
    pub connections: usize,
    /// Connections that wait for it.
    pub queue: usize,
}

/// The number of connections that the preferred handler may have more than another.
const SLACK: usize = 64;

/// The handler for the next connection; `None` only without candidates.
///
/// The preferred one, which runs on the listener's own thread, takes it if it runs and has at most [`SLACK`] connections more
/// than another. Else the running handler with the fewest connections takes it; if none runs, the one with the shortest queue,
/// which will be restarted. Ties rotate.
///
/// Candidates come with their indexes. They are an iterator, so that a new connection costs no list of them.
pub(crate) fn choose(
    candidates: impl Iterator<Item = (usize, Candidate)> + Clone,
    preferred: Option<usize>,
    rotation: usize,
) -> Option<usize> {
    let (chosen, least) = least_loaded(candidates.clone(), rotation)?;
    let mut preferred = candidates.filter(|(index, _)| Some(*index) == preferred);
    let near =
        preferred.find(|(_, near)| near.running && near.connections <= least.connections + SLACK);
    Some(near.map_or(chosen, |(index, _)| index))
}

fn least_loaded(
    all: impl Iterator<Item = (usize, Candidate)> + Clone,
    rotation: usize,
) -> Option<(usize, Candidate)> {
    // The index that has its turn comes first, then those behind it, then those before it.
    let count = all.clone().map(|(index, _)| index + 1).max()?;
    let turn = |index: usize| (index + count - rotation % count) % count;
    let running = all
        .clone()
        .filter(|(_, candidate)| candidate.running)
        .min_by_key(|(index, candidate)| (candidate.connections, turn(*index)));
    running.or_else(|| all.min_by_key(|(index, candidate)| (candidate.queue, turn(*index))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[Candidate]) -> impl Iterator<Item = (usize, Candidate)> + Clone {
        rows.iter().copied().enumerate()
    }

    fn least(rows: &[Candidate], rotation: usize) -> Option<usize> {
        least_loaded(list(rows), rotation).map(|(index, _)| index)
    }

    fn handlers(rows: &[(bool, usize, usize)]) -> Vec<Candidate> {
        let row = |&(running, connections, queue)| Candidate {
            running,
            connections,
            queue,
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn the_fewest_connections_win_and_ties_rotate() {
        let uneven = handlers(&[(true, 3, 0), (true, 1, 0), (true, 2, 0)]);
        assert_eq!(least(&uneven, 7), Some(1));
        let even = handlers(&[(true, 1, 0); 3]);
        let turns: Vec<_> = (0..4).filter_map(|turn| least(&even, turn)).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
    }

    #[test]
    fn the_preferred_handler_wins_unless_it_is_down_or_overloaded() {
        let even = handlers(&[(true, 0, 0), (true, SLACK, 0)]);
        assert_eq!(choose(list(&even), Some(1), 0), Some(1));
        let uneven = handlers(&[(true, 0, 0), (true, SLACK + 1, 0)]);
        assert_eq!(choose(list(&uneven), Some(1), 0), Some(0));
        let down = handlers(&[(true, 9, 0), (false, 0, 0)]);
        assert_eq!(choose(list(&down), Some(1), 0), Some(0));
        assert_eq!(choose(list(&down), None, 0), Some(0));
        assert_eq!(choose(list(&down), Some(7), 0), Some(0));
        assert_eq!(choose(list(&[]), Some(0), 0), None);
    }

    #[test]
    fn a_handler_that_is_down_is_chosen_only_if_all_are() {
        assert_eq!(least(&handlers(&[(false, 0, 0), (true, 9, 9)]), 0), Some(1));
        assert_eq!(
            least(&handlers(&[(false, 0, 2), (false, 5, 1)]), 0),
            Some(1)
        );
        assert_eq!(least(&[], 0), None);
    }
}
