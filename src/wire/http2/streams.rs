//! Counts the open streams of a connection, and remembers when the last one ended.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;

use tokio::time::Instant;

/// The streams of one connection.
pub(super) struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
    /// The task that waits for the last one to end.
    waiting: Cell<Option<Waker>>,
}

/// Counts one stream as open until it is dropped.
pub(super) struct OpenStream {
    streams: Rc<Streams>,
}

impl Streams {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            waiting: Cell::new(None),
        })
    }

    /// Counts one more stream.
    pub(super) fn open(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream {
            streams: Rc::clone(self),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.open.get()
    }

    /// The time since which no stream is open; `None` if one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }

    /// Wakes the connection when the last one has ended.
    pub(super) fn on_idle(&self, waker: &Waker) {
        if self.open.get() > 0 {
            self.waiting.set(Some(waker.clone()));
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get().saturating_sub(1));
        if streams.open.get() == 0 {
            streams.idle_since.set(Instant::now());
            if let Some(waker) = streams.waiting.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_stream_on() {
        let start = Instant::now();
        let streams = Streams::new();
        let seconds = || Some((streams.idle_since()? - start).as_secs());
        assert_eq!(seconds(), Some(0));
        let (first, second) = (streams.open(), streams.open());
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(first);
        assert_eq!((streams.count(), seconds()), (1, None));
        drop(second);
        assert_eq!(seconds(), Some(3));
    }
}
