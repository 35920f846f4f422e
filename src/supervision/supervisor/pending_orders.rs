//! The orders of one supervisor that are not answered yet.

use std::collections::HashMap;

use super::action::OrderId;
use super::order::{Order, OrderReply};
use super::order_outcome::OrderResult;

/// Orders that are being carried out, and orders that wait until the supervisor is up. The permits of the order queue bound
/// both.
#[derive(Default)]
pub(super) struct PendingOrders {
    last: u64,
    open: HashMap<OrderId, OrderReply>,
    deferred: Vec<Order>,
}

impl PendingOrders {
    /// Keeps the reply until the order with this number is answered.
    pub(super) fn open(&mut self, reply: OrderReply) -> OrderId {
        self.last += 1;
        let order = OrderId(self.last);
        self.open.insert(order, reply);
        order
    }

    pub(super) fn answer(&mut self, order: OrderId, result: OrderResult) {
        if let Some(reply) = self.open.remove(&order) {
            reply.send(result);
        }
    }

    /// Drops the open orders, since what became of them is not known. Their senders are told that the supervisor is not
    /// running.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Keeps an order until the supervisor is up.
    pub(super) fn defer(&mut self, order: Order) {
        self.deferred.push(order);
    }

    /// The orders that were kept until the supervisor is up.
    pub(super) fn deferred(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.deferred)
    }
}
