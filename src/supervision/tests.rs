//! Supervision as a child and its callers see it: on one thread, on a paused clock, with the real actors.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// Runs a test inside an actix system whose clock is paused.
fn paused<F: Future<Output = ()> + 'static>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    system.block_on(test);
}

#[derive(Debug)]
enum Ask {
    Echo {
        n: u32,
        reply: ReplyTo<u32, String>,
    },
    /// Panics in every life whose number is not above `until`.
    PanicUntil {
        until: u64,
        reply: ReplyTo<u64, String>,
    },
    Drop {
        #[expect(dead_code, reason = "dropped with its message")]
        reply: ReplyTo<(), String>,
    },
    /// Never ends: a simulated hang.
    Sleep {
        for_: Duration,
        reply: ReplyTo<u64, String>,
    },
}

impl Message for Ask {
    fn kind(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::PanicUntil { .. } => "panic_until",
            Self::Drop { .. } => "drop",
            Self::Sleep { .. } => "sleep",
        }
    }
}

struct Echo {
    life: u64,
    log: Log,
    name: &'static str,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Child for Echo {
    type Message = Ask;

    fn handle(&mut self, message: Delivery<Ask>, cx: &mut Cx) {
        match &*message {
            Ask::Echo { n, reply } => assert!(reply.settle(Ok(*n))),
            Ask::PanicUntil { until, reply } => {
                assert!(self.life > *until, "as told");
                reply.settle(Ok(self.life));
            }
            Ask::Drop { .. } => {}
            Ask::Sleep { for_, .. } => {
                let (for_, life) = (*for_, self.life);
                cx.spawn(async move {
                    tokio::time::sleep(for_).await;
                    if let Ask::Sleep { reply, .. } = &*message {
                        reply.settle(Ok(life));
                    }
                });
            }
        }
    }

    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} stops", self.name));
        Box::pin(async {})
    }
}

const LIMITS: QueueLimits = QueueLimits {
    messages: 4,
    bytes: 1 << 20,
};
const PATIENCE: Duration = Duration::from_secs(60);

fn echo(name: &'static str, log: &Log) -> (ChildSpec, ChildRef<Ask>) {
    let (slot, child) = Slot::new(name, LIMITS, Clock::default());
    let log = Arc::clone(log);
    let spec = ChildSpec::actor(&slot, Placement::Own, Faults::none(), move |life| {
        let log = Arc::clone(&log);
        Box::pin(async move {
            log.lock().unwrap().push(format!("{name} starts"));
            Ok(Echo {
                life: life.generation(),
                log,
                name,
            })
        })
    });
    (spec, child)
}

fn flags(max_restarts: usize, seconds: u64) -> Flags {
    let intensity = Intensity {
        max_restarts,
        period: Duration::from_secs(seconds),
    };
    Flags {
        intensity,
        backoff: Backoff {
            jitter: 0.0,
            ..Backoff::default()
        },
        ..Flags::default()
    }
}

async fn grown(spec: SupervisorSpec) -> (Root, Tree) {
    let seed = Seed::new(spec, Clock::default());
    let tree = seed.tree();
    let mut root = seed.grow(Clock::default(), Placer::inline(), None);
    (&mut root.ready).await.expect("the tree starts");
    (root, tree)
}

async fn ended(mut root: Root) -> ExitReason {
    let exit = root.exit.wait_for(Option::is_some).await.expect("an end");
    exit.clone().expect("a reason")
}

#[test]
fn a_message_survives_the_death_of_the_child_that_had_it() {
    paused(async {
        let log = Log::default();
        let (spec, child) = echo("a", &log);
        let (root, tree) = grown(SupervisorSpec::new("root", flags(10, 5)).child(spec)).await;
        let answer = child
            .ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE)
            .await;
        assert_eq!(answer, Ok(2), "the second life answered");
        let view = tree.view();
        let slot = view.children[0].slot.clone().unwrap();
        assert_eq!(
            (slot.redelivered_total, slot.lost_total, slot.in_flight),
            (1, 0, 0)
        );
        assert_eq!(view.children[0].restarts.get("panic"), Some(&1));
        root.stopper().stop();
        assert_eq!(ended(root).await, ExitReason::Shutdown);
    });
}

#[test]
fn a_message_that_is_fatal_twice_is_answered_with_the_reason() {
    paused(async {
        let log = Log::default();
        let (spec, child) = echo("a", &log);
        let (_root, _) = grown(SupervisorSpec::new("root", flags(10, 5)).child(spec)).await;
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
        let (spec, child) = echo("a", &Log::default());
        let (_root, tree) = grown(SupervisorSpec::new("root", flags(1, 5)).child(spec)).await;
        let answer = child.ask(|reply| Ask::Drop { reply }, PATIENCE).await;
        assert_eq!(answer, Err(AskError::Lost));
        assert_eq!(tree.view().children[0].slot.clone().unwrap().lost_total, 1);
    });
}

#[test]
fn a_full_queue_refuses_and_a_patient_caller_is_told_when_its_time_is_over() {
    paused(async {
        let (slot, child) = Slot::<Ask>::new("nobody", LIMITS, Clock::default());
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
        drop(slot);
    });
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    paused(async {
        let log = Log::default();
        let (a, _) = echo("a", &log);
        let (b, _) = echo("b", &log);
        let (c, _) = echo("c", &log);
        let inner = SupervisorSpec::new("inner", flags(1, 5)).child(b).child(c);
        let spec = SupervisorSpec::new("root", flags(1, 5))
            .child(a)
            .child(ChildSpec::supervisor(inner));
        let (root, tree) = grown(spec).await;
        assert!(tree.view().children.iter().all(NodeView::running));
        root.stopper().stop();
        assert_eq!(ended(root).await, ExitReason::Shutdown);
        let log = log.lock().unwrap().join(", ");
        assert_eq!(
            log,
            "a starts, b starts, c starts, c stops, b stops, a stops"
        );
    });
}

#[test]
fn one_death_too_many_escalates_through_the_parent_to_the_root() {
    paused(async {
        let (a, child) = echo("a", &Log::default());
        let inner = SupervisorSpec::new("inner", flags(1, 60)).child(a);
        let spec = SupervisorSpec::new("root", flags(1, 60)).child(ChildSpec::supervisor(inner));
        let (root, tree) = grown(spec).await;
        let poison = || child.ask(|reply| Ask::PanicUntil { until: 99, reply }, PATIENCE);
        assert!(matches!(poison().await, Err(AskError::Crashed { .. })));
        // inner gave up once and was restarted by root; its children have new lives on the same slots
        let echo = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
        assert_eq!(echo, Ok(1));
        assert_eq!(tree.view().children[0].restarts.get("escalated"), Some(&1));
        assert!(matches!(poison().await, Err(AskError::Crashed { .. })));
        let reason = ended(root).await;
        assert!(matches!(&reason, ExitReason::Escalated { child, .. } if &**child == "inner"));
        let late = child.ask(|reply| Ask::Echo { n: 1, reply }, PATIENCE).await;
        assert_eq!(late, Err(AskError::ShuttingDown));
    });
}

#[test]
fn a_child_that_cannot_start_ends_the_boot_and_names_the_cause() {
    paused(async {
        let log = Log::default();
        let (a, _) = echo("a", &log);
        let (slot, _child) = Slot::<Ask>::new("b", LIMITS, Clock::default());
        let b = ChildSpec::actor::<Echo>(&slot, Placement::Own, Faults::none(), |_| {
            Box::pin(async { Err(StartError::failed("no luck")) })
        });
        let seed = Seed::new(
            SupervisorSpec::new("root", flags(9, 5)).child(a).child(b),
            Clock::default(),
        );
        let root = seed.grow(Clock::default(), Placer::inline(), None);
        assert_eq!(
            ended(root).await.to_string(),
            "could not start: b: could not start: no luck"
        );
        assert_eq!(*log.lock().unwrap(), ["a starts", "a stops"]);
    });
}

#[test]
fn a_start_that_hangs_is_cut_off_and_restarts_back_off() {
    paused(async {
        let starts = Arc::new(AtomicU32::new(0));
        let (slot, child) = Slot::<Ask>::new("slow", LIMITS, Clock::default());
        let count = Arc::clone(&starts);
        let spec = ChildSpec::actor(&slot, Placement::Own, Faults::none(), move |life| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                // The first life is fine, the next three never become ready.
                if (1..4).contains(&nth) {
                    std::future::pending::<()>().await;
                }
                Ok(Echo {
                    life: life.generation(),
                    log: Log::default(),
                    name: "slow",
                })
            })
        })
        .start_timeout(Duration::from_secs(1));
        let (_root, tree) = grown(SupervisorSpec::new("root", flags(9, 60)).child(spec)).await;
        let begun = Instant::now();
        let answer = child
            .ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE)
            .await;
        assert_eq!(answer, Ok(5));
        // at once (it had handled nothing: 0), then timeouts of 1 s with 10 and 20 and 40 ms between
        assert_eq!(begun.elapsed().as_millis(), 3_070);
        assert_eq!(
            tree.view().children[0].restarts.get("start_timeout"),
            Some(&3)
        );
    });
}

#[test]
fn a_hung_child_is_fenced_and_its_message_is_served_by_the_next_life() {
    paused(async {
        let (spec, child) = echo("a", &Log::default());
        let (root, tree) = grown(SupervisorSpec::new("root", flags(9, 5)).child(spec)).await;
        let slow = Duration::from_secs(30);
        let ask = child.ask(move |reply| Ask::Sleep { for_: slow, reply }, PATIENCE);
        let answer = Rc::new(RefCell::new(None));
        let to = Rc::clone(&answer);
        let waiting = actix_rt::spawn(async move { *to.borrow_mut() = Some(ask.await) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        root.hung(0, 1, Duration::from_secs(1));
        waiting.await.unwrap();
        // The zombie's answer at 30 s came first: whoever answers first, there is one answer.
        assert!(answer.borrow().as_ref().unwrap().is_ok());
        let view = tree.view();
        assert_eq!(
            (view.children[0].generation, view.children[0].zombies),
            (2, 1)
        );
        assert_eq!(
            child.ask(|reply| Ask::Echo { n: 3, reply }, PATIENCE).await,
            Ok(3)
        );
    });
}

#[test]
fn one_for_all_and_rest_for_one_restart_their_groups_in_order() {
    for (strategy, expected) in [
        (
            Strategy::OneForAll,
            "c stops, a stops, a starts, b starts, c starts",
        ),
        (Strategy::RestForOne, "c stops, b starts, c starts"),
    ] {
        paused(async move {
            let log = Log::default();
            let (a, _) = echo("a", &log);
            let (b, child) = echo("b", &log);
            let (c, _) = echo("c", &log);
            let flags = Flags {
                strategy,
                ..flags(9, 5)
            };
            let spec = SupervisorSpec::new("root", flags)
                .child(a)
                .child(b)
                .child(c);
            let (_root, _) = grown(spec).await;
            log.lock().unwrap().clear();
            child
                .ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE)
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(log.lock().unwrap().join(", "), expected);
        });
    }
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
                Ask::Drop { .. } | Ask::Sleep { .. } => {}
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
        let (slot, child) = Slot::new("writer", limits, Clock::default());
        let batch = BatchLimits {
            messages: 8,
            bytes: 1 << 20,
        };
        let spec = ChildSpec::blocking(&slot, batch, Faults::none(), |life: Life| {
            Ok(Batches {
                life: life.generation(),
            })
        });
        let seed = Seed::new(
            SupervisorSpec::new("root", flags(9, 5)).child(spec),
            Clock::default(),
        );
        let mut root = seed.grow(Clock::default(), Placer::threads(), None);
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
        assert_eq!(ended(root).await, ExitReason::Shutdown);
    });
}
