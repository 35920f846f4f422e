//! The life of a child: what it has to be, how an incarnation begins and ends, and how it reports.

mod actor;
mod blocking;
mod child;
mod child_spec;
mod event;
mod placement;
mod runtime;

pub(crate) use child::chain;
pub use child::{BlockingChild, BoxError, Child, Cx, LocalBoxFuture, StartError};
pub use child_spec::{ChildSpec, SHUTDOWN_TIMEOUT, START_TIMEOUT};
pub(crate) use event::{Event, Input, Reporter, Timer, TimerKind};
pub use placement::{Placement, Placer};
pub(crate) use runtime::Runtime;
