//! Changes of a supervisor while it runs: its limits, and children that are added and removed for good.

use std::time::Duration;

use super::play::{
    Ask, How, PATIENCE, Play, Start, Stop, end, error, paused, root, settled, started, supervisor,
};
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits(strategy: Strategy, max_restarts: usize) -> SupervisorLimits {
    let period = SECOND * 5;
    SupervisorLimits {
        strategy,
        intensity: Intensity {
            max_restarts,
            period,
        },
        backoff: Backoff {
            jitter: 0.0,
            ..Backoff::default()
        },
        start_timeout: None,
        stop_timeout: None,
    }
}

fn names(admin: &SupervisorRef) -> Vec<String> {
    let children = admin.children().into_iter();
    children.map(|child| child.name).collect()
}

/// OTP: new flags are taken over by a supervisor that runs, and a faulty specification changes nothing.
#[test]
fn otp_code_change() {
    paused(async {
        let play = Play::new();
        let (a, first) = play.child("a");
        let mut tree = started(root(1, 5).child(a).child(play.spec("b"))).await;
        end(&first, &error()).await;
        settled().await;
        let lives = |tree: &super::play::TestTree| (tree.life("a"), tree.life("b"));
        assert_eq!(lives(&tree), (("running", 2), ("running", 1)));
        // The second death would be one too many, and only one child would be restarted.
        let admin = tree.admin.clone();
        assert_eq!(admin.set_limits(limits(Strategy::OneForAll, 2)), Ok(()));
        end(&first, &error()).await;
        settled().await;
        assert_eq!(lives(&tree), (("running", 3), ("running", 2)));
        let faulty = SupervisorLimits {
            start_timeout: Some(Duration::ZERO),
            ..limits(Strategy::OneForOne, 99)
        };
        let refused = admin.set_limits(faulty).unwrap_err();
        assert_eq!(refused.0, [SpecFault::StartTimeout("root".into())]);
        // Nothing has changed: the third death within the period is one too many.
        end(&first, &error()).await;
        assert!(matches!(tree.ended().await, ExitReason::Escalated { .. }));
    });
}

#[test]
fn limits_that_were_changed_outlive_the_supervisor() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        let inner = supervisor("inner", Strategy::OneForOne, 9, 5);
        let address = inner.supervisor_ref();
        let mut tree = started(root(9, 5).child(inner.child(a))).await;
        assert_eq!(address.set_limits(limits(Strategy::OneForOne, 0)), Ok(()));
        for generation in 2..4 {
            end(&child, &error()).await;
            tokio::time::sleep(SECOND).await;
            assert_eq!(tree.life("inner"), ("running", generation));
        }
        tree.stop().await;
    });
}

#[test]
fn a_start_timeout_that_was_changed_counts_from_the_next_start() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(9, 5).child(play.spec("a"))).await;
        play.starts("a", &[Start::Hangs]);
        let changed = SupervisorLimits {
            start_timeout: Some(SECOND),
            ..limits(Strategy::OneForOne, 9)
        };
        assert_eq!(tree.admin.set_limits(changed), Ok(()));
        let begun = tokio::time::Instant::now();
        let renewed = tree.admin.renew_child("a").await;
        assert_eq!(renewed, Ok(Started::Running { generation: 3 }));
        assert_eq!(begun.elapsed().as_secs(), 1);
        let exit = tree.node("a").exits.pop().unwrap();
        assert_eq!(exit.reason, "not ready within 1s");
        tree.stop().await;
    });
}

#[test]
fn a_stop_timeout_that_was_changed_counts_from_the_next_stop() {
    paused(async {
        let play = Play::new();
        let tree = started(root(9, 5).child(play.spec("a"))).await;
        play.stops("a", Stop::Hangs);
        let changed = SupervisorLimits {
            stop_timeout: Some(SECOND),
            ..limits(Strategy::OneForOne, 9)
        };
        assert_eq!(tree.admin.set_limits(changed), Ok(()));
        let begun = tokio::time::Instant::now();
        assert_eq!(tree.admin.terminate_child("a").await, Ok(()));
        assert_eq!(begun.elapsed().as_secs(), 1);
        drop(tree);
    });
}

/// OTP keeps the restarts that were counted when the intensity changes.
#[test]
fn restarts_that_were_counted_count_for_an_intensity_that_was_changed() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        let mut tree = started(root(9, 5).child(a)).await;
        for _ in 0..2 {
            end(&child, &error()).await;
            settled().await;
        }
        assert_eq!(tree.life("a"), ("running", 3));
        let changed = limits(Strategy::RestForOne, 2);
        assert_eq!(tree.admin.set_limits(changed), Ok(()));
        settled().await;
        assert_eq!(tree.life("a"), ("running", 3), "a change restarts nothing");
        end(&child, &error()).await;
        assert!(matches!(tree.ended().await, ExitReason::Escalated { .. }));
    });
}

#[test]
fn children_are_added_at_their_place_and_outlive_the_supervisor() {
    paused(async {
        let play = Play::new();
        let (c, child) = play.child("c");
        let inner = supervisor("inner", Strategy::OneForOne, 0, 5);
        let inner = inner.child(play.spec("a")).child(c);
        let admin = inner.supervisor_ref();
        let mut tree = started(root(9, 5).child(inner)).await;
        let running = Ok(Started::Running { generation: 1 });
        assert_eq!(admin.add_child(play.spec("b"), Some("c")).await, running);
        assert_eq!(admin.add_child(play.spec("0"), Some("a")).await, running);
        assert_eq!(admin.add_child(play.spec("d"), None).await, running);
        assert_eq!(admin.start_child(play.spec("guest")).await, running);
        assert_eq!(names(&admin), ["0", "a", "b", "c", "d", "guest"]);
        assert_eq!(admin.remove_child("a").await, Ok(()));
        let absent = admin.add_child(play.spec("x"), Some("a")).await;
        assert_eq!(absent, Err(OrderError::NotFound));
        let present = admin.add_child(play.spec("d"), None).await;
        assert_eq!(present, Err(OrderError::AlreadyStarted));
        play.log();
        // The supervisor gives up and is restarted with the children that it has now, in their order.
        end(&child, &error()).await;
        settled().await;
        assert_eq!(tree.life("inner"), ("running", 2));
        assert_eq!(names(&admin), ["0", "b", "c", "d"]);
        let log = play.log();
        assert!(
            log.ends_with("0 starts, 0 runs, b starts, b runs, c starts, c runs, d starts, d runs"),
            "{log}"
        );
        tree.stop().await;
        assert!(play.log().starts_with("d stops, d stopped, c stops"));
    });
}

#[test]
fn a_child_whose_start_fails_was_not_added() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        let inner = supervisor("inner", Strategy::OneForOne, 0, 5).child(a);
        let admin = inner.supervisor_ref();
        let mut tree = started(root(9, 5).child(inner)).await;
        play.starts("b", &[Start::Fails]);
        let failed = admin.add_child(play.spec("b"), None).await;
        assert!(matches!(failed, Err(OrderError::StartFailed(_))));
        end(&child, &How::Panic).await;
        settled().await;
        assert_eq!(tree.life("inner"), ("running", 2));
        assert_eq!(names(&admin), ["a"]);
        tree.stop().await;
    });
}

#[test]
fn a_child_that_is_removed_answers_what_it_has_accepted_first() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        let mut tree = started(root(1, 5).child(a).child(play.spec("b"))).await;
        play.stops("a", Stop::Takes(SECOND * 3));
        let for_ = SECOND;
        let in_hand = child.ask(|reply| Ask::Sleep { for_, reply }, PATIENCE);
        settled().await;
        let admin = tree.admin.clone();
        let removed = actix_rt::spawn(async move { admin.remove_child("a").await });
        assert_eq!(in_hand.await, Ok(1));
        assert_eq!(removed.await.unwrap(), Ok(()));
        assert_eq!(names(&tree.admin), ["b"]);
        let again = tree.admin.remove_child("a").await;
        assert_eq!(again, Err(OrderError::NotFound));
        tree.stop().await;
    });
}

/// Whatever happens while it stops, it does not come back.
#[test]
fn a_child_that_is_being_removed_is_never_restarted() {
    paused(async {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
            let play = Play::new();
            let (c, giving_up) = play.child("c");
            let inner = supervisor("inner", strategy, 1, 5)
                .child(play.spec("a"))
                .child(c);
            let admin = inner.supervisor_ref();
            let mut tree = started(root(9, 5).child(inner)).await;
            for name in ["b", "d"] {
                let added = admin.add_child(play.spec(name), None).await;
                assert_eq!(added, Ok(Started::Running { generation: 1 }));
                assert_eq!(tree.node(name).change, Some(TreeChange::Added));
            }
            for name in ["a", "b"] {
                play.stops(name, Stop::Takes(SECOND * 3));
                let begun = tokio::time::Instant::now();
                assert!(admin.begin_removal(name, false).await.is_ok());
                assert!(begun.elapsed() < SECOND, "it does not wait");
                settled().await;
                let node = tree.node(name);
                assert_eq!(node.change, Some(TreeChange::Removed));
                assert!(node.in_passing() && node.state == "stopping");
            }
            // The supervisor is restarted meanwhile.
            for _ in 0..2 {
                end(&giving_up, &error()).await;
                tokio::time::sleep(SECOND).await;
            }
            tokio::time::sleep(SECOND * 5).await;
            assert_eq!(tree.life("inner"), ("running", 2), "{strategy:?}");
            assert_eq!(names(&admin), ["c", "d"]);
            tree.stop().await;
        }
    });
}

#[test]
fn there_is_room_for_many_children_at_one_place_and_the_error_says_when_there_is_none() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(1, 5).child(play.spec("last"))).await;
        // As one admin listener replaces another: the new one is there before the old one goes.
        for n in 0..1_000 {
            let spec = play.spec(&format!("child {n}"));
            let added = tree.admin.add_child(spec, Some("last")).await;
            assert!(added.is_ok(), "{n}: {added:?}");
            if n > 0 {
                let old = format!("child {}", n - 1);
                assert_eq!(tree.admin.remove_child(&old).await, Ok(()));
            }
        }
        assert_eq!(names(&tree.admin), ["child 999", "last"]);
        // The old ones may stay, too.
        for n in 1_000..2_000 {
            let spec = play.spec(&format!("child {n}"));
            assert!(tree.admin.add_child(spec, Some("last")).await.is_ok());
        }
        let mut expected: Vec<_> = (999..2_000).map(|n| format!("child {n}")).collect();
        expected.push("last".to_owned());
        assert_eq!(names(&tree.admin), expected);
        let (mut before, mut added) = ("last".to_owned(), 0);
        let full = loop {
            let name = format!("nested {added}");
            match tree.admin.add_child(play.spec(&name), Some(&before)).await {
                Ok(_) => added += 1,
                Err(error) => break error,
            }
            before = name;
        };
        assert_eq!((added, full), (17, OrderError::NoRoom));
        let behind = tree.admin.add_child(play.spec("behind"), None).await;
        assert!(behind.is_ok());
        tree.stop().await;
    });
}

#[test]
fn a_queue_takes_as_many_messages_as_its_limits_say_now() {
    paused(async {
        let play = Play::new();
        let (a, child) = play.child("a");
        play.starts("a", &[Start::Slow(SECOND)]);
        let mut tree = super::play::start(root(1, 5).child(a));
        settled().await;
        let limits = |messages| QueueLimits {
            messages,
            bytes: 1 << 20,
        };
        child.set_limits(limits(2));
        let fits = |n| child.tell(Ask::Tell).is_ok() == n;
        assert!(fits(true) && fits(true) && fits(false));
        child.set_limits(limits(1));
        assert_eq!(child.queue_messages(), 2, "what waits stays");
        child.set_limits(limits(3));
        assert!(fits(true) && fits(false));
        (&mut tree.root.ready).await.unwrap();
        tree.stop().await;
    });
}
