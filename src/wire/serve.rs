//! Serves connections: actix-http for HTTP/1, our own loop for HTTP/2, and behind both one actix-web `App` with one
//! service, which answers each request with a [`Worker`].

use std::future::{Future, poll_fn, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::{DispatchError, ParseError};
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_service::{
    IntoServiceFactory, Service as _, ServiceFactory, fn_factory, fn_service, map_config,
};
use actix_web::App;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};

use super::connection::Connection;
use super::connection::drain::LocalDrain;
use super::connection::io::Io;
use super::counters::{ConnectionCounters, count};
use super::exchange::{Parts, Worker};
use super::hosts::Peer;
use super::http2::{self, Http2};
use super::incoming::Handler;
use super::stream::Stream;
use crate::settings::LimitSettings;
use crate::supervision::StartError;

/// How long a connection that is being closed is read from, so that the last answer is not lost in a reset.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A log filter: actix-http logs every malformed head as an error. What is refused is counted instead.
pub(crate) const SILENCED: &str = "h2=off,actix_http=off";

type Serve = dyn Fn(Io, Option<SocketAddr>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Serves the connections of one thread.
#[derive(Clone)]
pub(crate) struct Service {
    serve: Rc<Serve>,
    limits: LimitSettings,
    counters: Arc<ConnectionCounters>,
    drain: Rc<LocalDrain>,
}

impl Service {
    /// Builds the service on the thread that will serve.
    pub(crate) async fn build<H: Handler>(parts: Arc<Parts<H>>) -> Result<Self, StartError> {
        let (limits, counters) = (parts.limits, Arc::clone(&parts.counters));
        let drain = parts.drain.follow();
        let app = app(Worker::new(parts, Rc::clone(&drain)));
        let app = app.new_service(()).await;
        let app = Rc::new(app.map_err(|()| StartError::failed("the actix-web App did not start"))?);
        let http2 = Rc::new(Http2 {
            call: call(Rc::clone(&app)),
            limits,
            counters: Arc::clone(&counters),
            drain: Rc::clone(&drain),
        });
        let http1 = HttpService::build()
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .keep_alive(KeepAlive::Os)
            .on_connect_ext(|io: &Io, data| {
                data.insert(io.connection());
            })
            .finish(fn_factory(move || ready(Ok::<_, ()>(Rc::clone(&app)))));
        let http1 = http1.new_service(()).await;
        let http1 = http1.map_err(|()| StartError::failed("actix-http did not start"))?;
        let (http1, refused) = (Rc::new(http1), Arc::clone(&counters));
        let serve = move |mut io: Io, peer| -> Pin<Box<dyn Future<Output = ()>>> {
            let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
            let refused = Arc::clone(&refused);
            Box::pin(async move {
                match poll_fn(|cx| io.poll_http2(cx)).await {
                    Ok(false) => {}
                    Ok(true) => return Box::pin(http2::serve(http2, io, peer)).await,
                    Err(_) => return,
                }
                if let Err(error) = http1.call((io, Protocol::Http1, peer)).await {
                    count_refused(&refused, &error);
                    tracing::debug!(%error, "a connection broke off");
                }
            })
        };
        Ok(Self {
            serve: Rc::new(serve),
            limits,
            counters,
            drain,
        })
    }

    /// Serves one connection to its end.
    pub(crate) fn serve(&self, stream: Stream, peer: Peer) -> impl Future<Output = ()> + use<> {
        let counters = Arc::clone(&self.counters);
        let connection = Connection::new(self.limits, peer.loopback);
        let io = Io::new(stream, connection, counters, Rc::clone(&self.drain));
        (self.serve)(io, peer.address)
    }
}

/// The actix-web `App`: the worker answers every request, since the routes come from the settings.
fn app<H: Handler>(
    worker: Worker<H>,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse,
    Error = actix_web::Error,
    InitError = (),
    Service: 'static,
    Future: 'static,
> {
    let worker = Rc::new(worker);
    let app = App::new().default_service(fn_service(move |request: ServiceRequest| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, actix_web::Error>(worker.answer(request).await) }
    }));
    map_config(app.into_factory(), |()| AppConfig::default())
}

/// The service of the `App`, for HTTP/2.
fn call<S>(app: Rc<S>) -> Box<http2::Call>
where
    S: actix_service::Service<Request, Response = ServiceResponse, Future: 'static> + 'static,
{
    Box::new(move |request| {
        let answer = app.call(request);
        Box::pin(async move { answer.await.ok() })
    })
}

/// Counts bytes that are not HTTP. actix-http has answered them with an empty 400 or 431.
fn count_refused(counters: &ConnectionCounters, error: &DispatchError) {
    if matches!(error, DispatchError::Parse(ParseError::TooLarge)) {
        count(&counters.heads_too_large);
    } else if matches!(error, DispatchError::Parse(_)) {
        count(&counters.malformed);
    }
}
