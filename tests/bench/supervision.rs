//! The cost of supervision: an ask of a supervised child compared with a plain `Addr::send`, and the time from a panic to the
//! next handled message.
//!
//! Run it with `cargo bench --bench supervision`. Absolute times depend on the machine; compare the ratios.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that can't run ends with a message"
)]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use perennial::supervision::{
    Child, ChildContext, ChildRef, ChildSpec, Delivery, Env, Intensity, Message, PreparedTree,
    ReplyTo, RunningTree, Slot, SupervisorSpec, install_panic_hook,
};
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Order {
    Echo {
        n: u64,
        reply: ReplyTo<u64, ()>,
    },
    /// Stores the time, then panics.
    Die,
}

impl Message for Order {
    fn kind(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Die => "die",
        }
    }

    fn redeliverable(&self) -> bool {
        matches!(self, Self::Echo { .. })
    }
}

/// The time of the last panic, and the time from each panic to the next handled message.
#[derive(Debug, Default)]
struct Deaths {
    since: Option<Instant>,
    latencies: Vec<Duration>,
}

struct Echo {
    deaths: Arc<Mutex<Deaths>>,
}

impl Child for Echo {
    type Message = Order;

    fn handle(&mut self, message: Delivery<Order>, _: &mut ChildContext) {
        match &*message {
            Order::Echo { n, reply } => {
                let mut deaths = self.deaths.lock().expect("not poisoned");
                if let Some(since) = deaths.since.take() {
                    let latency = since.elapsed();
                    deaths.latencies.push(latency);
                }
                drop(deaths);
                reply.settle(Ok(*n));
            }
            Order::Die => {
                self.deaths.lock().expect("not poisoned").since = Some(Instant::now());
                panic!("ordered by the benchmark");
            }
        }
    }
}

struct Raw;

struct RawEcho(u64);

impl actix::Message for RawEcho {
    type Result = u64;
}

impl Actor for Raw {
    type Context = Context<Self>;
}

impl Handler<RawEcho> for Raw {
    type Result = u64;

    fn handle(&mut self, message: RawEcho, _: &mut Self::Context) -> u64 {
        message.0
    }
}

fn supervised(deaths: &Arc<Mutex<Deaths>>) -> (RunningTree, ChildRef<Order>) {
    let (slot, child) = Slot::new("echo");
    let deaths = Arc::clone(deaths);
    let spec = ChildSpec::actor(&slot, move |_| {
        let deaths = Arc::clone(&deaths);
        async move { Ok(Echo { deaths }) }
    });
    let intensity = Intensity {
        max_restarts: usize::MAX,
        period: Duration::from_millis(1),
    };
    let root = SupervisorSpec::new("root").intensity(intensity).child(spec);
    let prepared = PreparedTree::new(root).expect("a valid spec");
    (prepared.start(Env::default()), child)
}

/// Runs `one` `rounds` times in sequence and returns the time.
async fn time<F: Future<Output = ()>>(rounds: u64, mut one: impl FnMut(u64) -> F) -> Duration {
    let begun = Instant::now();
    for n in 0..rounds {
        one(n).await;
    }
    begun.elapsed()
}

fn asks(c: &mut Criterion) {
    let system = System::new();
    let deaths = Arc::default();
    let (_root, child, raw) = system.block_on(async {
        let (mut root, child) = supervised(&deaths);
        (&mut root.ready).await.expect("the tree starts");
        let arbiter = Arbiter::new();
        let (tx, rx) = tokio::sync::oneshot::channel();
        arbiter.spawn_fn(move || assert!(tx.send(Raw.start()).is_ok()));
        (root, child, rx.await.expect("the actor starts"))
    });
    let mut group = c.benchmark_group("one ask after the other, to another thread");
    group.bench_function("Addr::send", |b| {
        b.iter_custom(|rounds| {
            system.block_on(time(rounds, |n| {
                let answer = raw.send(RawEcho(n));
                async move { assert_eq!(answer.await, Ok(n)) }
            }))
        });
    });
    group.bench_function("ChildRef::ask", |b| {
        b.iter_custom(|rounds| {
            system.block_on(time(rounds, |n| {
                let answer = child.ask(move |reply| Order::Echo { n, reply }, TIMEOUT);
                async move { assert_eq!(answer.await, Ok(n)) }
            }))
        });
    });
    group.finish();
}

fn restarts(c: &mut Criterion) {
    install_panic_hook();
    let system = System::new();
    let deaths = Arc::default();
    let (_root, child) = system.block_on(async {
        let (mut root, child) = supervised(&deaths);
        (&mut root.ready).await.expect("the tree starts");
        (root, child)
    });
    let mut all = Vec::new();
    c.bench_function("panic to next message handled, same arbiter", |b| {
        b.iter_custom(|rounds| {
            system.block_on(async {
                for n in 0..rounds {
                    child.tell(Order::Die).expect("the queue has room");
                    let answer = child.ask(move |reply| Order::Echo { n, reply }, TIMEOUT);
                    assert_eq!(answer.await, Ok(n));
                }
            });
            let taken = std::mem::take(&mut deaths.lock().expect("not poisoned").latencies);
            all.extend_from_slice(&taken);
            taken.iter().sum()
        });
    });
    all.sort_unstable();
    let at = |part: usize| {
        all.get(all.len() * part / 1000)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "panic to next message handled, {} panics: p50 {:?}, p99 {:?}, p99.9 {:?}",
        all.len(),
        at(500),
        at(990),
        at(999)
    );
}

criterion_group!(benches, asks, restarts);
criterion_main!(benches);
