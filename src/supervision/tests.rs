//! Supervision as a child and its callers see it: on a paused clock, with the real actors, and on one thread unless a
//! test says otherwise.
//!
//! Tests named `otp_...` are ported from OTP's own test suite (`supervisor_SUITE.erl`).

mod administration;
mod adoption;
mod escalation;
mod group_start;
mod live_changes;
mod messages;
mod play;
mod renewal;
mod restart_types;
mod specs;
mod start;
mod stop;
mod strategies;
mod threads;
