//! The request handler: a child that owns a thread and runs connections on it.
//!
//! A connection is a task of the thread's arbiter, not of the incarnation: a panic of the handler leaves its connections
//! alone, and the next incarnation takes the next ones.

// Decision: A group restart keeps connections.

mod connection;
mod crowd;
mod drain;

pub(crate) use connection::{Accepted, Connection, HandlerLoad, Socket, Ticket};
pub(crate) use crowd::Crowd;
pub(crate) use drain::DrainLimit;

use std::sync::Arc;

use futures_util::future::Either;

use crate::supervision::{
    Child, ChildContext, ChildSpec, Delivery, Faults, LocalBoxFuture, Shutdown, Slot,
};
use crate::wire::{Handler, Parts, Service};

/// One life of a request handler.
pub(crate) struct RequestHandler {
    service: Service,
    load: Arc<HandlerLoad>,
    drain: DrainLimit,
    faults: Faults,
}

impl std::fmt::Debug for RequestHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHandler")
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

/// The recipe of a request handler, on an arbiter of its own.
pub(crate) fn child_spec<H: Handler>(
    slot: &Slot<Connection>,
    parts: Parts<H>,
    load: Arc<HandlerLoad>,
    drain: DrainLimit,
    faults: Faults,
) -> ChildSpec {
    let shutdown = Shutdown::Timeout(drain.limit() + DrainLimit::GRACE);
    let parts = Arc::new(parts);
    faults.register("handler.message");
    ChildSpec::actor(slot, move |_| {
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
    type Message = Connection;

    fn handle(&mut self, message: Delivery<Connection>, _: &mut ChildContext) {
        if message.attempt() == 1 {
            self.faults.hit("handler.message");
        }
        let Some(Accepted {
            socket,
            peer,
            ticket,
        }) = message.take()
        else {
            return;
        };
        match socket.into_stream() {
            Ok(stream) => {
                let connection = self.service.serve(stream, peer);
                let connection = match self.load.crowd() {
                    Some(crowd) => Either::Left(crowd.join(connection)),
                    None => Either::Right(connection),
                };
                drop(actix_rt::spawn(async move {
                    connection.await;
                    drop(ticket);
                }));
            }
            Err(error) => tracing::warn!(%error, "a socket could not be served"),
        }
    }

    /// Its connections are none of its own: the next life takes the next ones, and nobody has to be sent away.
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
