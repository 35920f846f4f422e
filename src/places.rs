//! A number of places that can change while some of them are taken. Those who wait for one get it in the order in which they
//! came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A number of places.
#[derive(Debug)]
pub(crate) struct Places {
    /// Those that are free.
    free: Semaphore,
    /// The number of all, once the excess is gone.
    size: Mutex<usize>,
    /// Places that are taken, and go when they are given back.
    excess: AtomicUsize,
}

impl Places {
    /// This many places, all of them free.
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Semaphore::new(size),
            size: Mutex::new(size),
            excess: AtomicUsize::new(0),
        })
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<TakenPlace> {
        self.free.try_acquire().ok()?.forget();
        Some(TakenPlace(Arc::clone(self)))
    }

    /// Waits for a place. Dropping the future leaves the queue.
    pub(crate) async fn take(self: Arc<Self>) -> TakenPlace {
        // It fails only if the semaphore is closed, which nobody does.
        let permit = self.free.acquire().await.ok();
        permit.map(SemaphorePermit::forget).unwrap_or_default();
        TakenPlace(self)
    }

    /// Changes the number of places. Those that are taken stay taken; if they are more, none is free until enough of them are
    /// given back.
    pub(crate) fn resize(&self, places: usize) {
        let mut size = self.size.lock();
        let before = std::mem::replace(&mut *size, places);
        let fewer = before.saturating_sub(places);
        self.excess.fetch_add(fewer, Ordering::AcqRel);
        for _ in 0..fewer {
            if !self.take_excess() {
                break;
            }
            if self.free.forget_permits(1) == 0 {
                self.excess.fetch_add(1, Ordering::AcqRel);
                break;
            }
        }
        let more = places.saturating_sub(before);
        let still_there = (0..more).take_while(|_| self.take_excess()).count();
        self.free.add_permits(more - still_there);
    }

    /// The number of places.
    pub(crate) fn size(&self) -> usize {
        *self.size.lock()
    }

    /// Whether the place that is given back is one that goes.
    fn take_excess(&self) -> bool {
        let less = |excess: usize| excess.checked_sub(1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.excess.load(Ordering::Relaxed) > 0
            && self.excess.fetch_update(set, fetch, less).is_ok()
    }
}

/// A place that is taken. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct TakenPlace(Arc<Places>);

impl Drop for TakenPlace {
    fn drop(&mut self) {
        if !self.0.take_excess() {
            self.0.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn fewer_places_let_nobody_in_until_enough_are_given_back() {
        for (size, taken, then) in [(3, 2, 1), (3, 3, 0), (3, 0, 1), (3, 1, 2), (2, 2, 5)] {
            let places = Places::new(size);
            let mut inside: Vec<_> = (0..taken).filter_map(|_| places.try_take()).collect();
            places.resize(then);
            assert_eq!(places.size(), then);
            while inside.len() > then {
                assert!(places.try_take().is_none(), "{size} {taken} {then}");
                inside.pop();
            }
            inside.extend(std::iter::from_fn(|| places.try_take()));
            assert_eq!(inside.len(), then, "{size} {taken} {then}");
            places.resize(size);
            inside.truncate(size);
            inside.extend(std::iter::from_fn(|| places.try_take()));
            assert_eq!(inside.len(), size, "as before: {size} {taken} {then}");
        }
    }

    #[tokio::test]
    async fn those_who_wait_keep_their_order_when_the_number_changes() {
        let places = Places::new(2);
        let mut inside = vec![places.try_take(), places.try_take()];
        let mut first = Box::pin(Arc::clone(&places).take());
        let mut second = Box::pin(Arc::clone(&places).take());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        places.resize(1);
        inside.pop();
        assert!(first.as_mut().now_or_never().is_none(), "one is inside");
        inside.pop();
        assert!(second.as_mut().now_or_never().is_none(), "not its turn");
        let one = first.as_mut().now_or_never();
        assert!(one.is_some());
        places.resize(2);
        assert!(second.as_mut().now_or_never().is_some());
        assert!(places.try_take().is_some(), "the second has gone");
        drop(one);
    }

    #[test]
    fn no_place_is_lost_or_made_by_changes_beside_takers() {
        let places = Places::new(4);
        let done = Arc::new(AtomicUsize::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let (places, done) = (Arc::clone(&places), Arc::clone(&done));
                std::thread::spawn(move || {
                    while done.load(Ordering::Relaxed) == 0 {
                        drop((places.try_take(), places.try_take()));
                    }
                })
            })
            .collect();
        for round in 0..20_000 {
            places.resize(round % 7);
        }
        places.resize(3);
        done.store(1, Ordering::Relaxed);
        for taker in takers {
            taker.join().unwrap();
        }
        let all: Vec<_> = std::iter::from_fn(|| places.try_take()).collect();
        assert_eq!(all.len(), 3);
    }
}
