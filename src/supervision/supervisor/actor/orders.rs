//! Orders to a supervisor: the part of the actor that receives them.

use actix::prelude::*;
use tokio::time::Instant;

use super::{Supervisor, turn};
use crate::supervision::life::{ChildSpec, Lasting, Order, OrderCommand, OrderError, OrderReply};
use crate::supervision::spec_fault;
use crate::supervision::supervisor::action::Action;
use crate::supervision::supervisor::machine::Row;

impl Handler<Order> for Supervisor {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        if self.state.in_term(self.term) {
            self.take_order(order, ctx);
        }
    }
}

impl Supervisor {
    /// Carries out an order. One that comes while the supervisor is starting waits until it is up.
    pub(super) fn take_order(&mut self, order: Order, ctx: &mut Context<Self>) {
        if self.machine.booting() {
            return self.deferred.push(order);
        }
        let Order { command, reply } = order;
        self.machine.flags = *self.state.spec.flags.lock();
        let actions = match command {
            OrderCommand::Start {
                spec,
                before,
                lasting,
            } => self.add_child(spec, before.as_deref(), lasting, reply),
            OrderCommand::Terminate(name, after) => {
                self.machine.terminate(&name, after, reply, turn())
            }
            OrderCommand::Renew(name) => self.machine.renew(&name, reply, turn()),
            OrderCommand::Restart(name) => self.machine.restart(&name, reply, turn()),
            OrderCommand::Delete(name) => self.machine.delete(&name, reply, turn()),
            OrderCommand::Remove(name, after) => self.machine.remove(&name, after, reply, turn()),
        };
        self.carry_out(actions, ctx);
    }

    fn add_child(
        &mut self,
        spec: ChildSpec,
        before: Option<&str>,
        lasting: Lasting,
        reply: OrderReply,
    ) -> Vec<Action> {
        let faults = spec.faults(&self.state.spec.node.name);
        let position = spec_fault::none_of(faults, spec.node.names())
            .map_err(OrderError::from)
            .and_then(|()| self.machine.position_for(&spec.node.name, before));
        match position {
            Ok(position) => {
                let row = Row::new(position, &spec, Instant::now());
                self.state.add(position, spec, lasting);
                self.machine.add(row, reply, turn())
            }
            Err(error) => vec![Action::Answer(reply, Err(error))],
        }
    }
}
