//! The handshakes of one thread that are not complete: a bounded number, of which the oldest ends for a new one.

// Decision: A client without a handshake gives way first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};

/// The most handshakes of one thread that may be incomplete at a time. Each holds about six kilobytes with its connection,
/// and the bytes of one message that it has sent.
const HALF_OPEN_MAX: usize = 1024;

/// The incomplete handshakes of one thread, by age.
#[derive(Default)]
pub(super) struct HalfOpenHandshakes {
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Rc<HalfOpen>>>,
}

#[derive(Default)]
struct HalfOpen {
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The place of one of them until it is dropped.
pub(super) struct HalfOpenPlace<'a> {
    all: &'a HalfOpenHandshakes,
    key: u64,
    own: Rc<HalfOpen>,
}

impl HalfOpenHandshakes {
    /// Begins one. If there are too many, the oldest ends.
    pub(super) fn begin(&self) -> HalfOpenPlace<'_> {
        let mut open = self.open.borrow_mut();
        if open.len() >= HALF_OPEN_MAX
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.ended.set(true);
            if let Some(waker) = oldest.waker.take() {
                waker.wake();
            }
        }
        let key = self.next.get();
        self.next.set(key.wrapping_add(1));
        let own = Rc::<HalfOpen>::default();
        open.insert(key, Rc::clone(&own));
        HalfOpenPlace {
            all: self,
            key,
            own,
        }
    }
}

impl HalfOpenPlace<'_> {
    /// Whether it has to end for a new one. The task is woken then.
    pub(super) fn has_ended(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.own.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
        self.own.ended.get()
    }
}

impl Drop for HalfOpenPlace<'_> {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ends_for_one_too_many() {
        let all = HalfOpenHandshakes::default();
        let cx = Context::from_waker(Waker::noop());
        let mut places: Vec<_> = (0..HALF_OPEN_MAX).map(|_| all.begin()).collect();
        assert!(places.iter().all(|place| !place.has_ended(&cx)));
        places.remove(1);
        places.push(all.begin());
        assert!(!places[0].has_ended(&cx), "one had ended by itself");
        places.push(all.begin());
        assert!(places[0].has_ended(&cx) && !places[1].has_ended(&cx));
        drop(places);
        assert!(all.open.borrow().is_empty());
    }
}
