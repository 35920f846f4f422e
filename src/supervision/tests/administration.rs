//! The administration of children: every order, every refusal, the counts; and that the supervisor answers at once
//! whatever its children are doing.

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use super::play::{
    Ask, Counts, How, PATIENCE, Play, Start, Stop, counts, end, error, paused, root, settled,
    start, started, supervisor,
};
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn otp_child_adm() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(1, 5)).await;
        let admin = tree.admin.clone();
        let running = |generation| Ok(Started::Running { generation });
        assert_eq!(admin.children(), []);
        // start
        assert_eq!(admin.start_child(play.spec("a")).await, running(1));
        let again = admin.start_child(play.spec("a")).await;
        assert_eq!(again, Err(OrderError::AlreadyStarted));
        // A child that runs is neither restarted nor deleted.
        assert_eq!(admin.restart_child("a").await, Err(OrderError::Running));
        assert_eq!(admin.delete_child("a").await, Err(OrderError::Running));
        // terminate, which keeps the spec
        assert_eq!(admin.terminate_child("a").await, Ok(()));
        assert_eq!(admin.terminate_child("a").await, Ok(()), "down is down");
        assert_eq!(tree.life("a"), ("ended", 1));
        let now = counts(&admin);
        assert_eq!((now.specs, now.active, now.workers), (1, 0, 1));
        let again = admin.start_child(play.spec("a")).await;
        assert_eq!(again, Err(OrderError::AlreadyPresent));
        // restart
        assert_eq!(admin.restart_child("a").await, running(2));
        let which = admin.children();
        assert_eq!((&*which[0].name, which[0].generation), ("a", 2));
        // delete, and start anew
        assert_eq!(admin.terminate_child("a").await, Ok(()));
        assert_eq!(admin.delete_child("a").await, Ok(()));
        assert_eq!(admin.children(), []);
        assert_eq!(admin.start_child(play.spec("a")).await, running(1));
        // what is not there
        assert_eq!(admin.terminate_child("z").await, Err(OrderError::NotFound));
        assert_eq!(admin.restart_child("z").await, Err(OrderError::NotFound));
        assert_eq!(admin.delete_child("z").await, Err(OrderError::NotFound));
        tree.stop().await;
        assert_eq!(admin.delete_child("a").await, Err(OrderError::NotRunning));
    });
}

#[test]
fn a_child_that_is_terminated_answers_its_callers_and_is_brought_back_by_its_group() {
    paused(async {
        let play = Play::new();
        let (a, first) = play.child("a");
        let (b, second) = play.child("b");
        let spec = supervisor("root", Strategy::OneForAll, 1, 5);
        let mut tree = started(spec.child(a).child(b)).await;
        tree.admin.terminate_child("b").await.unwrap();
        let echo = || second.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE);
        assert_eq!(echo().await, Err(AskError::ShuttingDown));
        assert_eq!(end(&first, &How::Panic).await, 2);
        settled().await;
        // OTP starts all children of the round, the terminated ones too.
        assert_eq!(tree.life("b"), ("running", 2));
        assert_eq!(echo().await, Ok(1));
        tree.stop().await;
    });
}

#[test]
fn a_start_that_is_ordered_can_be_terminated_before_it_is_ready() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(1, 5)).await;
        play.starts("a", &[Start::Hangs]);
        let admin = tree.admin.clone();
        let spec = play.spec("a");
        let started = actix_rt::spawn(async move { admin.start_child(spec).await });
        settled().await;
        let running = tree.admin.restart_child("a").await;
        assert_eq!(running, Err(OrderError::Running), "it is being started");
        assert_eq!(tree.admin.terminate_child("a").await, Ok(()));
        assert_eq!(started.await.unwrap(), Err(OrderError::Terminated));
        assert_eq!(tree.life("a"), ("ended", 1));
        tree.stop().await;
    });
}

#[test]
fn otp_count_children() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(0, 5)).await;
        for number in 0..2_000 {
            let spec = play.spec(&format!("child {number}"));
            tree.admin.start_child(spec).await.unwrap();
        }
        let inner = SupervisorSpec::new("inner");
        let inner = ChildSpec::supervisor(inner.child(play.spec("below")));
        tree.admin.start_child(inner).await.unwrap();
        let expected = |specs, active, workers| Counts {
            specs,
            active,
            supervisors: 1,
            workers,
        };
        let now = counts(&tree.admin);
        assert_eq!(now, expected(2_001, 2_001, 2_000));
        for number in 0..500 {
            let name = format!("child {number}");
            tree.admin.terminate_child(&name).await.unwrap();
            if number < 100 {
                tree.admin.delete_child(&name).await.unwrap();
            }
        }
        let now = counts(&tree.admin);
        assert_eq!(now, expected(1_901, 1_501, 1_900));
        tree.stop().await;
    });
}

#[test]
fn otp_count_restarting_children() {
    paused(async {
        let play = Play::new();
        let (mut spec, mut children) = (root(99, 60), Vec::new());
        for number in 0..10 {
            let name = format!("child {number}");
            let (child, child_ref) = play.child(&name);
            spec = spec.child(child);
            children.push((name, child_ref));
        }
        let mut tree = started(spec).await;
        for (at, (name, child)) in children.iter().enumerate().take(4) {
            play.starts(name, &[Start::Fails, Start::Fails]);
            end(child, &error()).await;
            // The first restart is at once, and so is the second; the third waits.
            tokio::task::yield_now().await;
            let now = counts(&tree.admin);
            assert_eq!((now.specs, now.active), (10, 9 - at));
        }
        tokio::time::sleep(SECOND).await;
        let now = counts(&tree.admin);
        assert_eq!((now.specs, now.active), (10, 10));
        tree.stop().await;
    });
}

/// A child that can't be restarted, under a supervisor that never gives up and waits 10 ms and more in between.
async fn hanging_restart_loop(strategy: Strategy, jitter: f64) {
    let play = Play::new();
    let backoff = Backoff {
        jitter,
        ..Backoff::default()
    };
    let (spec, child) = play.child("child1");
    let root = supervisor("root", strategy, usize::MAX, 60).backoff(backoff);
    let spec = root.child(spec);
    let mut tree = started(spec.child(play.spec("child2"))).await;
    let admin = tree.admin.clone();
    play.starts("child1", &[Start::Fails; 1_000]);
    end(&child, &error()).await;
    settled().await;
    for _ in 0..20 {
        let begun = Instant::now();
        let restarting = Err(OrderError::Restarting);
        assert_eq!(admin.restart_child("child1").await, restarting.clone());
        let deleted = admin.delete_child("child1").await;
        assert_eq!(deleted, Err(OrderError::Restarting));
        let again = admin.start_child(play.spec("child1")).await;
        assert_eq!(again, Err(OrderError::AlreadyPresent));
        assert_eq!(admin.children()[0].state, "backoff");
        let now = counts(&admin);
        assert_eq!(now.specs, 2);
        assert!(begun.elapsed().is_zero(), "answered at once");
        tokio::time::sleep(SECOND).await;
    }
    // 20 s of 10 ms, 20 ms, 40 ms, ...: no hot loop.
    let starts = play.log().matches("child1 starts").count();
    assert!((10..60).contains(&starts), "{starts} starts");
    // It can be terminated, which ends the loop, and restarted by hand.
    assert_eq!(admin.terminate_child("child1").await, Ok(()));
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(play.log().matches("child1 starts").count(), 0);
    assert_eq!(tree.node("child1").state, "ended");
    play.starts("child1", &[]);
    assert!(admin.restart_child("child1").await.is_ok());
    // In the middle of another loop, the supervisor can be stopped.
    play.starts("child1", &[Start::Fails; 1_000]);
    end(&child, &error()).await;
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    tree.stop().await;
    assert!(begun.elapsed().is_zero());
}

#[test]
fn otp_hanging_restart_loop() {
    paused(hanging_restart_loop(Strategy::OneForOne, 0.0));
}

#[test]
fn otp_hanging_restart_loop_rest_for_one() {
    paused(hanging_restart_loop(Strategy::RestForOne, 0.0));
}

#[test]
fn otp_hanging_restart_loop_with_jitter() {
    paused(hanging_restart_loop(Strategy::OneForOne, 0.5));
}

/// The supervisor answers an order at once; returns what `child` is doing.
async fn at_once(admin: &SupervisorRef, child: &str) -> Cow<'static, str> {
    let begun = Instant::now();
    let refused = admin.delete_child(child).await;
    assert!(matches!(
        refused,
        Err(OrderError::Running | OrderError::Restarting) | Ok(())
    ));
    assert!(begun.elapsed().is_zero(), "no time has passed");
    let children = admin.children();
    let child = children.iter().find(|node| node.name == child);
    child.map_or("deleted".into(), |child| child.state.clone())
}

#[test]
fn the_supervisor_answers_at_once_while_a_child_starts_stops_or_hangs() {
    paused(async {
        let play = Play::new();
        play.starts("a", &[Start::Slow(SECOND)]);
        play.stops("a", Stop::Takes(SECOND));
        let (spec, child) = play.child("a");
        let mut tree = start(root(1, 5).child(spec));
        let admin = tree.admin.clone();
        settled().await;
        let state = admin.children()[0].state.clone();
        assert_eq!(state, "starting");
        // What is ordered of a supervisor that is starting is done when it is up.
        let begun = Instant::now();
        assert_eq!(admin.terminate_child("z").await, Err(OrderError::NotFound));
        assert_eq!(begun.elapsed().as_millis(), 999, "the rest of its start");
        (&mut tree.root.ready).await.unwrap();
        let for_ = SECOND * 2;
        let hangs = child.ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
        settled().await;
        assert_eq!(at_once(&admin, "a").await, "running");
        let other = admin.clone();
        let stops = actix_rt::spawn(async move { other.terminate_child("a").await });
        settled().await;
        assert_eq!(at_once(&admin, "a").await, "stopping");
        let started = admin.start_child(play.spec("b")).await;
        assert!(started.is_ok(), "and does other things meanwhile");
        assert_eq!(stops.await.unwrap(), Ok(()));
        assert_eq!(at_once(&admin, "a").await, "deleted");
        assert_eq!(hangs.await, Err(AskError::ShuttingDown));
        tree.stop().await;
    });
}
