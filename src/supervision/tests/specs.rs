//! Specs: what they default to, what is refused, and by which name.

use std::time::Duration;

use super::play::{Play, flags, grown, paused, root};
use crate::supervision::*;

fn faults(spec: SupervisorSpec) -> Vec<SpecFault> {
    match Seed::new(spec, Clock::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().cloned().collect(),
    }
}

#[test]
fn otp_sup_start_map() {
    paused(async {
        let play = Play::new();
        let inner = SupervisorSpec::new("inner", Flags::default());
        let spec = root(1, 5).child(play.spec("a"));
        let mut tree = grown(spec.child(ChildSpec::supervisor(inner))).await;
        let worker = Rules {
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            start_timeout: START_TIMEOUT,
            supervisor: false,
        };
        assert_eq!(tree.admin.child_spec("a").await, Ok(worker));
        let supervisor = Rules {
            shutdown: Shutdown::Infinity,
            supervisor: true,
            ..worker
        };
        assert_eq!(tree.admin.child_spec("inner").await, Ok(supervisor));
        let unknown = tree.admin.child_spec("z").await;
        assert_eq!(unknown, Err(AdminError::NotFound));
        let flags = Flags::default();
        assert_eq!(flags.strategy, Strategy::OneForOne);
        assert_eq!(flags.intensity.max_restarts, 1);
        assert_eq!(flags.intensity.period, Duration::from_secs(5));
        tree.stop().await;
    });
}

#[test]
fn otp_sup_start_map_faulty_specs() {
    let play = Play::new();
    let hasty = play.spec("hasty").start_timeout(Duration::ZERO);
    let hard = play
        .spec("hard")
        .shutdown(Shutdown::Timeout(Duration::ZERO));
    let inner = SupervisorSpec::new("inner", Flags::default()).child(hasty);
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
            SpecFault::Shutdown {
                child: "hard".into()
            },
            SpecFault::NoName {
                supervisor: "root".into()
            },
            SpecFault::StartTimeout {
                child: "hasty".into()
            },
            SpecFault::NameTwice { name: "a".into() },
        ],
        "all of them, the nested ones too"
    );
}

#[test]
fn otp_child_specs() {
    paused(async {
        let play = Play::new();
        let mut tree = grown(root(1, 5)).await;
        let wrong = play.spec("").shutdown(Shutdown::Timeout(Duration::ZERO));
        let Err(AdminError::Faulty(faults)) = tree.admin.start_child(wrong).await else {
            panic!("it was taken");
        };
        assert_eq!(
            faults.to_string(),
            "the spec is wrong: a child of root has no name; : a shutdown timeout of zero"
        );
        assert_eq!(tree.admin.count_children().await, Ok(Counts::default()));
        assert_eq!(play.log(), "", "nothing was started");
        tree.stop().await;
    });
}

#[test]
fn otp_sup_flags() {
    let name = || "root".into();
    let with = |change: &dyn Fn(&mut Flags)| {
        let mut flags = flags(Strategy::OneForOne, 0, 1);
        change(&mut flags);
        faults(SupervisorSpec::new("root", flags))
    };
    assert_eq!(with(&|_| {}), [], "an intensity of 0 is allowed");
    let period = with(&|flags| flags.intensity.period = Duration::ZERO);
    assert_eq!(period, [SpecFault::Period { supervisor: name() }]);
    for factor in [0.5, f64::NAN] {
        let shrinking = with(&|flags| flags.backoff.factor = factor);
        assert_eq!(shrinking, [SpecFault::BackoffFactor { supervisor: name() }]);
    }
    for jitter in [-0.1, 1.1, f64::NAN] {
        let jitter = with(&|flags| flags.backoff.jitter = jitter);
        assert_eq!(jitter, [SpecFault::Jitter { supervisor: name() }]);
    }
}
