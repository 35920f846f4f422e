//! The threads that look at folders: a folder on a network disk that is away may block its thread for ever.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
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

    /// Begins to look at each of `things`; whoever asks for the answers waits for `limit` at most. One thing that does not answer keeps
    /// one thread, and delays no other.
    pub(super) fn begin<T: Send + Sync + 'static, R: Send + 'static>(
        &self,
        things: &Arc<Vec<T>>,
        limit: Duration,
        look: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> BegunLooks<T, R> {
        let (all_answered, wait) = channel();
        let looks = BegunLooks {
            threads: self.clone(),
            things: Arc::clone(things),
            answers: Arc::new(Answers::none(things.len())),
            look: Arc::new(look),
            limit,
            all_answered,
            wait,
        };
        let places = iter::from_fn(|| self.place());
        let places = places.take(things.len().min(THREADS_FIRST));
        places.for_each(|place| looks.add_thread(place));
        looks
    }
}

/// A look at several things that was begun.
pub(super) struct BegunLooks<T, R> {
    threads: LookThreads,
    things: Arc<Vec<T>>,
    answers: Arc<Answers<R>>,
    look: Arc<dyn Fn(&T) -> R + Send + Sync>,
    /// The longest wait for the answers.
    limit: Duration,
    all_answered: Sender<()>,
    wait: Receiver<()>,
}

impl<T: Send + Sync + 'static, R: Send + 'static> BegunLooks<T, R> {
    fn add_thread(&self, place: ThreadPlace) {
        let (things, answers) = (Arc::clone(&self.things), Arc::clone(&self.answers));
        let (look, all_answered) = (Arc::clone(&self.look), self.all_answered.clone());
        let begun = thread::Builder::new().name("folders".to_owned());
        // Without a thread there is no answer, as from a folder that does not answer.
        drop(begun.spawn(move || {
            let _place = place;
            while let Some((thing, answer)) = answers.next(&things) {
                let found = look(thing);
                *answer.lock() = Some(found);
                if answers.count() == 0 {
                    // Whoever waits may have given up.
                    let _sent = all_answered.send(());
                }
            }
        }));
    }

    /// The results, in the order of the things; `None` where there was no answer in time.
    pub(super) fn answers(self) -> Vec<Option<R>> {
        let until = Instant::now() + self.limit;
        let mut before = self.things.len();
        while self.answers.missing() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if self.wait.recv_timeout(left.min(SLOW)).is_ok() || left.is_zero() {
                break;
            }
            let missing = self.answers.missing();
            if missing == before && self.answers.are_there_more() {
                // All threads may be at folders that do not answer.
                let place = self.threads.place().into_iter();
                place.for_each(|place| self.add_thread(place));
            }
            before = missing;
        }
        self.answers.take()
    }
}

/// The answers of one round, to which each thread adds its own without waking anybody.
struct Answers<R> {
    /// The first thing that nobody looks at yet.
    next: AtomicUsize,
    missing: AtomicUsize,
    found: Vec<Mutex<Option<R>>>,
}

impl<R> Answers<R> {
    fn none(count: usize) -> Self {
        Self {
            next: AtomicUsize::new(0),
            missing: AtomicUsize::new(count),
            found: iter::repeat_with(Mutex::default).take(count).collect(),
        }
    }

    /// The next thing to look at, and the place of the answer.
    fn next<'a, T>(&'a self, things: &'a [T]) -> Option<(&'a T, &'a Mutex<Option<R>>)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        things.get(n).zip(self.found.get(n))
    }

    fn are_there_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.found.len()
    }

    /// Counts one answer; returns how many are missing then.
    fn count(&self) -> usize {
        self.missing.fetch_sub(1, Ordering::AcqRel) - 1
    }

    fn missing(&self) -> usize {
        self.missing.load(Ordering::Acquire)
    }

    /// Takes what there is. No thread begins to look at another thing.
    fn take(&self) -> Vec<Option<R>> {
        self.next.store(self.found.len(), Ordering::Relaxed);
        self.found.iter().map(|found| found.lock().take()).collect()
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
        let stays = Arc::new(Mutex::new(stays));
        let things: Arc<Vec<usize>> = Arc::new((0..500).collect());
        let limit = Duration::from_secs(2);
        let looks = threads.begin(&things, limit, move |n| {
            if *n == 7 {
                let _woken = stays.lock().recv();
            }
            n * 2
        });
        for (n, found) in looks.answers().into_iter().enumerate() {
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
        let looked = |limit| threads.begin(&Arc::new(vec![1]), limit, |n| *n).answers();
        assert_eq!(looked(Duration::ZERO), [None]);
        drop(taken);
        assert_eq!(looked(Duration::from_secs(60)), [Some(1)]);
    }
}
