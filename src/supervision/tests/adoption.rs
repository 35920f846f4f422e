//! A supervisor that panics: its children run on, and what it was told is not forgotten.

use std::sync::Arc;

use super::play::{Ask, PATIENCE, Play, paused, settled, started_in, supervisor};
use crate::supervision::*;

/// A root with three children.
fn family(play: &Arc<Play>, strategy: Strategy) -> (SupervisorSpec, Vec<ChildRef<Ask>>) {
    let mut spec = supervisor("root", strategy, 9, 60);
    let mut children = Vec::new();
    for name in ["a", "b", "c"] {
        let (child, child_ref) = play.child(name);
        spec = spec.child(child);
        children.push(child_ref);
    }
    (spec, children)
}

#[test]
fn a_supervisor_that_panics_adopts_its_children_and_carries_on() {
    paused(async {
        let (play, faults) = (Play::new(), Faults::armed());
        let (spec, children) = family(&play, Strategy::OneForOne);
        let tree = started_in(
            spec,
            Env {
                inline: true,
                faults: faults.clone(),
            },
        )
        .await;
        for until in 1..=3 {
            faults.arm("root.event", 1);
            let answered = children[0].ask(|reply| Ask::PanicUntil { until, reply }, PATIENCE);
            assert_eq!(answered.await, Ok(until + 1), "the next life answers");
            assert_eq!(faults.points()["root.event"], 0, "it panicked");
        }
        settled().await;
        let log = play.log();
        assert_eq!(log.matches("a starts").count(), 4);
        assert_eq!(log.matches("b starts").count(), 1, "siblings run on");
        assert_eq!(log.matches("c starts").count(), 1, "siblings run on");
        assert_eq!(tree.node("a").restarts_total(), 3);
    });
}

#[test]
fn a_group_that_was_going_down_comes_up_again_under_its_adoptive_supervisor() {
    paused(async {
        let (play, faults) = (Play::new(), Faults::armed());
        let (spec, children) = family(&play, Strategy::OneForAll);
        let _tree = started_in(
            spec,
            Env {
                inline: true,
                faults: faults.clone(),
            },
        )
        .await;
        // One panic for each event of the round: the death, each stop and each readiness.
        faults.arm("root.event", 6);
        let until = 1;
        let answered = children[0].ask(|reply| Ask::PanicUntil { until, reply }, PATIENCE);
        assert_eq!(answered.await, Ok(2));
        for child in &children {
            let echoed = child.ask(|reply| Ask::Echo { n: 7, reply }, PATIENCE);
            assert_eq!(echoed.await, Ok(7));
        }
        settled().await;
        let log = play.log();
        for name in ["a", "b", "c"] {
            assert_eq!(log.matches(&format!("{name} starts")).count(), 2, "{log}");
        }
        assert_eq!(faults.points()["root.event"], 0);
    });
}
