//! The supervisor's paperwork: orders that come in, and answers that go out when they are carried out.

use std::collections::HashMap;

use actix::prelude::*;

use super::Supervisor;
use crate::supervision::administration::{Answer, Order, Reply};
use crate::supervision::bed::Member;
use crate::supervision::child_spec::ChildSpec;
use crate::supervision::effect::Ticket;
use crate::supervision::spec_fault::{self, SpecFaults};

/// Orders that wait, and who waits for their answers. Both are bounded by the places at the desk.
#[derive(Default)]
pub(super) struct Clerk {
    last: u64,
    open: HashMap<Ticket, Reply<Answer>>,
    deferred: Vec<Order>,
}

impl Clerk {
    fn open(&mut self, reply: Reply<Answer>) -> Ticket {
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

    /// What was ordered while the supervisor was starting.
    pub(super) fn deferred(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.deferred)
    }
}

impl Supervisor {
    pub(super) fn take_order(&mut self, order: Order, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let effects = match order {
            Order::Which(reply) => {
                let children = self.bed.all();
                return reply.send(children.iter().map(|c| c.node.view(now)).collect());
            }
            Order::Count(reply) => return reply.send(self.machine.counts()),
            Order::Spec(name, reply) => return reply.send(self.machine.rules(&name)),
            order if self.machine.booting() => return self.clerk.deferred.push(order),
            Order::Start(spec, reply) => return self.start_child(spec, reply, ctx),
            Order::Terminate(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.terminate(&name, ticket, now)
            }
            Order::Restart(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.restart(&name, ticket, now)
            }
            Order::Delete(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.delete(&name, ticket)
            }
        };
        self.carry_out(effects, ctx);
    }

    fn start_child(&mut self, spec: ChildSpec, reply: Reply<Answer>, ctx: &mut Context<Self>) {
        let mut faults = spec.faults(&self.bed.name);
        faults.extend(spec_fault::of_names(spec.node.names()));
        if let Err(faults) = SpecFaults::none_of(faults) {
            return reply.send(Err(faults.into()));
        }
        match self.machine.place_for(spec.node.name()) {
            Ok(place) => {
                let (member, now) = (Member::new(spec), self.clock.now());
                let newcomer = member.newcomer();
                self.bed.add(place, member);
                let ticket = self.clerk.open(reply);
                let effects = self.machine.add(newcomer, ticket, now);
                self.carry_out(effects, ctx);
            }
            Err(error) => reply.send(Err(error)),
        }
    }
}
