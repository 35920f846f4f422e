//! Specs: what they default to, what is refused, and by which name.

use std::time::Duration;

use serde::Deserialize;

use super::play::{Counts, Play, counts, paused, root, started};
use crate::supervision::*;

fn faults(spec: SupervisorSpec) -> Vec<SpecFault> {
    match PreparedTree::new(spec) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0,
    }
}

#[test]
fn otp_sup_start_map() {
    let play = Play::new();
    let rules = play.spec("a").rules;
    assert_eq!(rules.restart, Restart::Permanent);
    assert_eq!(rules.shutdown, Shutdown::Timeout(Duration::from_secs(5)));
    assert_eq!(
        (rules.start_timeout, rules.supervisor),
        (START_TIMEOUT, false)
    );
    let inner = SupervisorSpec::new("inner");
    let flags = *inner.flags.lock();
    assert_eq!(flags.strategy, Strategy::OneForOne);
    assert_eq!(flags.intensity.max_restarts, 1);
    assert_eq!(flags.intensity.period, Duration::from_secs(5));
    let rules = ChildSpec::supervisor(inner).rules;
    assert_eq!(
        (rules.shutdown, rules.supervisor),
        (Shutdown::Infinity, true)
    );
}

#[test]
fn otp_sup_start_map_faulty_specs() {
    let play = Play::new();
    let hasty = play.spec("hasty").start_timeout(Duration::ZERO);
    let hard = play
        .spec("hard")
        .shutdown(Shutdown::Timeout(Duration::ZERO));
    let inner = SupervisorSpec::new("inner").child(hasty);
    let spec = root(1, 5)
        .child(play.spec("a"))
        .child(hard)
        .child(play.spec(""))
        .child(ChildSpec::supervisor(inner))
        .child(play.spec("a"));
    let found = faults(spec);
    assert_eq!(
        found,
        [
            SpecFault::Shutdown("hard".into()),
            SpecFault::NoName("root".into()),
            SpecFault::StartTimeout("hasty".into()),
            SpecFault::NameTwice("a".into()),
        ],
        "all of them, the nested ones too"
    );
}

#[test]
fn otp_child_specs() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(1, 5)).await;
        let wrong = play.spec("").shutdown(Shutdown::Timeout(Duration::ZERO));
        let Err(OrderError::Faulty(faults)) = tree.admin.start_child(wrong).await else {
            panic!("it was taken");
        };
        assert_eq!(
            faults.to_string(),
            "the spec is wrong: a child of root has no name: give it one; \
             : the shutdown timeout is zero, use Shutdown::Brutal to stop a child at once"
        );
        assert_eq!(counts(&tree.admin), Counts::default());
        assert_eq!(play.log(), "", "nothing was started");
        tree.stop().await;
    });
}

#[test]
fn otp_sup_flags() {
    let name = || "root".into();
    let intensity = |period| {
        let intensity = Intensity {
            max_restarts: 0,
            period,
        };
        faults(SupervisorSpec::new("root").intensity(intensity))
    };
    let backoff = |factor, jitter| {
        let backoff = Backoff {
            factor,
            jitter,
            ..Backoff::default()
        };
        faults(SupervisorSpec::new("root").backoff(backoff))
    };
    assert_eq!(
        intensity(Duration::from_secs(1)),
        [],
        "0 restarts are allowed"
    );
    let period = intensity(Duration::ZERO);
    assert_eq!(period, [SpecFault::Period(name())]);
    assert_eq!(backoff(1.0, 0.0), []);
    for factor in [0.5, f64::NAN, f64::INFINITY] {
        let shrinking = backoff(factor, 1.0);
        assert_eq!(shrinking, [SpecFault::BackoffFactor(name())]);
    }
    for jitter in [-0.1, 1.1, f64::NAN] {
        let jitter = backoff(2.0, jitter);
        assert_eq!(jitter, [SpecFault::Jitter(name())]);
    }
}

#[test]
fn flags_are_read_as_settings_write_them() {
    let read = |text: &str| toml::from_str::<Backoff>(text);
    let backoff = read("first = '20ms'\nfactor = 3.0\nmax = '1m'").unwrap();
    assert_eq!(backoff.first, Duration::from_millis(20));
    assert_eq!(backoff.max, Duration::from_secs(60));
    assert_eq!((backoff.factor, backoff.jitter), (3.0, 1.0));
    assert!(read("fisrt = '20ms'").is_err());
    let intensity: Intensity = toml::from_str("count = 3\nwithin = '10s'").unwrap();
    assert_eq!(intensity.max_restarts, 3);
    assert_eq!(intensity.period, Duration::from_secs(10));
    let strategy = |word: &str| Strategy::deserialize(toml::Value::from(word));
    assert_eq!(strategy("rest_for_one"), Ok(Strategy::RestForOne));
    assert!(strategy("all").is_err());
}
