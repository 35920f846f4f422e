//! The life of a child: what a child is, how an incarnation begins and ends, and how it reports to its supervisor.

mod actor;
mod begun;
mod blocking;
mod child;
mod child_spec;
mod event;
mod event_loop;
mod order;
mod presence;
mod runtime;

pub(crate) use child::chain;
pub use child::{BlockingChild, BoxError, Child, ChildContext, LocalBoxFuture, StartError};
pub use child_spec::{ChildSpec, SHUTDOWN_TIMEOUT, START_TIMEOUT};
pub(crate) use event::{IncarnationId, Reporter, SupervisorEvent, Timer, TimerKind};
pub use event_loop::EventLoop;
pub(crate) use order::{Lasting, Order, OrderCommand, OrderQueue, OrderReply, OrderResult};
pub use order::{OrderError, Removal, Started, SupervisorLimits, SupervisorRef, Supervisors};
#[cfg(test)]
pub(crate) use presence::GOING_LIMIT;
pub use runtime::Env;
pub(crate) use runtime::Runtime;
