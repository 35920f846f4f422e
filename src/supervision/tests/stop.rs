//! Stops: each child within its shutdown, in reverse order, whatever else it is doing.

use std::time::Duration;

use tokio::time::Instant;

use super::play::{Ask, PATIENCE, Play, Stop, TestTree, paused, root, settled, started};
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);
const RESTARTS: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];

#[test]
fn otp_sup_stop_infinity() {
    paused(async {
        let play = Play::new();
        let long = SECOND * 1_000;
        play.stops("a", Stop::Takes(long));
        let patient = |spec: ChildSpec| spec.shutdown(Shutdown::Infinity);
        let inner = SupervisorSpec::new("inner").child(patient(play.spec("a")));
        let spec = root(1, 5).child(ChildSpec::supervisor(inner));
        let mut tree = started(spec.child(patient(play.spec("b")))).await;
        let begun = Instant::now();
        tree.stop().await;
        assert_eq!(begun.elapsed(), long);
        for name in ["a", "b", "inner"] {
            assert_eq!(tree.node(name).last_exit.as_deref(), Some("shutdown"));
        }
    });
}

/// Stops one polite and one deaf child within a second, and tells how they ended.
async fn stop_timeout(mut tree: TestTree) {
    let begun = Instant::now();
    tree.stop().await;
    assert_eq!(begun.elapsed(), SECOND, "the deaf one had its deadline");
    assert_eq!(tree.node("polite").last_exit.as_deref(), Some("shutdown"));
    assert_eq!(tree.node("deaf").last_exit.as_deref(), Some("killed"));
}

#[test]
fn otp_sup_stop_timeout() {
    paused(async {
        let play = Play::new();
        play.stops("deaf", Stop::Hangs);
        let limited = |name| play.spec(name).shutdown(Shutdown::Timeout(SECOND));
        let spec = root(1, 5).child(limited("polite")).child(limited("deaf"));
        stop_timeout(started(spec).await).await;
    });
}

#[test]
fn otp_sup_stop_timeout_dynamic() {
    paused(async {
        let play = Play::new();
        play.stops("deaf", Stop::Hangs);
        let tree = started(root(1, 5)).await;
        for name in ["polite", "deaf"] {
            let spec = play.spec(name).shutdown(Shutdown::Timeout(SECOND));
            tree.admin.start_child(spec).await.unwrap();
        }
        let begun = Instant::now();
        tree.admin.terminate_child("deaf").await.unwrap();
        assert_eq!(begun.elapsed(), SECOND);
        tree.admin.terminate_child("polite").await.unwrap();
        assert_eq!(begun.elapsed(), SECOND);
        let polite = tree.node("polite").last_exit;
        assert_eq!(polite.as_deref(), Some("stopped by order"));
        assert_eq!(tree.node("deaf").last_exit.as_deref(), Some("killed"));
    });
}

#[test]
fn otp_sup_stop_brutal_kill() {
    paused(async {
        let play = Play::new();
        let brutal = play.spec("brutal").shutdown(Shutdown::Brutal);
        let mut tree = started(root(1, 5).child(play.spec("polite")).child(brutal)).await;
        play.log();
        let begun = Instant::now();
        tree.stop().await;
        assert!(begun.elapsed().is_zero());
        assert_eq!(tree.node("brutal").last_exit.as_deref(), Some("killed"));
        assert_eq!(
            play.log(),
            "polite stops, polite stopped",
            "it was not asked"
        );
    });
}

#[test]
fn otp_sup_stop_brutal_kill_dynamic() {
    paused(async {
        let play = Play::new();
        let tree = started(root(1, 5)).await;
        let (spec, child) = play.child("brutal");
        let spec = spec.shutdown(Shutdown::Brutal);
        tree.admin.start_child(spec).await.unwrap();
        let for_ = SECOND;
        let in_hand = child.ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
        settled().await;
        tree.admin.terminate_child("brutal").await.unwrap();
        assert_eq!(tree.node("brutal").last_exit.as_deref(), Some("killed"));
        // What it had in hand went back to the queue, and is answered: there will be no other life.
        assert_eq!(in_hand.await, Err(AskError::ShuttingDown));
    });
}

/// Twelve children of all kinds end by themselves, each in its way, while the last one takes its time to stop.
async fn race(play: &std::sync::Arc<Play>, tree: &mut TestTree, children: Vec<ChildRef<Ask>>) {
    let reasons = [
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::Error("abnormal".into()),
        ExitReason::Killed,
    ];
    tree.root.stopper().stop();
    settled().await;
    assert!(play.log().ends_with("slow stops"), "the stop is under way");
    for (child, reason) in children.iter().zip(reasons.iter().cycle()) {
        let how = reason.clone();
        let told = child.ask(|reply| Ask::End { how, reply }, PATIENCE).await;
        assert_eq!(told, Ok(1));
    }
    assert_eq!(tree.ended().await, ExitReason::Shutdown);
    assert_eq!(play.log(), "slow stopped", "what had ended was not stopped");
    for (child, reason) in children.iter().zip(reasons.iter().cycle()) {
        let node = tree.node(child.name());
        let kept = reason.to_string();
        assert_eq!((&*node.state, node.last_exit), ("ended", Some(kept)));
    }
}

#[test]
fn otp_sup_stop_race() {
    paused(async {
        let play = Play::new();
        play.stops("slow", Stop::Takes(SECOND));
        let (mut spec, mut children) = (root(0, 5), Vec::new());
        for number in 0..12 {
            let (child, child_ref) = play.child(&format!("child {number}"));
            spec = spec.child(child.restart(RESTARTS[number / 4]));
            children.push(child_ref);
        }
        let mut tree = started(spec.child(play.spec("slow"))).await;
        race(&play, &mut tree, children).await;
    });
}

#[test]
fn otp_sup_stop_non_shutdown_exit_dynamic() {
    paused(async {
        let play = Play::new();
        play.stops("slow", Stop::Takes(SECOND));
        let inner = SupervisorSpec::new("inner");
        let admin = inner.supervisor_ref();
        let mut tree = started(root(0, 5).child(ChildSpec::supervisor(inner))).await;
        let mut children = Vec::new();
        for number in 0..12 {
            let (child, child_ref) = play.child(&format!("child {number}"));
            let child = child.restart(RESTARTS[number / 4]);
            admin.start_child(child).await.unwrap();
            children.push(child_ref);
        }
        admin.start_child(play.spec("slow")).await.unwrap();
        race_dynamic(&play, &mut tree, &admin, &children).await;
    });
}

/// As [`race`], where the children are gone with their supervisor, so that their reasons are asked for before.
async fn race_dynamic(
    play: &std::sync::Arc<Play>,
    tree: &mut TestTree,
    admin: &SupervisorRef,
    children: &[ChildRef<Ask>],
) {
    tree.root.stopper().stop();
    settled().await;
    assert!(play.log().ends_with("slow stops"));
    for (number, child) in children.iter().enumerate() {
        let how = ExitReason::Error(format!("reason {number}").into());
        let told = child.ask(|reply| Ask::End { how, reply }, PATIENCE).await;
        assert_eq!(told, Ok(1));
        settled().await;
        let found = admin.children();
        let node = found.iter().find(|node| node.name == child.name()).unwrap();
        let kept = format!("error: reason {number}");
        assert_eq!(node.last_exit, Some(kept));
    }
    assert_eq!(tree.ended().await, ExitReason::Shutdown);
    assert_eq!(play.log(), "slow stopped");
    assert!(tree.find("slow").is_none());
}
