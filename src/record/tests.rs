//! Tests of several parts of this room, and what they share.

pub(super) mod fields;
mod fuzz;
mod random_input;
