//! Which handler takes the next connection. Pure.

/// One handler as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether an unfenced incarnation runs.
    pub running: bool,
    /// Connections it has.
    pub connections: usize,
    /// Connections that wait for it.
    pub queue: usize,
}

/// The running handler with the fewest connections; if none runs, the one with the shortest queue, which will be restarted.
/// Ties rotate. `None` only without candidates.
pub(crate) fn least_loaded(candidates: &[Candidate], rotation: usize) -> Option<usize> {
    let count = candidates.len();
    let turn = |index: usize| (index + count - rotation % count.max(1)) % count.max(1);
    let all = || candidates.iter().enumerate();
    let running = all()
        .filter(|(_, candidate)| candidate.running)
        .min_by_key(|(index, candidate)| (candidate.connections, turn(*index)));
    let waiting = || all().min_by_key(|(index, candidate)| (candidate.queue, turn(*index)));
    running.or_else(waiting).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(least_loaded(&uneven, 7), Some(1));
        let even = handlers(&[(true, 1, 0); 3]);
        let turns: Vec<_> = (0..4)
            .filter_map(|turn| least_loaded(&even, turn))
            .collect();
        assert_eq!(turns, [0, 1, 2, 0]);
    }

    #[test]
    fn a_handler_that_is_down_is_chosen_only_if_all_are() {
        assert_eq!(
            least_loaded(&handlers(&[(false, 0, 0), (true, 9, 9)]), 0),
            Some(1)
        );
        assert_eq!(
            least_loaded(&handlers(&[(false, 0, 2), (false, 5, 1)]), 0),
            Some(1)
        );
        assert_eq!(least_loaded(&[], 0), None);
    }
}
