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
use super::recorder::Recorder;
use super::socket::{LazySocket, Socket};
use super::thread::{Call, RequestRules, Thread};
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
        let edition = ThreadEdition::follow(&parts.editions);
        let current = Rc::clone(&edition);
        let rules = Box::new(move || {
            let edition = current.look();
            RequestRules {
                limits: edition.limits,
                logs: edition.access_lines,
                logs_query: edition.access_queries,
            }
        });
        let app = app(Worker::new(parts, edition));
        let app = app.new_service(()).await;
        let app = app.map_err(|()| StartError::failed("the actix-web App did not start"))?;
        let call: Box<Call> = Box::new(move |request| app.call(request));
        Ok(Self {
            thread: Thread::new(call, rules, counters, drain, recorder),
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
        let connection = Http1::new(&thread, LazySocket::new(socket), peer, Arc::clone(wait));
        Box::pin(async move {
            if let Some(begun) = connection.run().await {
                Box::pin(http2::serve(thread, begun, peer)).await;
            }
        })
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
