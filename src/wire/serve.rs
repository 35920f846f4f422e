//! Serves connections: `http1` or `http2`, and behind both one actix-web `App` with one service, which answers each request
//! with a [`Worker`].

use std::rc::Rc;
use std::sync::Arc;

use actix_http::Request;
use actix_service::{IntoServiceFactory, Service as _, ServiceFactory, fn_service, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use futures_util::future::LocalBoxFuture;

use super::counters::count;
use super::edition::ThreadEdition;
use super::exchange::{Parts, Worker};
use super::hosts::Peer;
use super::http1::Http1;
use super::http2;
use super::incoming::Responder;
use super::proxy_header;
use super::recorder::Recorder;
use super::socket::{LazySocket, Socket};
use super::thread::{ServiceCall, Thread};
use super::tls::{self, OpenedConnection, Speaks, ThreadTls};
use super::transport::Transport;
use super::wait::CurrentWait;
use crate::supervision::StartError;

/// A log filter: the h2 library logs what clients send.
pub(crate) const SILENCED: &str = "h2=off,actix_http=off";

/// Serves the connections of one thread.
#[derive(Clone)]
pub(crate) struct Service {
    thread: Rc<Thread>,
}

impl Service {
    /// Builds the service on the thread that will serve.
    pub(crate) async fn build<R: Responder>(parts: Arc<Parts<R>>) -> Result<Self, StartError> {
        let counters = Arc::clone(&parts.counters);
        let drain = parts.drain.follow();
        let recorder = Recorder::new(Arc::clone(&parts.metrics), parts.access.clone());
        let tls = ThreadTls::new(Arc::clone(&parts.tls));
        let edition = ThreadEdition::follow(&parts.editions);
        let current = Rc::clone(&edition);
        let rules = Box::new(move || Rc::clone(&current.look().rules));
        let current = Rc::clone(&edition);
        let header = Box::new(move |peer| current.look().proxies.begins_with_header(peer));
        let app = app(Worker::new(parts, edition));
        let app = app.new_service(()).await;
        let app = app.map_err(|()| StartError::failed("the actix-web App did not start"))?;
        let call: Box<ServiceCall> = Box::new(move |request| app.call(request));
        Ok(Self {
            thread: Thread::new(call, rules, header, counters, drain, recorder, tls),
        })
    }

    /// Serves one connection to its end, and tells in `wait` what it waits for. (In a box, because a task that is as large as a
    /// connection would be copied several times.)
    pub(crate) fn serve(
        &self,
        socket: Socket,
        peer: Peer,
        wait: &Arc<CurrentWait>,
    ) -> LocalBoxFuture<'static, ()> {
        let thread = Rc::clone(&self.thread);
        count(&thread.counters.connections);
        let (socket, wait) = (LazySocket::new(socket), Arc::clone(wait));
        if (thread.begins_with_header)(peer.address.map(|address| address.ip())) {
            return Box::pin(async move {
                let header = Box::pin(proxy_header::read(&thread, socket, peer));
                if let Some((socket, peer)) = header.await {
                    open(thread, socket, peer, wait).await;
                }
            });
        }
        open(thread, socket, peer, wait)
    }
}

/// Serves a connection whose client is known to its end.
fn open(
    thread: Rc<Thread>,
    socket: LazySocket,
    peer: Peer,
    wait: Arc<CurrentWait>,
) -> LocalBoxFuture<'static, ()> {
    match peer.speaks {
        Speaks::Http => Box::pin(run(thread, Transport::Plain(socket), peer, wait)),
        Speaks::Https => Box::pin(async move {
            // Its handshake is gone from memory when it is complete.
            match Box::pin(tls::open(&thread, socket, peer, &wait)).await {
                Some(OpenedConnection::Session(session)) => {
                    run(thread, session, peer, wait).await;
                }
                Some(OpenedConnection::ClearText(socket, sent)) => {
                    let transport = Transport::Plain(socket);
                    let connection = Http1::new(&thread, transport, peer, wait);
                    Box::pin(connection.refuse_clear_text(sent)).await;
                }
                None => {}
            }
        }),
    }
}

/// Serves a connection to its end.
fn run(
    thread: Rc<Thread>,
    transport: Transport,
    peer: Peer,
    wait: Arc<CurrentWait>,
) -> impl Future<Output = ()> {
    let connection = Http1::new(&thread, transport, peer, wait);
    async move {
        if let Some(begun) = connection.run().await {
            Box::pin(http2::serve(thread, begun, peer)).await;
        }
    }
}

/// The actix-web `App`: the worker answers every request, since the routes come from the settings.
fn app<R: Responder>(
    worker: Worker<R>,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse,
    Error = actix_web::Error,
    InitError = (),
    Service: actix_service::Service<
        Request,
        Response = ServiceResponse,
        Error = actix_web::Error,
        Future = LocalBoxFuture<'static, Result<ServiceResponse, actix_web::Error>>,
    > + 'static,
> {
    let worker = Rc::new(worker);
    let app = App::new().default_service(fn_service(move |request: ServiceRequest| {
        let (worker, edition) = (Rc::clone(&worker), worker.edition());
        async move { Ok::<_, actix_web::Error>(worker.answer(request, &edition).await) }
    }));
    map_config(app.into_factory(), |()| AppConfig::default())
}
