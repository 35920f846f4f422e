//! Starts: what of a child and of a supervisor is there when one was fine, not wanted, failed or panicked.

use super::play::{Counts, Play, Start, counts, root, start, started};
use crate::supervision::*;

fn failed(text: &str) -> ExitReason {
    ExitReason::StartFailed(text.into())
}

#[test]
fn otp_sup_start_normal() {
    super::play::paused(async {
        let mut tree = started(root(1, 5)).await;
        assert_eq!(tree.life("root"), ("running", 1));
        tree.stop().await;
        assert_eq!(tree.life("root"), ("ended", 1));
    });
}

#[test]
fn otp_sup_start_ignore_init() {
    super::play::paused(async {
        let play = Play::new();
        let ignored = |name| {
            let spec = SupervisorSpec::new(name);
            spec.init(|| Err(StartError::Ignore))
        };
        let inner = ignored("inner").child(play.spec("a"));
        let mut tree = started(root(1, 5).child(ChildSpec::supervisor(inner))).await;
        let node = tree.node("inner");
        assert_eq!((&*node.state, node.last_exit), ("ended", None), "no exit");
        assert_eq!(play.log(), "", "and none of its children was started");
        tree.stop().await;
        // The same at the root: an end, and no failure.
        let mut tree = start(ignored("alone"));
        assert_eq!(tree.ended().await, ExitReason::Normal);
    });
}

#[test]
fn otp_sup_start_ignore_child() {
    super::play::paused(async {
        let play = Play::new();
        let mut tree = started(root(1, 5)).await;
        play.starts("a", &[Start::Ignores]);
        let standing = tree.admin.start_child(play.spec("a")).await;
        assert_eq!(standing, Ok(Started::Down));
        let standing = tree.admin.start_child(play.spec("b")).await;
        assert_eq!(standing, Ok(Started::Running { generation: 1 }));
        assert_eq!(tree.life("a"), ("ended", 1), "the spec is kept");
        let counts = counts(&tree.admin);
        assert_eq!((counts.specs, counts.active), (2, 1));
        tree.stop().await;
    });
}

#[test]
fn otp_sup_start_ignore_temporary_child() {
    super::play::paused(async {
        let play = Play::new();
        let temporary = |name| play.spec(name).restart(Restart::Temporary);
        play.starts("a", &[Start::Ignores]);
        play.starts("c", &[Start::Ignores]);
        let mut tree = started(root(1, 5).child(temporary("a")).child(temporary("b"))).await;
        // (_start_child)
        let standing = tree.admin.start_child(temporary("c")).await;
        assert_eq!(standing, Ok(Started::Down));
        let children = tree.admin.children();
        let names: Vec<_> = children.iter().map(|child| &*child.name).collect();
        assert_eq!(names, ["b"], "what was ignored is not kept");
        let counts = counts(&tree.admin);
        assert_eq!((counts.specs, counts.active), (1, 1));
        tree.stop().await;
    });
}

#[test]
fn otp_sup_start_error_return() {
    super::play::paused(async {
        let bad = |name| {
            let spec = SupervisorSpec::new(name);
            spec.init(|| Err(StartError::failed("no plan")))
        };
        let mut tree = start(bad("alone"));
        assert_eq!(tree.ended().await, failed("no plan"));
        // As somebody's child.
        let mut tree = started(root(1, 5)).await;
        let inner = ChildSpec::supervisor(bad("inner"));
        let refused = tree.admin.start_child(inner).await;
        assert_eq!(refused, Err(OrderError::StartFailed(failed("no plan"))));
        assert!(tree.find("inner").is_none());
        tree.stop().await;
    });
}

#[test]
fn otp_sup_start_fail() {
    super::play::paused(async {
        let spec = SupervisorSpec::new("root");
        let mut tree = start(spec.init(|| panic!("no plan at all")));
        let ExitReason::Panic(panic) = tree.ended().await else {
            panic!("another reason");
        };
        assert_eq!(&*panic.message, "no plan at all");
        assert_eq!(panic.during, Some("init"));
    });
}

#[test]
fn otp_sup_start_child_returns_error() {
    super::play::paused(async {
        let play = Play::new();
        let mut tree = started(root(0, 5)).await;
        for start in [Start::Fails, Start::Panics] {
            play.starts("a", &[start]);
            let refused = tree.admin.start_child(play.spec("a")).await;
            assert!(matches!(refused, Err(OrderError::StartFailed(_))));
            assert_eq!(counts(&tree.admin), Counts::default());
        }
        // Nothing is in the way of another try, and no intensity was used up.
        let standing = tree.admin.start_child(play.spec("a")).await;
        assert_eq!(standing, Ok(Started::Running { generation: 1 }));
        tree.stop().await;
    });
}

#[test]
fn otp_sup_start_restart_child_returns_error() {
    super::play::paused(async {
        let play = Play::new();
        let mut tree = started(root(0, 5).child(play.spec("a"))).await;
        tree.admin.terminate_child("a").await.unwrap();
        play.starts("a", &[Start::Fails]);
        let refused = tree.admin.restart_child("a").await;
        let reason = failed("a has no luck");
        assert_eq!(refused, Err(OrderError::StartFailed(reason)));
        assert_eq!(tree.life("a"), ("ended", 2), "the spec is kept, and down");
        let standing = tree.admin.restart_child("a").await;
        assert_eq!(standing, Ok(Started::Running { generation: 3 }));
        tree.stop().await;
    });
}

#[test]
fn otp_faulty_application_shutdown() {
    super::play::paused(async {
        let play = Play::new();
        play.starts("c", &[Start::Fails]);
        let spec = root(9, 5).child(play.spec("a")).child(play.spec("b"));
        let spec = spec.child(play.spec("c")).child(play.spec("d"));
        let mut tree = start(spec);
        let ExitReason::ChildrenFailed(causes) = tree.ended().await else {
            panic!("another reason");
        };
        let causes = causes.0;
        assert_eq!(causes.len(), 1);
        assert_eq!(&*causes[0].child, "c");
        assert_eq!(causes[0].reason, failed("c has no luck"));
        assert_eq!(
            play.log(),
            "a starts, a runs, b starts, b runs, c starts, b stops, b stopped, a stops, a stopped"
        );
    });
}

#[test]
fn what_has_been_up_may_die_while_the_others_still_start() {
    super::play::paused(async {
        let play = Play::new();
        let (a, first) = play.child("a");
        play.starts("b", &[Start::Slow(std::time::Duration::from_secs(9))]);
        let mut tree = start(root(1, 5).child(a).child(play.spec("b")));
        let life = super::play::end(&first, &super::play::How::Panic).await;
        assert_eq!(life, 2, "it is restarted, and the start goes on");
        (&mut tree.root.ready).await.unwrap();
        assert_eq!(tree.life("b"), ("running", 1));
        tree.stop().await;
    });
}
