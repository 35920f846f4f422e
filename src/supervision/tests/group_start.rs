//! The first start as a group: one fails, the rest are cancelled in reverse order, and *all* causes are told, as a task
//! group tells them with its exception group.

use std::time::Duration;

use tokio::time::Instant;

use super::play::{Play, Start, Stop, paused, root, start, started};
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);

/// The causes of a failed start, by path.
async fn causes(tree: &mut super::play::TestTree) -> Vec<String> {
    let ExitReason::ChildrenFailed(causes) = tree.ended().await else {
        panic!("another reason");
    };
    let leaves = causes.leaves();
    leaves
        .iter()
        .map(|(path, why)| format!("{path}: {why}"))
        .collect()
}

#[test]
fn children_that_start_together_take_the_time_of_the_slowest() {
    paused(async {
        let play = Play::new();
        let mut spec = root(1, 5).start_together();
        for (name, seconds) in [("a", 3), ("b", 2), ("c", 1)] {
            play.starts(name, &[Start::Slow(SECOND * seconds)]);
            spec = spec.child(play.spec(name));
        }
        let begun = Instant::now();
        let mut tree = started(spec).await;
        assert_eq!(begun.elapsed().as_secs(), 3);
        assert_eq!(
            play.log(),
            "a starts, b starts, c starts, c runs, b runs, a runs"
        );
        tree.stop().await;
        assert_eq!(
            play.log(),
            "c stops, c stopped, b stops, b stopped, a stops, a stopped"
        );
    });
}

#[test]
fn one_failure_cancels_the_rest_in_reverse_and_every_cause_is_told() {
    paused(async {
        let play = Play::new();
        play.starts("failing", &[Start::Slow(SECOND), Start::Fails]);
        play.stops("ready", Stop::Panics);
        play.starts("waiting", &[Start::Hangs]);
        play.starts("cancelled badly", &[Start::PanicsCancelled]);
        play.stops("deaf", Stop::Hangs);
        let failing = play.spec("failing").start_timeout(SECOND / 2);
        let mut spec = root(9, 5).start_together().child(failing);
        for name in ["ready", "polite", "waiting", "cancelled badly", "deaf"] {
            spec = spec.child(play.spec(name));
        }
        let brutal = play.spec("brutal").shutdown(Shutdown::Brutal);
        let begun = Instant::now();
        let mut tree = start(spec.child(brutal));
        assert_eq!(
            causes(&mut tree).await,
            [
                "failing: not ready within 500ms",
                "deaf: killed",
                "cancelled badly: panic: cancelled badly during start",
                "ready: panic: ready stops badly",
            ],
            "a child that was cancelled as it should be is no cause, and neither is a brutal end"
        );
        let stops: Vec<_> = play.log().split(", ").map(str::to_owned).collect();
        let stops: Vec<_> = stops.iter().filter(|line| line.contains("stop")).collect();
        assert_eq!(
            stops,
            [
                "deaf stops",
                "polite stops",
                "polite stopped",
                "ready stops"
            ]
        );
        let patience = SECOND / 2 + SHUTDOWN_TIMEOUT;
        assert_eq!(begun.elapsed().as_millis(), patience.as_millis());
    });
}

#[test]
fn several_failures_at_once_are_several_causes_and_those_of_a_nested_group_have_their_path() {
    paused(async {
        let play = Play::new();
        play.starts("a", &[Start::Fails]);
        play.starts("b", &[Start::Panics]);
        let inner = SupervisorSpec::new("doors").start_together();
        let inner = inner.child(play.spec("a")).child(play.spec("b"));
        let spec = root(9, 5).child(play.spec("disk"));
        let mut tree = start(spec.child(ChildSpec::supervisor(inner)));
        assert_eq!(
            causes(&mut tree).await,
            [
                "doors/a: could not start: a has no luck",
                "doors/b: panic: b starts badly",
            ]
        );
        assert!(play.log().ends_with("disk stops, disk stopped"));
    });
}

#[test]
fn a_start_that_is_stopped_is_cancelled_and_no_failure() {
    paused(async {
        let play = Play::new();
        play.starts("b", &[Start::Hangs]);
        let spec = root(9, 5).child(play.spec("a")).child(play.spec("b"));
        let mut tree = start(spec.child(play.spec("c")));
        super::play::settled().await;
        let begun = Instant::now();
        tree.stop().await;
        assert!(begun.elapsed().is_zero(), "nothing was waited for");
        assert_eq!(play.log(), "a starts, a runs, b starts, a stops, a stopped");
    });
}
