//! A sequence lock: readers never wait for the writer, but notice when it was at work, and look again.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Tells readers whether data that one writer changes step by step stayed the same while they looked at it.
///
/// It protects no data by itself: what is read under it must be safe to read at any moment, such as atomics or a concurrent
/// map. There is one writer at a time.
#[derive(Debug, Default)]
pub(super) struct SeqLock {
    /// Odd while the writer is between its first and its last change.
    epoch: AtomicU64,
}

impl SeqLock {
    /// To be called before the first change. Calling it again before [`write_end`](Self::write_end) does nothing.
    pub(super) fn write_begin(&self) {
        self.epoch.fetch_or(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// To be called after the last change.
    pub(super) fn write_end(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The result of `look`, if nothing changed while it ran.
    pub(super) fn read<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        let before = self.epoch.load(Ordering::SeqCst);
        if !before.is_multiple_of(2) {
            return None;
        }
        let seen = look();
        fence(Ordering::SeqCst);
        (self.epoch.load(Ordering::SeqCst) == before).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Two numbers that are equal except while they are being changed.
    #[derive(Default)]
    struct EqualNumbers {
        lock: SeqLock,
        left: AtomicU64,
        right: AtomicU64,
    }

    impl EqualNumbers {
        fn both(&self) -> (u64, u64) {
            let left = self.left.load(Ordering::Relaxed);
            // Long enough for the writer to come in between.
            std::hint::spin_loop();
            (left, self.right.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_read_that_the_writer_overlaps_has_no_result() {
        let pair = EqualNumbers::default();
        assert_eq!(pair.lock.read(|| pair.both()), Some((0, 0)));
        pair.lock.write_begin();
        pair.left.store(1, Ordering::Relaxed);
        assert_eq!(pair.both(), (1, 0), "torn without the lock");
        assert_eq!(
            pair.lock.read(|| pair.both()),
            None,
            "the writer is at work"
        );
        pair.lock.write_begin();
        pair.right.store(1, Ordering::Relaxed);
        pair.lock.write_end();
        assert_eq!(pair.lock.read(|| pair.both()), Some((1, 1)));
        let overtaken = pair.lock.read(|| {
            let left = pair.left.load(Ordering::Relaxed);
            pair.lock.write_begin();
            pair.left.store(2, Ordering::Relaxed);
            pair.right.store(2, Ordering::Relaxed);
            pair.lock.write_end();
            (left, pair.right.load(Ordering::Relaxed))
        });
        assert_eq!(overtaken, None, "(1, 2) was never there");
    }

    #[test]
    fn threads_that_read_beside_a_writer_see_only_whole_values() {
        let (pair, done) = (EqualNumbers::default(), AtomicBool::new(false));
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    let mut whole = 0_u32;
                    while !done.load(Ordering::SeqCst) || whole == 0 {
                        if let Some((left, right)) = pair.lock.read(|| pair.both()) {
                            assert_eq!(left, right);
                            whole += 1;
                        }
                    }
                });
            }
            for n in 1..=200_000 {
                pair.lock.write_begin();
                pair.left.store(n, Ordering::Relaxed);
                pair.right.store(n, Ordering::Relaxed);
                pair.lock.write_end();
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}
