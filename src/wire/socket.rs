//! A connected socket on the thread that serves it: TCP or a unix socket.

// Decision: A socket is registered only when it has to wait.
// Decision: `AsyncFd::new` is used although tokio deprecates it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};
use tokio::io::unix::AsyncFd;

/// A connection that belongs to no thread yet. It does not block.
pub(crate) type Socket = OwnedFd;

/// The step of this side after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next step is the client's, so that the bytes have to leave at once.
    Wait,
    /// This side writes more at once, or ends, so that the bytes can leave in one packet with what follows.
    GoOn,
}

/// A connection on the thread that serves it. It is registered with the reactor only when a call would have blocked: a short
/// connection, whose request has arrived before it is accepted, never is.
pub(super) struct LazySocket {
    /// Declared first, so that it is deregistered before the descriptor is closed.
    registered: Option<AsyncFd<Arc<Socket>>>,
    socket: Arc<Socket>,
}

impl LazySocket {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            registered: None,
            socket: Arc::new(socket),
        }
    }

    /// Reads what has arrived; 0 bytes are the end. `Pending` wakes the task when more can be read.
    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = match &self.registered {
                Some(registered) => Some(ready!(registered.poll_read_ready(cx))?),
                None => None,
            };
            match recv(&*self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    // epoll reports what comes after a short read as a new event.
                    if let Some(guard) = &mut guard
                        && read > 0
                        && read < buffer.len()
                    {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => match guard {
                    Some(mut guard) => guard.clear_ready(),
                    None => self.register()?,
                },
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes the beginning of `parts` in one call. `Pending` wakes the task when more can be written.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        then: Then,
    ) -> Poll<io::Result<usize>> {
        let flags = match then {
            Then::Wait => SendFlags::NOSIGNAL,
            Then::GoOn => SendFlags::NOSIGNAL | SendFlags::MORE,
        };
        self.poll_out(cx, |socket| {
            if let [part] = parts {
                return send(socket, part, flags);
            }
            let mut none = SendAncillaryBuffer::default();
            sendmsg(socket, parts, &mut none, flags)
        })
    }

    /// Writes the beginning of `bytes` if there is room at once. It can be called without a runtime.
    pub(super) fn try_send(&self, bytes: &[u8]) {
        // Nobody waits for what has no room.
        let _sent_or_full = send(&*self.socket, bytes, SendFlags::NOSIGNAL);
    }

    /// Writes `count` bytes of a file, or fewer, from `offset` on, without a copy.
    pub(super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: impl AsFd,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_out(cx, |socket| {
            sendfile(socket, &file, Some(&mut offset.clone()), count)
        })
    }

    /// The socket, for a thread that writes into it.
    pub(super) fn share(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Waits until there is room for what such a thread writes, or until a write would fail.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = self.poll_out(cx, |socket| {
            let mut sockets = [PollFd::new(socket, PollFlags::OUT)];
            match poll(&mut sockets, Some(&Timespec::default()))? {
                0 => Err(Errno::WOULDBLOCK),
                ready => Ok(ready),
            }
        });
        room.map_ok(|_| ())
    }

    /// Carries out a call that writes; it is tried before the reactor is asked, because there is nearly always room.
    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(&OwnedFd) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        let mut call = |socket: &OwnedFd| {
            loop {
                let sent = call(socket);
                if sent != Err(Errno::INTR) {
                    return sent;
                }
            }
        };
        match call(&self.socket) {
            Err(Errno::WOULDBLOCK) => {}
            sent => return Poll::Ready(sent.map_err(Into::into)),
        }
        self.register()?;
        loop {
            let Some(registered) = &self.registered else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let mut guard = ready!(registered.poll_write_ready(cx))?;
            match call(&self.socket) {
                Err(Errno::WOULDBLOCK) => guard.clear_ready(),
                sent => return Poll::Ready(sent.map_err(Into::into)),
            }
        }
    }

    /// Tells the client that nothing more will be written.
    pub(super) fn end(&self) {
        // It fails only if the client has gone.
        let _gone = shutdown(&*self.socket, Shutdown::Write);
    }

    fn register(&mut self) -> io::Result<()> {
        if self.registered.is_none() {
            self.registered = Some(register(Arc::clone(&self.socket))?);
        }
        Ok(())
    }
}

/// Registers a descriptor with the reactor of this thread.
#[expect(
    deprecated,
    reason = "its successor asks for a promise that no compiler checks"
)]
pub(crate) fn register<T: AsRawFd>(descriptor: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(descriptor)
}
