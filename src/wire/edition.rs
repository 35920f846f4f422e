//! The edition: everything about answers that comes from the settings, replaced as a whole when they are read again. A request
//! keeps the edition that is current when its head is complete.

// Decision: A request keeps its edition.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::client_address::ProxyRules;
use super::hosts::Hosts;
use super::https::HttpsRules;
use crate::settings::LimitSettings;

/// One edition of the settings, as requests use it.
#[derive(Debug)]
pub(crate) struct Edition<R> {
    /// 1 at the start, and one more for each reload.
    pub number: u64,
    /// Its rules for requests, besides their answers.
    pub rules: RequestRules,
    /// The host names that the server answers to.
    pub hosts: Hosts,
    /// The proxies that name clients.
    pub proxies: ProxyRules,
    /// Its rules about TLS.
    pub https: HttpsRules,
    /// Answers the requests.
    pub responder: Arc<R>,
}

/// The rules of an edition for requests, besides their answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestRules {
    /// The limits of connections and requests.
    pub limits: LimitSettings,
    /// Whether answers have a line in the access log (`logging.access`).
    pub logs: bool,
    /// Whether these have queries (`logging.access_query`).
    pub logs_query: bool,
}

/// The current edition, for all threads.
#[derive(Debug)]
pub(crate) struct Editions<R> {
    current: watch::Sender<Arc<Edition<R>>>,
}

impl<R> Editions<R> {
    /// The first edition.
    pub(crate) fn new(first: Edition<R>) -> Arc<Self> {
        Arc::new(Self {
            current: watch::Sender::new(Arc::new(first)),
        })
    }

    /// The first edition of a test.
    #[cfg(test)]
    pub(crate) fn only(responder: R, limits: LimitSettings) -> Arc<Self> {
        Self::new(Edition {
            number: 1,
            rules: RequestRules {
                limits,
                logs: true,
                logs_query: true,
            },
            hosts: Hosts::default(),
            proxies: ProxyRules::default(),
            https: HttpsRules::default(),
            responder: Arc::new(responder),
        })
    }

    /// The current edition.
    pub(crate) fn current(&self) -> Arc<Edition<R>> {
        Arc::clone(&self.current.borrow())
    }

    /// Replaces the edition: requests whose head is complete from now on have the new one.
    pub(crate) fn replace(&self, next: impl Into<Arc<Edition<R>>>) {
        self.current.send_replace(next.into());
    }
}

/// An edition that requests of one thread hold, so that they count their holds without other threads.
pub(super) struct HeldEdition<R> {
    edition: Arc<Edition<R>>,
    /// Its rules, once for all requests.
    pub(super) rules: Rc<RequestRules>,
}

impl<R> HeldEdition<R> {
    fn new(edition: &Arc<Edition<R>>) -> Rc<Self> {
        Rc::new(Self {
            edition: Arc::clone(edition),
            rules: Rc::new(edition.rules),
        })
    }
}

impl<R> Deref for HeldEdition<R> {
    type Target = Edition<R>;

    fn deref(&self) -> &Edition<R> {
        &self.edition
    }
}

/// The current edition as one thread sees it. A look at it costs one atomic read, and shares no cache line that is written.
pub(super) struct ThreadEdition<R> {
    watched: RefCell<watch::Receiver<Arc<Edition<R>>>>,
    seen: RefCell<Rc<HeldEdition<R>>>,
    /// The task that lets an old edition go on a thread without requests.
    follower: RefCell<Option<AbortHandle>>,
}

impl<R> Drop for ThreadEdition<R> {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.take() {
            follower.abort();
        }
    }
}

impl<R: Send + Sync + 'static> ThreadEdition<R> {
    /// Follows the editions on this thread.
    pub(super) fn follow(editions: &Editions<R>) -> Rc<Self> {
        let mut watched = editions.current.subscribe();
        let seen = HeldEdition::new(&watched.borrow_and_update());
        let this = Rc::new(Self {
            watched: RefCell::new(watched.clone()),
            seen: RefCell::new(seen),
            follower: RefCell::default(),
        });
        let of: Weak<Self> = Rc::downgrade(&this);
        let follower = actix_rt::spawn(async move {
            while watched.changed().await.is_ok() {
                let Some(this) = of.upgrade() else { return };
                this.look();
            }
        });
        *this.follower.borrow_mut() = Some(follower.abort_handle());
        this
    }

    /// Looks for the current edition; until the next look, it is the thread's.
    pub(super) fn look(&self) -> Rc<HeldEdition<R>> {
        let mut watched = self.watched.borrow_mut();
        if watched.has_changed().unwrap_or(false) {
            *self.seen.borrow_mut() = HeldEdition::new(&watched.borrow_and_update());
        }
        self.seen()
    }

    /// The edition of the last look.
    pub(super) fn seen(&self) -> Rc<HeldEdition<R>> {
        Rc::clone(&self.seen.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Arc<Editions<u64>> {
        Editions::only(1, crate::settings::Settings::default().limits)
    }

    fn replace(editions: &Editions<u64>) {
        let one = editions.current();
        editions.replace(Edition {
            number: 2,
            rules: one.rules,
            hosts: Hosts::default(),
            proxies: ProxyRules::default(),
            https: HttpsRules::default(),
            responder: Arc::new(2),
        });
    }

    #[test]
    fn who_holds_an_edition_keeps_it_and_the_next_look_finds_the_new_one() {
        actix_rt::System::new().block_on(async {
            let editions = first();
            let thread = ThreadEdition::follow(&editions);
            let held = thread.look();
            replace(&editions);
            assert_eq!(*thread.seen().responder, 1, "nobody has looked");
            assert_eq!(*thread.look().responder, 2);
            assert_eq!((held.number, thread.seen().number), (1, 2));
        });
    }

    #[test]
    fn a_thread_without_requests_lets_an_old_edition_go() {
        actix_rt::System::new().block_on(async {
            let editions = first();
            let thread = ThreadEdition::follow(&editions);
            let old = Arc::downgrade(&editions.current());
            replace(&editions);
            while old.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(thread.seen().number, 2);
        });
    }
}
