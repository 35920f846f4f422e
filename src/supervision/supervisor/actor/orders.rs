//! Orders to a supervisor: the part of the actor that receives them.

use actix::prelude::*;
use tokio::time::Instant;

use super::Supervisor;
use crate::supervision::life::ChildSpec;
use crate::supervision::spec_fault::{self, SpecFaults};
use crate::supervision::supervisor::action::Action;
use crate::supervision::supervisor::order::{Order, OrderCommand, OrderReply};
use crate::supervision::supervisor::order_outcome::OrderError;
use crate::supervision::supervisor::state::Member;

impl Handler<Order> for Supervisor {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        if self.state.in_term(self.term) {
            self.take_order(order, ctx);
        }
    }
}

impl Supervisor {
    pub(super) fn take_order(&mut self, order: Order, ctx: &mut Context<Self>) {
        if self.machine.booting() {
            return self.orders.defer(order);
        }
        let Order { command, reply } = order;
        let now = Instant::now();
        let actions = match command {
            OrderCommand::Start(spec) => self.add_child(spec, reply, now),
            OrderCommand::Terminate(name) => {
                self.machine.terminate(&name, self.orders.open(reply), now)
            }
            OrderCommand::Restart(name) => {
                self.machine.restart(&name, self.orders.open(reply), now)
            }
            OrderCommand::Delete(name) => self.machine.delete(&name, self.orders.open(reply)),
        };
        self.carry_out(actions, ctx);
    }

    fn add_child(&mut self, spec: ChildSpec, reply: OrderReply, now: Instant) -> Vec<Action> {
        let mut faults = spec.faults(&self.state.name);
        faults.extend(spec_fault::of_names(spec.node.names()));
        let position = SpecFaults::none_of(faults)
            .map_err(OrderError::from)
            .and_then(|()| self.machine.position_for(spec.node.name()));
        match position {
            Ok(position) => {
                let member = Member::new(spec);
                let newcomer = member.newcomer();
                self.state.add(position, member);
                self.machine.add(newcomer, self.orders.open(reply), now)
            }
            Err(error) => {
                reply.send(Err(error));
                Vec::new()
            }
        }
    }
}
