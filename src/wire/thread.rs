//! The state that all connections of one thread share.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use actix_http::Request;
use actix_web::dev::ServiceResponse;
use futures_util::future::LocalBoxFuture;

use super::counters::ConnectionCounters;
use super::drain::LocalDrain;
use super::edition::RequestRules;
use super::http2::UnansweredOfThread;
use super::recorder::Recorder;
use super::tls::ThreadTls;
use crate::settings::LimitSettings;

/// An answer that is being made.
pub(super) type Answering = LocalBoxFuture<'static, Result<ServiceResponse, actix_web::Error>>;
/// Answers a request.
pub(super) type ServiceCall = dyn Fn(Request) -> Answering;

/// The most bytes that are read at a time.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The state that all connections of one thread share.
pub(super) struct Thread {
    pub(super) call: Box<ServiceCall>,
    /// Looks for the current edition, which is that of the next call.
    rules: Box<dyn Fn() -> Rc<RequestRules>>,
    /// Whether a connection from this address has to begin with a header of the PROXY protocol, by the current edition.
    pub(super) begins_with_header: Box<dyn Fn(Option<IpAddr>) -> bool>,
    pub(super) counters: Arc<ConnectionCounters>,
    pub(super) drain: Rc<LocalDrain>,
    pub(super) recorder: Rc<Recorder>,
    /// Every read goes here first, so that a connection that waits holds no buffer.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// The buffer for the head of the next answer.
    pub(super) out: Cell<Vec<u8>>,
    pub(super) unanswered: UnansweredOfThread,
    pub(super) tls: ThreadTls,
    date: RefCell<Date>,
}

/// The time as HTTP writes it.
#[derive(Default)]
struct Date {
    since_epoch: u64,
    text: String,
}

impl Thread {
    pub(super) fn new(
        call: Box<ServiceCall>,
        rules: Box<dyn Fn() -> Rc<RequestRules>>,
        begins_with_header: Box<dyn Fn(Option<IpAddr>) -> bool>,
        counters: Arc<ConnectionCounters>,
        drain: Rc<LocalDrain>,
        recorder: Rc<Recorder>,
        tls: ThreadTls,
    ) -> Rc<Self> {
        Rc::new(Self {
            call,
            rules,
            begins_with_header,
            counters,
            drain,
            recorder,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            out: Cell::default(),
            unanswered: UnansweredOfThread::default(),
            tls,
            date: RefCell::default(),
        })
    }

    /// The rules of the current edition. The call that follows at once has the same edition.
    pub(super) fn rules(&self) -> Rc<RequestRules> {
        (self.rules)()
    }

    /// The limits of the current edition.
    pub(super) fn limits(&self) -> LimitSettings {
        self.rules().limits
    }

    /// Calls `with` with the time as HTTP writes it. It is formatted once a second.
    pub(super) fn with_date<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        let now = SystemTime::now();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let since_epoch = since_epoch.unwrap_or_default().as_secs();
        let mut date = self.date.borrow_mut();
        if date.since_epoch != since_epoch {
            date.since_epoch = since_epoch;
            date.text = httpdate::fmt_http_date(now);
        }
        with(&date.text)
    }
}
