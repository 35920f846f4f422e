//! Random sequences of steps: a rule comes into force or goes, while clients write.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::run;

/// A declaration with or without a rule, and the writes of clients meanwhile.
#[derive(Debug, Clone)]
pub(super) struct RuleStep<W> {
    /// Whether the rule is declared.
    pub(super) rule: bool,
    pub(super) clients: Vec<Vec<W>>,
    /// The number of times that the comparison waits.
    pub(super) held: u32,
    /// The point at which the writer dies.
    pub(super) dies: Option<&'static str>,
}

pub(super) fn rule_steps<W: Debug + Clone>(
    write: impl Strategy<Value = W>,
) -> impl Strategy<Value = Vec<RuleStep<W>>> {
    let client = prop::collection::vec(write, 0..8);
    let points = vec![
        "writer.message",
        "writer.before_view",
        "writer.declaring",
        "writer.after_view",
    ];
    let step = (
        prop::bool::weighted(0.7),
        prop::collection::vec(client, 1..5),
        prop_oneof![Just(0_u32), 1_u32..20],
        prop::option::weighted(0.2, prop::sample::select(points)),
    );
    let step = step.prop_map(|(rule, clients, held, dies)| RuleStep {
        rule,
        clients,
        held,
        dies,
    });
    prop::collection::vec(step, 1..6)
}

/// Carries out so many random sequences; fails with the shortest one that fails.
pub(super) fn play_all<S: Debug, F: Future<Output = ()>>(
    cases: u32,
    steps: impl Strategy<Value = Vec<S>>,
    play: impl Fn(Vec<S>) -> F,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&steps, |steps| {
        run(play(steps));
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}
