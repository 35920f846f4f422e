//! The room that the answers of a connection share: for the pieces of bodies that the library has and the client has not.
//!
//! There are few pieces at a time, because the library's table for frames never becomes smaller, and those that were read from a
//! disk have few bytes. A stream asks for room when the client's windows have room, so that no piece waits for the windows of
//! its stream alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::buffered::{Held, UNCOUNTED_BYTES};
use super::super::counters::{ConnectionCounters, count};

/// The most pieces of a connection's answers.
const PIECES_MAX: usize = 16;
/// The most bytes of a connection's answers that were read from a disk and wait to be sent: of few streams, and of many.
const UNSENT_BYTES_MAX: [usize; 2] = [64 * 1024, 16 * 1024];
/// More streams are many.
const FEW_STREAMS: usize = 32;
/// The least and the most bytes that one answer reads at a time.
const SHARE_BYTES: [usize; 2] = [16 * 1024, 32 * 1024];

/// The rooms of one connection.
pub(super) struct Rooms {
    /// Pieces that have room, and their bytes.
    pieces: Cell<usize>,
    unsent: Cell<usize>,
    /// Counts the bytes.
    held: RefCell<Held>,
    /// Those who wait for room, in the order in which they get it; each has a number.
    in_line: RefCell<VecDeque<(u64, Waker)>>,
    next_number: Cell<u64>,
}

/// Room for a piece, until it is dropped.
pub(super) struct PieceRoom {
    rooms: Rc<Rooms>,
    pub(super) bytes: usize,
}

/// One of those who wait for room, until it is dropped.
pub(super) struct PlaceInLine {
    rooms: Rc<Rooms>,
    number: u64,
}

impl Rooms {
    pub(super) fn new(counters: &Arc<ConnectionCounters>) -> Rc<Self> {
        Rc::new(Self {
            pieces: Cell::new(0),
            unsent: Cell::new(0),
            held: RefCell::new(Held::new(counters)),
            in_line: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Waits for room for a piece that is about to be made. It may be for fewer bytes, if all connections hold too much. No time
    /// limits the wait: if the client takes nothing, those who have room are ended, and so is the connection whose socket is
    /// full.
    pub(super) fn poll_take(
        self: &Rc<Self>,
        place: &mut Option<PlaceInLine>,
        bytes: usize,
        streams: usize,
        cx: &Context<'_>,
    ) -> Poll<PieceRoom> {
        let mut in_line = self.in_line.borrow_mut();
        let number = place.as_ref().map(|place| place.number);
        if in_line.front().map(|(number, _)| *number) == number
            && let Some(room) = self.take(bytes, streams)
        {
            drop(in_line);
            *place = None;
            return Poll::Ready(room);
        }
        let waker = cx.waker().clone();
        if let Some(mine) = in_line.iter_mut().find(|(other, _)| Some(*other) == number) {
            mine.1 = waker;
        } else {
            count(&self.held.borrow().counters.unsent_full);
            let number = self.next_number.replace(self.next_number.get() + 1);
            in_line.push_back((number, waker));
            *place = Some(PlaceInLine {
                rooms: Rc::clone(self),
                number,
            });
        }
        Poll::Pending
    }

    fn take(self: &Rc<Self>, mut bytes: usize, streams: usize) -> Option<PieceRoom> {
        let (pieces, unsent) = (self.pieces.get(), self.unsent.get());
        if pieces >= PIECES_MAX || unsent + bytes > unsent_bytes_max(streams) {
            return None;
        }
        if bytes > 0 && !self.held.borrow_mut().set(unsent + bytes) {
            // All connections hold too much. So this one gets a little, once all else is sent.
            if unsent > 0 {
                return None;
            }
            bytes = bytes.min(UNCOUNTED_BYTES);
        }
        self.pieces.set(pieces + 1);
        self.unsent.set(unsent + bytes);
        Some(PieceRoom {
            rooms: Rc::clone(self),
            bytes,
        })
    }

    fn wake_first_in_line(&self) {
        if let Some((_, waker)) = self.in_line.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

fn unsent_bytes_max(streams: usize) -> usize {
    let [few, many] = UNSENT_BYTES_MAX;
    if streams > FEW_STREAMS { many } else { few }
}

/// The bytes that an answer may read at a time: the more streams there are, the fewer.
pub(super) fn share_bytes(streams: usize) -> usize {
    let [least, most] = SHARE_BYTES;
    let share = (unsent_bytes_max(streams) / 2).checked_div(streams);
    share.unwrap_or(most).clamp(least, most)
}

impl Drop for PieceRoom {
    fn drop(&mut self) {
        let rooms = &self.rooms;
        rooms.pieces.set(rooms.pieces.get().saturating_sub(1));
        if self.bytes > 0 {
            let unsent = rooms.unsent.get().saturating_sub(self.bytes);
            rooms.unsent.set(unsent);
            rooms.held.borrow_mut().set(unsent);
        }
        rooms.wake_first_in_line();
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        let others = |(number, _): &(u64, Waker)| *number != self.number;
        self.rooms.in_line.borrow_mut().retain(others);
        self.rooms.wake_first_in_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room that a waiting stream gets, if any.
    fn ask(
        rooms: &Rc<Rooms>,
        place: &mut Option<PlaceInLine>,
        bytes: usize,
        streams: usize,
    ) -> Option<PieceRoom> {
        let cx = Context::from_waker(Waker::noop());
        match rooms.poll_take(place, bytes, streams, &cx) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn streams_share_the_room_for_what_is_unsent() {
        for (streams, share, most) in [
            (0, 32, 64),
            (1, 32, 64),
            (2, 16, 64),
            (32, 16, 64),
            (33, 16, 16),
            (100, 16, 16),
        ] {
            assert_eq!(share_bytes(streams), share * 1024, "{streams}");
            assert_eq!(unsent_bytes_max(streams), most * 1024, "{streams}");
        }
    }

    #[test]
    fn those_who_wait_for_room_get_it_in_their_order() {
        let counters = Arc::new(ConnectionCounters::new(usize::MAX));
        let rooms = Rooms::new(&counters);
        let mut places: [Option<PlaceInLine>; 4] = Default::default();
        let mut ask = |n: usize, bytes| ask(&rooms, &mut places[n], bytes, 1);
        let [all, _] = UNSENT_BYTES_MAX;
        let (first, second) = (ask(0, all / 2).unwrap(), ask(1, all / 2).unwrap());
        assert!(ask(0, 1).is_none());
        assert!(ask(1, all / 2).is_none());
        assert!(ask(2, 1).is_none());
        drop(first);
        assert!(ask(2, 1).is_none(), "it is not the first");
        let little = ask(0, 1).unwrap();
        assert!(ask(1, all / 2).is_none());
        drop((second, little));
        assert!(ask(1, all).is_some());
        assert!(ask(3, 1).is_none(), "one waits before it");
        assert!(ask(2, all).is_some() && ask(3, all).is_some());
        let waited = counters
            .unsent_full
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(waited, 4);
    }

    #[test]
    fn there_are_few_pieces_however_many_streams_have_one() {
        let rooms = Rooms::new(&Arc::default());
        let mut places: Vec<Option<PlaceInLine>> = (0..100).map(|_| None).collect();
        let mut has: Vec<_> = places
            .iter_mut()
            .map(|place| ask(&rooms, place, 0, 100))
            .collect();
        assert!(has.iter().take(PIECES_MAX).all(Option::is_some));
        assert!(has.iter().skip(PIECES_MAX).all(Option::is_none));
        // Each that is sent makes room for one other, in their order.
        for next in PIECES_MAX..100 {
            has[next - PIECES_MAX] = None;
            assert!(next + 1 == 100 || ask(&rooms, &mut places[next + 1], 0, 100).is_none());
            has[next] = ask(&rooms, &mut places[next], 0, 100);
            assert!(has[next].is_some(), "{next}");
        }
    }

    #[test]
    fn who_leaves_the_line_makes_room_for_the_next() {
        let rooms = Rooms::new(&Arc::default());
        let (mut first, mut second) = (None, None);
        let room = ask(&rooms, &mut None, 1, 1).unwrap();
        assert!(ask(&rooms, &mut first, unsent_bytes_max(1), 1).is_none());
        assert!(ask(&rooms, &mut second, 1, 1).is_none());
        drop(first);
        assert!(ask(&rooms, &mut second, 1, 1).is_some());
        drop(room);
        assert_eq!((rooms.unsent.get(), rooms.pieces.get()), (0, 0));
    }

    #[test]
    fn there_is_little_room_if_all_connections_hold_too_much() {
        let counters = Arc::new(ConnectionCounters::new(40_000));
        let rooms = Rooms::new(&counters);
        let mut place = None;
        let mut ask = |bytes| ask(&rooms, &mut place, bytes, 1);
        let room = ask(30_000).unwrap();
        assert_eq!((room.bytes, counters.buffered.bytes()), (30_000, 30_000));
        assert!(ask(20_000).is_none());
        drop(room);
        let mut others = Held::new(&counters);
        assert!(others.set(30_000));
        let room = ask(20_000).unwrap();
        assert_eq!(room.bytes, UNCOUNTED_BYTES);
        assert!(ask(20_000).is_none());
        drop(room);
        assert_eq!(ask(1000).unwrap().bytes, 1000);
    }
}
