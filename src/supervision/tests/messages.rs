//! Messages through the deaths of their child: nothing that was accepted goes unanswered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::play::{Ask, PATIENCE, Play, Start, paused, root, started};
use crate::supervision::*;

#[test]
fn a_message_survives_the_death_of_the_child_that_had_it() {
    paused(async {
        let (spec, child) = Play::new().child("a");
        let mut tree = started(root(10, 5).child(spec)).await;
        let answer = child
            .ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE)
            .await;
        assert_eq!(answer, Ok(2), "the second life answered");
        let view = tree.tree.view();
        let slot = view.children[0].slot.clone().unwrap();
        assert_eq!(
            (slot.redelivered_total, slot.lost_total, slot.in_flight),
            (1, 0, 0)
        );
        assert_eq!(view.children[0].restarts.get("panic"), Some(&1));
        tree.stop().await;
    });
}

#[test]
fn a_message_that_is_fatal_twice_is_answered_with_the_reason() {
    paused(async {
        let (spec, child) = Play::new().child("a");
        let _tree = started(root(10, 5).child(spec)).await;
        let poison = child.ask(|reply| Ask::PanicUntil { until: 99, reply }, PATIENCE);
        let queued = child.ask(|reply| Ask::Echo { n: 7, reply }, PATIENCE);
        let (poison, queued) = futures_util::future::join(poison, queued).await;
        match poison {
            Err(AskError::Crashed {
                attempts: 2,
                reason: ExitReason::Panic(panic),
            }) => {
                assert_eq!(&*panic.message, "as told");
                assert_eq!(panic.during, Some("panic_until"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(queued, Ok(7), "what was queued behind it is served");
    });
}

#[test]
fn a_dropped_message_is_a_typed_error_and_counts_as_lost() {
    paused(async {
        let (spec, child) = Play::new().child("a");
        let tree = started(root(1, 5).child(spec)).await;
        let answer = child.ask(|reply| Ask::Drop { reply }, PATIENCE).await;
        assert_eq!(answer, Err(AskError::Lost));
        assert_eq!(
            tree.tree.view().children[0]
                .slot
                .clone()
                .unwrap()
                .lost_total,
            1
        );
    });
}

#[test]
fn a_full_queue_refuses_and_a_patient_caller_is_told_when_its_time_is_over() {
    paused(async {
        let (spec, child) = Play::new().child("nobody");
        let wait = Duration::from_secs(3);
        let asks: Vec<_> = (0..5)
            .map(|n| child.ask(move |reply| Ask::Echo { n, reply }, wait))
            .collect();
        let begun = Instant::now();
        let answers = futures_util::future::join_all(asks).await;
        assert_eq!(begun.elapsed(), wait);
        assert_eq!(answers[0], Err(AskError::Expired));
        assert_eq!(
            answers[4],
            Err(AskError::Overloaded {
                retry_after: RETRY_AFTER
            })
        );
        drop(spec);
    });
}

#[test]
fn a_start_that_hangs_is_cut_off_and_restarts_back_off() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("slow");
        let spec = spec.start_timeout(Duration::from_secs(1));
        let tree = started(root(9, 60).child(spec)).await;
        play.starts("slow", &[Start::Hangs; 3]);
        let begun = Instant::now();
        let answer = child
            .ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE)
            .await;
        assert_eq!(answer, Ok(5));
        // at once (it had handled nothing: 0), then timeouts of 1 s with 10 and 20 and 40 ms between
        assert_eq!(begun.elapsed().as_millis(), 3_070);
        assert_eq!(
            tree.tree.view().children[0].restarts.get("start_timeout"),
            Some(&3)
        );
    });
}

#[test]
fn a_hung_child_is_fenced_and_its_message_is_served_by_the_next_life() {
    paused(async {
        let (spec, child) = Play::new().child("a");
        let tree = started(root(9, 5).child(spec)).await;
        let slow = Duration::from_secs(30);
        let ask = child.ask(move |reply| Ask::Sleep { for_: slow, reply }, PATIENCE);
        let answer = Rc::new(RefCell::new(None));
        let to = Rc::clone(&answer);
        let waiting = actix_rt::spawn(async move { *to.borrow_mut() = Some(ask.await) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        tree.root.hung(0, 1, Duration::from_secs(1));
        waiting.await.unwrap();
        // The task of the first life was dropped; the second life takes as long again.
        assert_eq!(*answer.borrow(), Some(Ok(2)));
        let view = tree.tree.view();
        assert_eq!(
            (view.children[0].generation, view.children[0].zombies),
            (2, 0)
        );
        assert_eq!(
            child.ask(|reply| Ask::Echo { n: 3, reply }, PATIENCE).await,
            Ok(3)
        );
    });
}

struct Batches {
    life: u64,
}

impl BlockingChild for Batches {
    type Message = Ask;

    fn handle(&mut self, batch: &[Delivery<Ask>]) -> Result<(), BoxError> {
        for message in batch {
            match &**message {
                Ask::Echo { n, reply } => drop(reply.settle(Ok(*n))),
                Ask::PanicUntil { until, reply } => {
                    assert!(message.commit_to(PATIENCE));
                    if self.life <= *until {
                        return Err("as told".into());
                    }
                    reply.settle(Ok(self.life));
                }
                Ask::Drop { .. } | Ask::Sleep { .. } | Ask::End { .. } | Ask::Tell => {}
            }
        }
        Ok(())
    }
}

#[test]
fn a_blocking_child_keeps_its_batch_through_a_death_and_stops_when_asked() {
    actix_rt::System::new().block_on(async {
        let limits = QueueLimits {
            messages: 100,
            bytes: 1 << 20,
        };
        let (slot, child) = Slot::with_limits("writer", limits);
        let batch = BatchLimits {
            messages: 8,
            bytes: 1 << 20,
        };
        let spec = ChildSpec::blocking(&slot, batch, |life: Incarnation| {
            Ok(Batches {
                life: life.generation(),
            })
        });
        let prepared = PreparedTree::new(root(9, 5).child(spec)).unwrap();
        let mut root = prepared.start(Env::default());
        let asks = (0..20).map(|n| child.ask(move |reply| Ask::Echo { n, reply }, PATIENCE));
        let asks: Vec<_> = asks.collect();
        let poison = child.ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE);
        let fatal = child.ask(|reply| Ask::PanicUntil { until: 9, reply }, PATIENCE);
        (&mut root.ready).await.unwrap();
        let bystanders = (0..4).map(|n| child.ask(move |reply| Ask::Echo { n, reply }, PATIENCE));
        let bystanders: Vec<_> = bystanders.collect();
        let answers = futures_util::future::join_all(asks).await;
        assert!(answers.into_iter().eq((0..20).map(Ok)));
        let answers = futures_util::future::join_all(bystanders).await;
        assert!(
            answers.into_iter().eq((0..4).map(Ok)),
            "a fatal message takes no other with it"
        );
        assert_eq!(poison.await, Ok(2));
        assert_eq!(
            fatal.await,
            Err(AskError::OutcomeUnknown),
            "it had passed the point of no return"
        );
        root.stopper().stop();
        let end = root.exit.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(end, Some(ExitReason::Shutdown));
    });
}

#[test]
fn starts_that_fail_back_off_although_the_life_before_had_handled_something() {
    actix_rt::System::new().block_on(async {
        let (slot, child) = Slot::new("writer");
        let batch = BatchLimits {
            messages: 8,
            bytes: 1 << 20,
        };
        let spec = ChildSpec::blocking(&slot, batch, |life: Incarnation| match life.generation() {
            1 | 6.. => Ok(Batches {
                life: life.generation(),
            }),
            _ => Err(StartError::failed("the disk is away")),
        });
        let prepared = PreparedTree::new(root(9, 5).child(spec)).unwrap();
        let tree = prepared.tree();
        let _running = prepared.start(Env::default());
        let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE);
        assert_eq!(echo.await, Ok(1), "it handled something");
        let fatal = child.ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE);
        assert_eq!(fatal.await, Ok(6));
        let exits = &tree.view().children[0].exits;
        let delays: Vec<_> = exits
            .iter()
            .map(|exit| exit.restart_delay_seconds)
            .collect();
        let expected = [0.0, 0.0, 0.01, 0.02, 0.04].map(Some);
        assert_eq!(delays, expected);
    });
}

#[test]
fn a_refused_message_comes_back_with_an_error_that_says_why() {
    let limits = QueueLimits {
        messages: 0,
        bytes: 0,
    };
    let (_slot, child) = Slot::<Ask>::with_limits("full", limits);
    let refused = child.tell(Ask::Tell).unwrap_err();
    assert!(matches!(refused.message, Ask::Tell));
    let error: Box<dyn std::error::Error> = Box::new(refused);
    assert_eq!(error.to_string(), "the queue is full: try again later");
}

#[test]
fn the_last_exits_are_kept_with_their_times_causes_and_delays() {
    paused(async {
        let (spec, child) = Play::new().child("a");
        let tree = started(root(99, 5).child(spec)).await;
        for _ in 0..11 {
            let how = ExitReason::Error("as told".into());
            child
                .ask(|reply| Ask::End { how, reply }, PATIENCE)
                .await
                .unwrap();
            super::play::settled().await;
        }
        let node = tree.node("a");
        let generations: Vec<_> = node.exits.iter().map(|exit| exit.generation).collect();
        assert_eq!(generations, [4, 5, 6, 7, 8, 9, 10, 11], "a bounded number");
        let last = node.exits.last().unwrap();
        assert_eq!((&*last.cause, &*last.reason), ("error", "error: as told"));
        assert_eq!(last.restart_delay_seconds, Some(0.0));
        assert_eq!(node.last_exit.as_ref(), Some(&last.reason));
        assert_eq!(node.last_exit_at.as_ref(), Some(&last.at));
        assert!(humantime::parse_rfc3339(&last.at).is_ok(), "{}", last.at);
        assert!(last.at.ends_with('Z'), "{}", last.at);
        let buckets = node.restart_times.buckets();
        assert_eq!(buckets.iter().map(|(_, n)| n).sum::<u64>(), 11);
        assert!(ExitReason::CAUSES.contains(&&*last.cause));
    });
}
