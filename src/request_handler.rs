//! The request handler: a child that owns a thread and runs connections on it.
//!
//! Each connection is a task of the thread, not of the incarnation: when the handler panics, its connections go on, and the
//! next incarnation takes new ones.

// Decision: A group restart keeps connections.

mod drain;
mod handover;
mod load;

pub(crate) use drain::DrainLimit;
pub(crate) use handover::{Accepted, Handover};
pub(crate) use load::{GiveWay, HandlerLoad};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::supervision::{
    Child, ChildContext, ChildSpec, Delivery, EventLoop, Faults, LocalBoxFuture, Shutdown, Slot,
};
use crate::wire::{Handler, Parts, Service};

/// One incarnation of a request handler.
pub(crate) struct RequestHandler {
    service: Service,
    load: Arc<HandlerLoad>,
    drain: DrainLimit,
    faults: Faults,
}

/// The child spec of a request handler that runs on `event_loop`.
pub(crate) fn child_spec<H: Handler>(
    event_loop: &EventLoop,
    slot: &Slot<Handover>,
    parts: Parts<H>,
    load: Arc<HandlerLoad>,
    drain: DrainLimit,
    faults: Faults,
) -> ChildSpec {
    let shutdown = Shutdown::Timeout(drain.limit + DrainLimit::GRACE);
    let parts = Arc::new(parts);
    faults.register("handler.message");
    ChildSpec::actor_on(event_loop, slot, move |_| {
        let (parts, load) = (Arc::clone(&parts), Arc::clone(&load));
        let (drain, faults) = (drain.clone(), faults.clone());
        async move {
            drain.renew();
            let service = Service::build(parts).await?;
            Ok(RequestHandler {
                service,
                load,
                drain,
                faults,
            })
        }
    })
    .shutdown(shutdown)
}

impl Child for RequestHandler {
    type Message = Handover;

    fn handle(&mut self, message: Delivery<Handover>, _: &mut ChildContext) {
        if message.attempt() == 1 {
            self.faults.hit("handler.message");
        }
        let Some((accepted, living)) = message.take() else {
            return;
        };
        let idle = Arc::<AtomicBool>::default();
        let connection = self.service.serve(accepted.socket, accepted.peer, &idle);
        let connection = self.load.join(connection, idle);
        drop(actix_rt::spawn(async move {
            connection.await;
            drop((living, accepted.place));
        }));
    }

    /// Nothing has to be waited for: the connections are tasks of the thread and go on.
    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        let (load, drain) = (Arc::clone(&self.load), self.drain.clone());
        Box::pin(async move {
            let until = drain.begin();
            if tokio::time::timeout_at(until, load.idle()).await.is_err() {
                tracing::warn!(
                    connections = load.living(),
                    "closing connections that did not finish in time"
                );
            }
        })
    }
}
