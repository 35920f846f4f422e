//! Children that share a thread, and one of them that is killed. The threads are real ones; only the clock of the test's own
//! thread is paused, on which the supervisor runs.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::ThreadId;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::play::{PATIENCE, TestTree, paused, root, settled, started_in};
use crate::supervision::life::GOING_LIMIT;
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);

/// The number of the life that answers, and its thread.
type Place = (u64, ThreadId);

enum ThreadOrder {
    Where {
        reply: ReplyTo<Place>,
    },
    /// Answers when it is told to go on.
    WhereLater {
        go_on: Arc<Notify>,
        reply: ReplyTo<Place>,
    },
    /// Blocks the thread until the sender is dropped.
    Block(Mutex<mpsc::Receiver<()>>),
}

impl Message for ThreadOrder {
    fn redeliverable(&self) -> bool {
        !matches!(self, Self::Block(_))
    }
}

struct Worker {
    life: u64,
}

impl Child for Worker {
    type Message = ThreadOrder;

    fn handle(&mut self, message: Delivery<ThreadOrder>, cx: &mut ChildContext) {
        let here = (self.life, std::thread::current().id());
        match &*message {
            ThreadOrder::Where { reply } => drop(reply.settle(Ok(here))),
            ThreadOrder::Block(until) => assert!(until.lock().unwrap().recv().is_err()),
            ThreadOrder::WhereLater { go_on, .. } => {
                let go_on = Arc::clone(go_on);
                cx.spawn(async move {
                    go_on.notified().await;
                    if let ThreadOrder::WhereLater { reply, .. } = &*message {
                        reply.settle(Ok(here));
                    }
                });
            }
        }
    }
}

fn worker(name: &str, event_loop: &EventLoop) -> (ChildSpec, ChildRef<ThreadOrder>) {
    let (slot, child) = Slot::new(name);
    let spec = ChildSpec::actor_on(event_loop, &slot, async |life: Incarnation| {
        let life = life.generation();
        Ok(Worker { life })
    });
    (spec, child)
}

/// Tells when it is dropped.
struct TellsItsDrop(Arc<AtomicBool>);

impl Drop for TellsItsDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A child that never becomes ready. It sets the first flag when its start has begun, and the second one when that is dropped.
fn late(event_loop: &EventLoop, begun: &Arc<AtomicBool>, dropped: &Arc<AtomicBool>) -> ChildSpec {
    let (slot, _) = Slot::<ThreadOrder>::new("late");
    let (begun, dropped) = (Arc::clone(begun), Arc::clone(dropped));
    let spec = ChildSpec::actor_on(event_loop, &slot, move |_| {
        let (begun, dropped) = (Arc::clone(&begun), Arc::clone(&dropped));
        async move {
            let _told = TellsItsDrop(dropped);
            begun.store(true, Ordering::SeqCst);
            std::future::pending::<Result<Worker, StartError>>().await
        }
    });
    spec.start_timeout(SECOND)
}

/// Waits for what other threads do. No time passes meanwhile: a clock that is paused goes on only where nothing is to be done.
async fn timeless<F: Future>(future: F) -> F::Output {
    match select(pin!(future), pin!(busy())).await {
        Either::Left((output, _)) => output,
        Either::Right((never, _)) => match never {},
    }
}

async fn busy() -> Infallible {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn until(what: impl Fn() -> bool) {
    timeless(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn place(child: &ChildRef<ThreadOrder>) -> Place {
    let asked = child.ask(|reply| ThreadOrder::Where { reply }, PATIENCE);
    timeless(asked).await.expect("it answers")
}

fn slot(tree: &TestTree, name: &str) -> SlotView {
    tree.node(name).slot.expect("a worker has a slot")
}

async fn started(spec: SupervisorSpec) -> TestTree {
    timeless(started_in(spec, Env::default())).await
}

#[test]
fn a_child_that_is_not_ready_in_time_leaves_the_others_of_its_thread_alone() {
    paused(async {
        let event_loop = EventLoop::default();
        let (spec, kept) = worker("kept", &event_loop);
        let mut tree = started(root(9, 60).child(spec)).await;
        let before = place(&kept).await;
        let go_on = Arc::<Notify>::default();
        let told = Arc::clone(&go_on);
        let in_flight = kept.ask(
            |reply| ThreadOrder::WhereLater { go_on: told, reply },
            PATIENCE,
        );
        let [begun, dropped] = [(); 2].map(|()| Arc::<AtomicBool>::default());
        let (admin, spec) = (tree.admin.clone(), late(&event_loop, &begun, &dropped));
        let adding = actix_rt::spawn(async move { admin.add_child(spec, None).await });
        until(|| begun.load(Ordering::SeqCst)).await;
        tokio::time::advance(SECOND).await;
        let limit = SECOND;
        let failed = OrderError::StartFailed(ExitReason::StartTimeout { limit });
        assert_eq!(timeless(adding).await.unwrap(), Err(failed));
        until(|| dropped.load(Ordering::SeqCst)).await;
        go_on.notify_one();
        assert_eq!(timeless(in_flight).await, Ok(before), "it was not cut off");
        tokio::time::advance(GOING_LIMIT * 2).await;
        assert_eq!(place(&kept).await, before);
        let (spec, other) = worker("other", &event_loop);
        timeless(tree.admin.add_child(spec, None)).await.unwrap();
        assert_eq!(place(&other).await, (1, before.1), "it is the same thread");
        assert_eq!(tree.node("kept").zombies, 0);
        timeless(tree.stop()).await;
    });
}

#[test]
fn a_child_that_is_killed_while_it_runs_ends_and_the_thread_goes_on() {
    paused(async {
        let event_loop = EventLoop::default();
        let (first, killed) = worker("killed", &event_loop);
        let (second, kept) = worker("kept", &event_loop);
        let mut tree = started(root(9, 60).child(first).child(second)).await;
        let before = place(&kept).await;
        let go_on = Arc::<Notify>::default();
        let told = Arc::clone(&go_on);
        let in_flight = killed.ask(
            |reply| ThreadOrder::WhereLater { go_on: told, reply },
            PATIENCE,
        );
        until(|| slot(&tree, "killed").in_flight == 1).await;
        tree.root.hung(0, 1, SECOND);
        until(|| slot(&tree, "killed").redelivered_total == 1).await;
        until(|| slot(&tree, "killed").in_flight == 1).await;
        // The task of the first life would have taken it.
        go_on.notify_one();
        assert_eq!(timeless(in_flight).await, Ok((2, before.1)));
        assert_eq!(place(&kept).await, before);
        assert_eq!(tree.node("killed").zombies, 0);
        timeless(tree.stop()).await;
    });
}

#[test]
fn a_thread_that_does_not_answer_is_left_behind() {
    paused(async {
        let event_loop = EventLoop::default();
        let (first, stuck) = worker("stuck", &event_loop);
        let (second, other) = worker("other", &event_loop);
        let mut tree = started(root(9, 60).child(first).child(second)).await;
        let before = place(&other).await;
        let (block, blocked) = mpsc::channel();
        stuck.tell(ThreadOrder::Block(Mutex::new(blocked))).unwrap();
        until(|| slot(&tree, "stuck").in_flight == 1).await;
        tree.root.hung(0, 1, SECOND);
        settled().await;
        assert_eq!(tree.life("stuck"), ("starting", 2));
        assert_eq!(tree.node("stuck").zombies, 0, "the thread may yet answer");
        tokio::time::advance(GOING_LIMIT).await;
        let after = place(&stuck).await;
        assert_eq!(after.0, 2);
        assert_ne!(after.1, before.1, "it has another thread");
        assert_eq!(tree.node("stuck").zombies, 1);
        assert_eq!(tree.life("other"), ("running", 1), "it is still there");
        drop(block);
        until(|| tree.life("other") == ("running", 2)).await;
        assert_eq!(place(&other).await, (2, after.1));
        timeless(tree.stop()).await;
    });
}
