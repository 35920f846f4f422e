//! Strategies: what a death does to the siblings, in which order, and what their callers see of it.

use std::sync::Arc;
use std::time::Duration;

use super::play::{
    Ask, How, PATIENCE, Play, Start, Stop, TestTree, end, error, paused, settled, started,
    supervisor,
};
use crate::supervision::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Children a, b, c under that strategy, and nothing in the log.
async fn three(
    strategy: Strategy,
    max_restarts: usize,
) -> (Arc<Play>, TestTree, Vec<ChildRef<Ask>>) {
    let play = Play::new();
    let mut spec = supervisor("root", strategy, max_restarts, 5);
    let mut children = Vec::new();
    for name in NAMES {
        let (child, child_ref) = play.child(name);
        spec = spec.child(child);
        children.push(child_ref);
    }
    let tree = started(spec).await;
    play.log();
    (play, tree, children)
}

fn lives(tree: &TestTree) -> [u64; 3] {
    NAMES.map(|name| {
        let (state, generation) = tree.life(name);
        assert_eq!(state, "running", "{name}");
        generation
    })
}

fn echo(
    child: &ChildRef<Ask>,
    n: u32,
) -> impl Future<Output = Result<u32, AskError<String>>> + use<> {
    child.ask(move |reply| Ask::Echo { n, reply }, PATIENCE)
}

/// Asks all three while the middle one dies of a message: everything is answered.
async fn answered_through_a_round(children: &[ChildRef<Ask>]) {
    let poison = children[1].ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE);
    let for_ = Duration::from_secs(1);
    let in_hand = children[2].ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
    settled().await;
    let queued = (0..).zip(children).map(|(n, child)| echo(child, n));
    let queued = futures_util::future::join_all(queued).await;
    assert!(queued.into_iter().eq((0..3).map(Ok)), "queued messages");
    assert_eq!(poison.await, Ok(2));
    assert_eq!(in_hand.await, Ok(2), "what the sibling had in hand");
}

#[test]
fn otp_one_for_one() {
    paused(async {
        let (play, mut tree, children) = three(Strategy::OneForOne, 2).await;
        assert_eq!(end(&children[1], &How::Panic).await, 2);
        assert_eq!(lives(&tree), [1, 2, 1], "the siblings are the same");
        assert_eq!(play.log(), "b starts, b runs");
        let queued = echo(&children[1], 7);
        assert_eq!(queued.await, Ok(7));
        // The second restart is allowed, the third death is one too many.
        assert_eq!(end(&children[0], &error()).await, 1);
        settled().await;
        assert_eq!(lives(&tree), [2, 2, 1]);
        assert_eq!(end(&children[0], &error()).await, 2);
        let ExitReason::Escalated { child, cause } = tree.ended().await else {
            panic!("another reason");
        };
        assert_eq!((&*child, &*cause), ("a", "error: as told"));
        assert!(
            play.log()
                .ends_with("c stops, c stopped, b stops, b stopped")
        );
    });
}

#[test]
fn otp_one_for_all() {
    paused(async {
        let (play, mut tree, children) = three(Strategy::OneForAll, 1).await;
        answered_through_a_round(&children).await;
        assert_eq!(lives(&tree), [2, 2, 2], "no old life is left");
        assert_eq!(tree.tree.view().restarts_in_window, Some(1), "one round");
        assert_eq!(
            play.log(),
            "c stops, c stopped, a stops, a stopped, \
             a starts, a runs, b starts, b runs, c starts, c runs"
        );
        tree.stop().await;
    });
}

#[test]
fn otp_one_for_all_other_child_fails_restart() {
    paused(async {
        let (play, mut tree, children) = three(Strategy::OneForAll, 2).await;
        play.starts("b", &[Start::Fails]);
        let sibling = echo(&children[0], 1);
        assert_eq!(end(&children[2], &How::Panic).await, 2);
        assert_eq!(
            play.log(),
            "b stops, b stopped, a stops, a stopped, a starts, a runs, b starts, \
             a stops, a stopped, a starts, a runs, b starts, b runs, c starts, c runs",
            "the one that was up again is stopped again, and all of it is tried again"
        );
        assert_eq!(lives(&tree), [3, 3, 2]);
        assert_eq!(sibling.await, Ok(1));
        assert_eq!(tree.tree.view().restarts_in_window, Some(2));
        tree.stop().await;
    });
}

#[test]
fn otp_rest_for_one() {
    paused(async {
        let (play, mut tree, children) = three(Strategy::RestForOne, 1).await;
        answered_through_a_round(&children).await;
        assert_eq!(lives(&tree), [1, 2, 2], "the earlier one is the same");
        assert_eq!(tree.tree.view().restarts_in_window, Some(1));
        assert_eq!(
            play.log(),
            "c stops, c stopped, b starts, b runs, c starts, c runs"
        );
        tree.stop().await;
    });
}

#[test]
fn otp_rest_for_one_other_child_fails_restart() {
    paused(async {
        let (play, mut tree, children) = three(Strategy::RestForOne, 2).await;
        play.starts("c", &[Start::Fails]);
        assert_eq!(end(&children[1], &How::Panic).await, 2);
        settled().await;
        assert_eq!(lives(&tree), [1, 2, 3], "b stays as it was restarted");
        assert_eq!(
            play.log(),
            "c stops, c stopped, b starts, b runs, c starts, c starts, c runs"
        );
        tree.stop().await;
    });
}

#[test]
fn otp_temporary_bystander() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        paused(async move {
            let play = Play::new();
            let (spec, child) = play.child("a");
            let (bystander, late) = play.child("b");
            let spec = supervisor("root", strategy, 1, 5).child(spec);
            let spec = spec.child(bystander.restart(Restart::Temporary));
            let mut tree = started(spec).await;
            assert_eq!(end(&child, &How::Panic).await, 2);
            settled().await;
            let found = tree.admin.children();
            let names: Vec<_> = found.iter().map(|child| &*child.name).collect();
            assert_eq!(names, ["a"], "it is not restarted, and not kept");
            let window = tree.tree.view().restarts_in_window;
            assert_eq!(window, Some(1), "and costs nothing");
            assert_eq!(echo(&late, 1).await, Err(AskError::ShuttingDown));
            tree.stop().await;
        });
    }
}

#[test]
fn otp_order_of_children() {
    paused(async {
        let play = Play::new();
        let mut spec = supervisor("root", Strategy::RestForOne, 1, 5);
        let mut children = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            let (child, child_ref) = play.child(name);
            play.starts(name, &[Start::Slow(Duration::from_secs(1))]);
            play.stops(name, Stop::Takes(Duration::from_secs(1)));
            spec = spec.child(child);
            children.push(child_ref);
        }
        let mut tree = started(spec).await;
        assert_eq!(
            play.log(),
            "a starts, a runs, b starts, b runs, c starts, c runs, d starts, d runs, e starts, e runs",
            "each after the one before is ready"
        );
        assert_eq!(end(&children[2], &How::Panic).await, 2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            play.log(),
            "e stops, e stopped, d stops, d stopped, \
             c starts, c runs, d starts, d runs, e starts, e runs",
            "in reverse within a round too"
        );
        tree.stop().await;
        assert_eq!(
            play.log(),
            "e stops, e stopped, d stops, d stopped, c stops, c stopped, b stops, b stopped, \
             a stops, a stopped"
        );
    });
}

#[test]
fn a_hung_sibling_delays_a_round_by_its_shutdown_and_no_more() {
    paused(async {
        let (_, mut tree, children) = three(Strategy::OneForAll, 1).await;
        let for_ = Duration::from_secs(60);
        let hung = children[2].ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
        settled().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(end(&children[0], &How::Panic).await, 2);
        assert!(begun.elapsed() <= SHUTDOWN_TIMEOUT);
        assert_eq!(hung.await, Ok(2));
        tree.stop().await;
    });
}

/// Lets three children die of one another in one instant, or while their group is going down.
async fn double_death(strategy: Strategy, first: usize, second: usize, later: Duration) {
    let (play, mut tree, children) = three(strategy, 1).await;
    // The last child takes a second to stop, so the others wait for their turn.
    play.stops("c", Stop::Takes(Duration::from_secs(1)));
    let how = ExitReason::Error("first".into());
    let dies = children[first].ask(|reply| Ask::End { how, reply }, PATIENCE);
    let how = ExitReason::Error("second".into());
    let dies_later = async {
        tokio::time::sleep(later).await;
        let also = children[second].ask(|reply| Ask::End { how, reply }, PATIENCE);
        also.await
    };
    let (dead, also_dead) = futures_util::future::join(dies, dies_later).await;
    assert_eq!(
        (dead, also_dead),
        (Ok(1), Ok(1)),
        "both die in their first life"
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let restarted = usize::from(strategy == Strategy::OneForAll);
    let expected = [[1, 2, 2], [2, 2, 2]][restarted];
    assert_eq!(
        lives(&tree),
        expected,
        "{strategy:?} {first} {second} {later:?}"
    );
    assert_eq!(tree.node("b").exits.len(), 1, "nobody is restarted twice");
    tree.stop().await;
}

#[test]
fn a_sibling_that_dies_while_its_group_goes_down_counts_as_no_restart() {
    // OTP counts one restart for the round, however many of its children die in it; one is all that is allowed here.
    for later in [Duration::ZERO, Duration::from_millis(500)] {
        paused(double_death(Strategy::OneForAll, 0, 1, later));
        paused(double_death(Strategy::OneForAll, 1, 0, later));
    }
    paused(double_death(Strategy::OneForAll, 0, 2, Duration::ZERO));
    paused(double_death(Strategy::RestForOne, 1, 2, Duration::ZERO));
}

#[test]
fn a_death_after_the_round_counts_again() {
    paused(async {
        let (_, mut tree, children) = three(Strategy::OneForAll, 1).await;
        assert_eq!(end(&children[0], &error()).await, 1);
        settled().await;
        assert_eq!(lives(&tree), [2, 2, 2]);
        assert_eq!(end(&children[1], &error()).await, 2);
        assert!(matches!(tree.ended().await, ExitReason::Escalated { .. }));
    });
}
