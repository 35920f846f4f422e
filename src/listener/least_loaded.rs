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

/// How many connections more than another handler the preferred one may have.
const SLACK: usize = 64;

/// The handler for the next connection; `None` only without candidates.
///
/// The preferred one, which runs on the listener's own thread, takes it if it runs and has at most [`SLACK`] connections more
/// than another. Else the running handler with the fewest connections takes it; if none runs, the one with the shortest queue,
/// which will be restarted. Ties rotate.
pub(crate) fn choose(
    candidates: &[Candidate],
    preferred: Option<usize>,
    rotation: usize,
) -> Option<usize> {
    let chosen = least_loaded(candidates, rotation)?;
    let least = candidates.get(chosen)?.connections;
    let near = preferred.filter(|preferred| {
        let candidate = candidates.get(*preferred);
        candidate.is_some_and(|near| near.running && near.connections <= least + SLACK)
    });
    Some(near.unwrap_or(chosen))
}

fn least_loaded(candidates: &[Candidate], rotation: usize) -> Option<usize> {
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
    fn the_preferred_handler_wins_unless_it_is_down_or_overloaded() {
        let even = handlers(&[(true, 0, 0), (true, SLACK, 0)]);
        assert_eq!(choose(&even, Some(1), 0), Some(1));
        let uneven = handlers(&[(true, 0, 0), (true, SLACK + 1, 0)]);
        assert_eq!(choose(&uneven, Some(1), 0), Some(0));
        let down = handlers(&[(true, 9, 0), (false, 0, 0)]);
        assert_eq!(choose(&down, Some(1), 0), Some(0));
        assert_eq!(choose(&down, None, 0), Some(0));
        assert_eq!(choose(&down, Some(7), 0), Some(0));
        assert_eq!(choose(&[], Some(0), 0), None);
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
