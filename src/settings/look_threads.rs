//! The threads that look at folders, which a folder on a network disk that is away may never answer.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// Threads that look at folders, those of earlier readings included that no folder has answered.
const THREADS_MAX: usize = 64;

/// Threads that begin at once; more follow if there is no answer for a while.
const THREADS_FIRST: usize = 4;
/// The time without an answer after which one more begins.
const SLOW: Duration = Duration::from_millis(10);

/// The places of these threads. A thread whose folder never answers keeps its place until the process ends.
#[derive(Debug, Clone, Default)]
pub(super) struct LookThreads(Arc<AtomicUsize>);

/// Given back when the thread ends.
struct ThreadPlace(Arc<AtomicUsize>);

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LookThreads {
    fn place(&self) -> Option<ThreadPlace> {
        let one_more = |used: usize| (used < THREADS_MAX).then_some(used + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.fetch_update(set, fetch, one_more).ok()?;
        Some(ThreadPlace(Arc::clone(&self.0)))
    }

    /// What `look` finds at each of `things`, in their order; `None` where there was no answer within `limit`. One thing that
    /// does not answer keeps one thread, and delays no other.
    pub(super) fn look_at_all<T, R>(
        &self,
        things: &Arc<Vec<T>>,
        limit: Duration,
        look: impl Fn(&T) -> R + Clone + Send + 'static,
    ) -> Vec<Option<R>>
    where
        T: Send + Sync + 'static,
        R: Send + 'static,
    {
        let until = Instant::now() + limit;
        let next = Arc::new(AtomicUsize::new(0));
        let (answer, answers) = channel();
        let begin = |place: ThreadPlace| {
            let (things, next) = (Arc::clone(things), Arc::clone(&next));
            let (answer, look) = (answer.clone(), look.clone());
            let begun = thread::Builder::new().name("folders".to_owned());
            // Without a thread there is no answer, as from a folder that does not answer.
            drop(begun.spawn(move || {
                let _place = place;
                let mut mine = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                // Nobody waits for an answer that is late.
                mine.try_for_each(|n| answer.send((n, look(things.get(n)?))).ok())
            }));
        };
        let places = iter::from_fn(|| self.place());
        places.take(things.len().min(THREADS_FIRST)).for_each(begin);
        let mut found: Vec<_> = things.iter().map(|_| None).collect();
        let mut missing = things.len();
        while missing > 0 {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left.min(SLOW)) {
                Ok((n, looked)) => {
                    missing -= 1;
                    if let Some(place) = found.get_mut(n) {
                        *place = Some(looked);
                    }
                }
                Err(_) if left.is_zero() => break,
                // All threads may be at folders that do not answer.
                Err(_) if next.load(Ordering::Relaxed) < things.len() => {
                    self.place().into_iter().for_each(begin);
                }
                Err(_) => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_does_not_answer_delays_no_other_and_keeps_one_place() {
        let threads = LookThreads::default();
        let (stay, stays) = sync_channel::<()>(0);
        let stays = Arc::new(parking_lot::Mutex::new(stays));
        let things: Arc<Vec<usize>> = Arc::new((0..500).collect());
        let limit = Duration::from_secs(2);
        let found = threads.look_at_all(&things, limit, move |n| {
            if *n == 7 {
                let _woken = stays.lock().recv();
            }
            n * 2
        });
        for (n, found) in found.into_iter().enumerate() {
            assert_eq!(found, (n != 7).then_some(n * 2));
        }
        assert_eq!(threads.0.load(Ordering::Acquire), 1);
        drop(stay);
    }

    #[test]
    fn without_a_place_nothing_answers() {
        let threads = LookThreads::default();
        let taken: Vec<_> = iter::from_fn(|| threads.place()).collect();
        assert_eq!(taken.len(), THREADS_MAX);
        let found = threads.look_at_all(&Arc::new(vec![1]), Duration::ZERO, |n| *n);
        assert_eq!(found, [None]);
        drop(taken);
        let found = threads.look_at_all(&Arc::new(vec![1]), Duration::from_secs(60), |n| *n);
        assert_eq!(found, [Some(1)]);
    }
}
