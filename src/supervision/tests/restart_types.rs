//! Restart types: which end of a child is followed by another life, and what of it is kept.

use std::time::Duration;

use super::play::{
    Ask, Counts, How, PATIENCE, Play, TestTree, counts, end, error, paused, root, settled, started,
};
use crate::supervision::*;

fn normal() -> How {
    How::Exit(ExitReason::Normal)
}

fn shutdown() -> How {
    How::Exit(ExitReason::Shutdown)
}

/// One child of that restart type ends so.
async fn after(restart: Restart, how: How) -> (TestTree, ChildRef<Ask>) {
    let play = Play::new();
    let (spec, child) = play.child("a");
    let tree = started(root(1, 5).child(spec.restart(restart))).await;
    assert_eq!(end(&child, &how).await, 1);
    settled().await;
    (tree, child)
}

/// A permanent child has its next life, and it serves what was asked meanwhile.
async fn restarted(restart: Restart, how: How) {
    let (mut tree, child) = after(restart, how).await;
    assert_eq!(tree.life("a"), ("running", 2));
    let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
    assert_eq!(echo, Ok(1));
    assert_eq!(tree.tree.view().restarts_in_window, Some(1));
    tree.stop().await;
}

#[test]
fn otp_permanent_normal() {
    paused(restarted(Restart::Permanent, normal()));
}

#[test]
fn otp_permanent_shutdown() {
    paused(restarted(Restart::Permanent, shutdown()));
}

#[test]
fn otp_permanent_abnormal() {
    paused(restarted(Restart::Permanent, error()));
}

#[test]
fn otp_permanent_abnormal_keeps_what_is_queued() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let mut tree = started(root(2, 5).child(spec)).await;
        let poison = child.ask(|reply| Ask::PanicUntil { until: 99, reply }, PATIENCE);
        let queued = (0..3).map(|n| child.ask(move |reply| Ask::Echo { n, reply }, PATIENCE));
        let queued: Vec<_> = queued.collect();
        let fatal = poison.await;
        assert!(
            matches!(
                fatal,
                Err(AskError::Crashed {
                    attempts: 2,
                    reason: ExitReason::Panic(_)
                })
            ),
            "{fatal:?}"
        );
        let answers = futures_util::future::join_all(queued).await;
        assert!(answers.into_iter().eq((0..3).map(Ok)));
        tree.stop().await;
    });
}

/// A transient child stays down, its spec is kept, and it can be started by hand.
async fn stays_down(how: How) {
    let (mut tree, child) = after(Restart::Transient, how).await;
    assert_eq!(tree.life("a"), ("ended", 1));
    let late = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
    assert_eq!(late, Err(AskError::ShuttingDown), "nobody waits for it");
    let standing = tree.admin.restart_child("a").await;
    assert_eq!(standing, Ok(Started::Running { generation: 2 }));
    let echo = child.ask(|reply| Ask::Echo { n: 2, reply }, PATIENCE).await;
    assert_eq!(echo, Ok(2));
    assert_eq!(tree.tree.view().restarts_in_window, Some(0));
    tree.stop().await;
}

#[test]
fn otp_transient_normal() {
    paused(stays_down(normal()));
}

#[test]
fn otp_transient_shutdown() {
    paused(stays_down(shutdown()));
}

#[test]
fn otp_transient_abnormal() {
    paused(restarted(Restart::Transient, error()));
}

/// A temporary child is gone, spec and all.
async fn gone(how: How) {
    let (mut tree, child) = after(Restart::Temporary, how).await;
    assert!(tree.find("a").is_none());
    assert_eq!(counts(&tree.admin), Counts::default());
    let again = tree.admin.restart_child("a").await;
    assert_eq!(again, Err(OrderError::NotFound));
    let late = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
    assert_eq!(late, Err(AskError::ShuttingDown));
    tree.stop().await;
}

#[test]
fn otp_temporary_normal() {
    paused(gone(normal()));
}

#[test]
fn otp_temporary_shutdown() {
    paused(gone(shutdown()));
}

#[test]
fn otp_temporary_abnormal() {
    paused(gone(error()));
}

#[test]
fn otp_multiple_restarts() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let mut tree = started(root(1, 1).child(spec)).await;
        for life in 1..=10 {
            assert_eq!(end(&child, &error()).await, life);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(tree.life("a"), ("running", life + 1));
        }
        tree.stop().await;
    });
}
