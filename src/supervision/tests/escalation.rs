//! Escalation: a supervisor that can't help gives up, in order, and the one above it decides.

use super::play::{
    Ask, PATIENCE, Play, Start, TestTree, counts, end, error, paused, root, settled, started,
    supervisor,
};
use crate::supervision::*;

/// A restart that keeps failing exhausts the intensity: the siblings are stopped in reverse, and the supervisor exits.
async fn escalation(strategy: Strategy, stopped: &str) {
    let play = Play::new();
    let mut spec = supervisor("root", strategy, 4, 60);
    let mut children = Vec::new();
    for name in ["a", "b", "c"] {
        let (child, child_ref) = play.child(name);
        spec = spec.child(child);
        children.push(child_ref);
    }
    let mut tree = started(spec).await;
    play.starts("b", &[Start::Fails; 9]);
    let waiting = children[1].ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE);
    let for_ = PATIENCE;
    let in_hand = children[0].ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
    let ExitReason::Escalated { child, cause } = tree.ended().await else {
        panic!("another reason");
    };
    assert_eq!((&*child, &*cause), ("b", "could not start: b has no luck"));
    assert_eq!(tree.node("b").restarts_total(), 4);
    let log = play.log();
    assert!(log.ends_with(stopped), "{log}");
    assert_eq!(log.matches("b starts").count(), 5);
    // Both were accepted, so both are answered.
    assert_eq!(waiting.await, Err(AskError::ShuttingDown));
    assert_eq!(in_hand.await, Err(AskError::ShuttingDown));
}

#[test]
fn otp_one_for_one_escalation() {
    let stopped = "b starts, c stops, c stopped, a stops, a stopped";
    paused(escalation(Strategy::OneForOne, stopped));
}

#[test]
fn otp_one_for_all_escalation() {
    let stopped = "a starts, a runs, b starts, a stops, a stopped";
    paused(escalation(Strategy::OneForAll, stopped));
}

#[test]
fn otp_rest_for_one_escalation() {
    let stopped = "b starts, b starts, a stops, a stopped";
    paused(escalation(Strategy::RestForOne, stopped));
}

/// A root with a child and a supervisor of its own, to which a child was added.
async fn nested(
    strategy: Strategy,
) -> (std::sync::Arc<Play>, TestTree, SupervisorRef, ChildRef<Ask>) {
    let play = Play::new();
    let inner = supervisor("inner", Strategy::OneForOne, 0, 60);
    let admin = inner.supervisor_ref();
    let (fixed, child) = play.child("fixed");
    let inner = ChildSpec::supervisor(inner.child(fixed));
    let spec = supervisor("root", strategy, 1, 60);
    let spec = spec.child(play.spec("before")).child(inner);
    let tree = started(spec.child(play.spec("after"))).await;
    admin.start_child(play.spec("added")).await.unwrap();
    (play, tree, admin, child)
}

#[test]
fn otp_tree() {
    for (strategy, before, after) in [
        (Strategy::OneForOne, 1, 1),
        (Strategy::OneForAll, 2, 2),
        (Strategy::RestForOne, 1, 2),
    ] {
        paused(async move {
            let (_, mut tree, admin, child) = nested(strategy).await;
            assert_eq!(tree.life("added"), ("running", 1));
            assert_eq!(end(&child, &error()).await, 1);
            let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE);
            assert_eq!(
                echo.await,
                Ok(1),
                "its next life, under the next life of inner"
            );
            settled().await;
            assert_eq!(tree.life("inner"), ("running", 2));
            assert_eq!(tree.life("fixed"), ("running", 2));
            assert!(tree.find("added").is_none(), "what was added is not");
            assert_eq!(tree.life("before"), ("running", before));
            assert_eq!(tree.life("after"), ("running", after));
            let counts = counts(&admin);
            assert_eq!((counts.specs, counts.active), (1, 1));
            // Once more, and the root gives up too.
            assert_eq!(end(&child, &error()).await, 2);
            let reason = tree.ended().await;
            assert!(matches!(reason, ExitReason::Escalated { child, .. } if &*child == "inner"));
        });
    }
}

#[test]
fn a_supervisor_that_is_killed_takes_its_children_with_it() {
    paused(async {
        let play = Play::new();
        let inner = SupervisorSpec::new("inner");
        let (spec, child) = play.child("a");
        let brutal = ChildSpec::supervisor(inner.child(spec)).shutdown(Shutdown::Brutal);
        let mut tree = started(root(1, 5).child(brutal)).await;
        assert!(child.running());
        tree.admin.terminate_child("inner").await.unwrap();
        assert!(!child.running(), "it is fenced");
        let standing = tree.admin.restart_child("inner").await;
        assert_eq!(standing, Ok(Started::Running { generation: 2 }));
        settled().await;
        assert_eq!(tree.life("a"), ("running", 2));
        let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE);
        assert_eq!(echo.await, Ok(1));
        tree.stop().await;
        assert_eq!(play.log().matches("a stops").count(), 0, "nobody was asked");
    });
}

#[test]
fn one_death_too_many_escalates_through_the_parent_to_the_root() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        let inner = supervisor("inner", Strategy::OneForOne, 1, 60).child(a);
        let mut tree = started(root(1, 60).child(ChildSpec::supervisor(inner))).await;
        let poison = || child.ask(|reply| Ask::PanicUntil { until: 99, reply }, PATIENCE);
        assert!(matches!(poison().await, Err(AskError::Crashed { .. })));
        // inner gave up once and was restarted by root; its children have new lives on the same slots
        let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
        assert_eq!(echo, Ok(1));
        assert_eq!(tree.node("inner").restarts.get("escalated"), Some(&1));
        assert!(matches!(poison().await, Err(AskError::Crashed { .. })));
        let reason = tree.ended().await;
        assert!(matches!(&reason, ExitReason::Escalated { child, .. } if &**child == "inner"));
        assert_eq!(
            child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await,
            Err(AskError::ShuttingDown)
        );
    });
}
