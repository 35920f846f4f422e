//! The supervisor's paperwork: orders that come in, and answers that go out when they are carried out.

use std::collections::HashMap;

use super::effect::Ticket;
use super::order::{Order, Reply};
use super::order_error::Answer;

/// Orders that wait, and who waits for their answers. Both are bounded by the places at the desk.
#[derive(Default)]
pub(super) struct Clerk {
    last: u64,
    open: HashMap<Ticket, Reply<Answer>>,
    deferred: Vec<Order>,
}

impl Clerk {
    pub(super) fn open(&mut self, reply: Reply<Answer>) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.open.insert(ticket, reply);
        ticket
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(reply) = self.open.remove(&ticket) {
            reply.send(answer);
        }
    }

    /// Nobody knows any more what became of the open orders: whoever waits is told that the supervisor is gone.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    pub(super) fn defer(&mut self, order: Order) {
        self.deferred.push(order);
    }

    /// What was ordered while the supervisor was starting.
    pub(super) fn deferred(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.deferred)
    }
}
