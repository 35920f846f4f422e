//! The children that the tests are played with: how each of their lives starts and stops is scripted, and what they do
//! is written down.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::supervision::*;

/// Longer than anything in a test takes; the clock is paused.
pub(super) const PATIENCE: Duration = Duration::from_secs(3_600);
const LIMITS: QueueLimits = QueueLimits {
    messages: 4,
    bytes: 1 << 20,
};

/// Runs a test inside an actix system whose clock is paused.
pub(super) fn paused<F: Future<Output = ()> + 'static>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    system.block_on(test);
}

/// Until everything that can happen without the time passing has happened.
pub(super) async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The start of a scripted incarnation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Fine,
    Slow(Duration),
    Fails,
    Panics,
    Ignores,
    Hangs,
    /// Hangs, and panics when it is cancelled.
    PanicsCancelled,
}

/// The stop of a scripted incarnation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    Takes(Duration),
    Panics,
    /// Never.
    Hangs,
}

/// The end of a scripted incarnation.
#[derive(Debug, Clone)]
pub(super) enum How {
    Exit(ExitReason),
    Panic,
}

#[derive(Debug)]
pub(super) enum Ask {
    Echo {
        n: u32,
        reply: ReplyTo<u32, String>,
    },
    /// Answers with the number of the life, and ends it.
    End {
        how: ExitReason,
        reply: ReplyTo<u64, String>,
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
    /// Wants no answer.
    Tell,
    /// A future that takes this long: a simulated hang.
    Sleep {
        for_: Duration,
        reply: ReplyTo<u64, String>,
    },
}

impl Message for Ask {
    fn kind(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::End { .. } => "end",
            Self::PanicUntil { .. } => "panic_until",
            Self::Drop { .. } => "drop",
            Self::Sleep { .. } => "sleep",
            Self::Tell => "tell",
        }
    }
}

/// The script, and the events that happened.
#[derive(Debug, Default)]
pub(super) struct Play {
    starts: Mutex<HashMap<String, VecDeque<Start>>>,
    stops: Mutex<HashMap<String, Stop>>,
    log: Mutex<Vec<String>>,
}

struct DropsBadly;

impl Drop for DropsBadly {
    fn drop(&mut self) {
        panic!("cancelled badly");
    }
}

impl Play {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A child as it comes, and what its callers hold.
    pub(super) fn child(self: &Arc<Self>, name: &str) -> (ChildSpec, ChildRef<Ask>) {
        let (slot, child) = Slot::with_limits(name, LIMITS);
        let (play, name) = (Arc::clone(self), name.to_owned());
        let spec = ChildSpec::actor(&slot, move |life: Incarnation| {
            let (play, name) = (Arc::clone(&play), name.clone());
            async move {
                play.note(format!("{name} starts"));
                match play.next_start(&name) {
                    Start::Fine => {}
                    Start::Slow(time) => tokio::time::sleep(time).await,
                    Start::Fails => return Err(StartError::failed(format!("{name} has no luck"))),
                    Start::Panics => panic!("{name} starts badly"),
                    Start::Ignores => return Err(StartError::Ignore),
                    Start::Hangs => std::future::pending().await,
                    Start::PanicsCancelled => {
                        let _dropped_at_the_end = DropsBadly;
                        std::future::pending::<()>().await;
                    }
                }
                play.note(format!("{name} runs"));
                Ok(Player {
                    life: life.generation(),
                    play,
                    name,
                })
            }
        });
        (spec, child)
    }

    /// A child whose messages nobody needs.
    pub(super) fn spec(self: &Arc<Self>, name: &str) -> ChildSpec {
        self.child(name).0
    }

    /// The next lives of `name` start so; those after them are fine.
    pub(super) fn starts(&self, name: &str, starts: &[Start]) {
        let mut all = self.starts.lock().unwrap();
        all.insert(name.to_owned(), starts.iter().copied().collect());
    }

    /// Every life of `name` stops so.
    pub(super) fn stops(&self, name: &str, stop: Stop) {
        self.stops.lock().unwrap().insert(name.to_owned(), stop);
    }

    fn next_start(&self, name: &str) -> Start {
        let mut all = self.starts.lock().unwrap();
        let next = all.get_mut(name).and_then(VecDeque::pop_front);
        next.unwrap_or(Start::Fine)
    }

    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    /// Takes the events since the last call.
    pub(super) fn log(&self) -> String {
        std::mem::take(&mut *self.log.lock().unwrap()).join(", ")
    }
}

struct Player {
    life: u64,
    play: Arc<Play>,
    name: String,
}

impl Child for Player {
    type Message = Ask;

    fn handle(&mut self, message: Delivery<Ask>, cx: &mut ChildContext) {
        match &*message {
            Ask::Echo { n, reply } => assert!(reply.settle(Ok(*n))),
            Ask::End { how, reply } => {
                reply.settle(Ok(self.life));
                cx.exit(how.clone());
            }
            Ask::PanicUntil { until, reply } => {
                assert!(self.life > *until, "as told");
                reply.settle(Ok(self.life));
            }
            Ask::Drop { .. } | Ask::Tell => {}
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
        self.play.note(format!("{} stops", self.name));
        let stop = self.play.stops.lock().unwrap().get(&self.name).copied();
        let (play, name) = (Arc::clone(&self.play), self.name.clone());
        Box::pin(async move {
            match stop {
                None => {}
                Some(Stop::Takes(time)) => tokio::time::sleep(time).await,
                Some(Stop::Panics) => panic!("{name} stops badly"),
                Some(Stop::Hangs) => std::future::pending().await,
            }
            play.note(format!("{name} stopped"));
        })
    }
}

/// Ends a child's present life, or its first one by a panic; answers with the life that answered.
pub(super) async fn end(child: &ChildRef<Ask>, how: &How) -> u64 {
    let ended = match how {
        How::Exit(reason) => {
            let how = reason.clone();
            child.ask(|reply| Ask::End { how, reply }, PATIENCE).await
        }
        How::Panic => {
            let poison = child.ask(|reply| Ask::PanicUntil { until: 1, reply }, PATIENCE);
            return poison.await.expect("a later life answers");
        }
    };
    ended.expect("an answer before the end")
}

/// Any abnormal end.
pub(super) fn error() -> How {
    How::Exit(ExitReason::Error("as told".into()))
}

/// An empty supervisor called `name`, whose backoff is not random.
pub(super) fn supervisor(
    name: &str,
    strategy: Strategy,
    max_restarts: usize,
    seconds: u64,
) -> SupervisorSpec {
    SupervisorSpec::new(name)
        .strategy(strategy)
        .intensity(Intensity {
            max_restarts,
            period: Duration::from_secs(seconds),
        })
        .backoff(Backoff {
            jitter: 0.0,
            ..Backoff::default()
        })
}

/// An empty supervisor that restarts the dead one alone.
pub(super) fn root(max_restarts: usize, seconds: u64) -> SupervisorSpec {
    supervisor("root", Strategy::OneForOne, max_restarts, seconds)
}

/// A tree that was started.
pub(super) struct TestTree {
    pub(super) root: RunningTree,
    pub(super) tree: Tree,
    pub(super) admin: SupervisorRef,
}

/// Starts a tree and does not wait.
pub(super) fn start(spec: SupervisorSpec) -> TestTree {
    start_in(
        spec,
        Env {
            inline: true,
            ..Env::default()
        },
    )
}

/// Starts a tree with these fault points and does not wait.
pub(super) fn start_in(spec: SupervisorSpec, env: Env) -> TestTree {
    let prepared = PreparedTree::new(spec).expect("a valid spec");
    let tree = prepared.tree();
    let root = prepared.start(env);
    let admin = root.supervisor.clone();
    TestTree { root, tree, admin }
}

/// Starts a tree and waits until all of it runs.
pub(super) async fn started(spec: SupervisorSpec) -> TestTree {
    started_in(
        spec,
        Env {
            inline: true,
            ..Env::default()
        },
    )
    .await
}

/// Starts a tree with these fault points and waits until all of it runs.
pub(super) async fn started_in(spec: SupervisorSpec, env: Env) -> TestTree {
    let mut tree = start_in(spec, env);
    (&mut tree.root.ready).await.expect("the tree starts");
    tree
}

impl TestTree {
    /// The node of that name.
    #[track_caller]
    pub(super) fn node(&self, name: &str) -> NodeView {
        self.find(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn find(&self, name: &str) -> Option<NodeView> {
        let view = self.tree.view();
        view.walk().into_iter().find(|n| n.name == name).cloned()
    }

    /// The life that `name` is in.
    #[track_caller]
    pub(super) fn life(&self, name: &str) -> (&'static str, u64) {
        let node = self.node(name);
        let Cow::Borrowed(state) = node.state else {
            panic!("a view of this process borrows its words");
        };
        (state, node.generation)
    }

    /// Waits for the end and returns its reason.
    pub(super) async fn ended(&mut self) -> ExitReason {
        self.root.ended().await
    }

    /// Stops it in order.
    pub(super) async fn stop(&mut self) {
        self.root.stopper().stop();
        assert_eq!(self.ended().await, ExitReason::Shutdown);
    }
}

/// The number of children of a supervisor (OTP: `count_children`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) specs: usize,
    pub(super) active: usize,
    pub(super) supervisors: usize,
    pub(super) workers: usize,
}

pub(super) fn counts(admin: &SupervisorRef) -> Counts {
    let mut counts = Counts::default();
    for child in admin.children() {
        counts.specs += 1;
        counts.active += usize::from(matches!(&*child.state, "running" | "stopping"));
        counts.supervisors += usize::from(child.kind == "supervisor");
        counts.workers += usize::from(child.kind == "worker");
    }
    counts
}
