//! Orders that OTP does not have: a child is restarted while its callers wait, or stopped so that the others go on.

use std::time::Duration;

use tokio::time::Instant;

use super::play::{
    Ask, PATIENCE, Play, Start, Stop, end, error, paused, root, settled, start, started, supervisor,
};
use crate::supervision::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_child_is_renewed_while_its_callers_wait_and_no_restart_is_counted_against_its_supervisor() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let mut tree = started(root(0, 5).child(spec).child(play.spec("b"))).await;
        play.stops("a", Stop::Takes(SECOND));
        for generation in 2..5 {
            let admin = tree.admin.clone();
            let renewed = actix_rt::spawn(async move { admin.renew_child("a").await });
            settled().await;
            let n = 7;
            assert_eq!(
                child.ask(|reply| Ask::Echo { n, reply }, PATIENCE).await,
                Ok(7)
            );
            let running = Ok(Started::Running { generation });
            assert_eq!(renewed.await.unwrap(), running);
        }
        let node = tree.node("a");
        let exits: Vec<_> = node.exits.iter().map(|exit| &*exit.cause).collect();
        assert_eq!(exits, ["ordered"; 3]);
        assert_eq!(node.restarts["ordered"], 3);
        assert_eq!(node.last_exit.as_deref(), Some("stopped by order"));
        assert_eq!(
            tree.life("b"),
            ("running", 1),
            "one for one: the other stays"
        );
        assert_eq!(tree.tree.view().restarts_in_window, Some(0));
        tree.stop().await;
    });
}

#[test]
fn a_renewal_takes_the_group_along_as_a_death_does() {
    paused(async {
        let play = Play::new();
        let all = supervisor("root", Strategy::RestForOne, 0, 5);
        let names = ["a", "b", "c"];
        let spec = names
            .iter()
            .fold(all, |spec, name| spec.child(play.spec(name)));
        let mut tree = started(spec).await;
        play.log();
        let renewed = tree.admin.renew_child("b").await;
        assert_eq!(renewed, Ok(Started::Running { generation: 2 }));
        settled().await;
        let log = "c stops, c stopped, b stops, b stopped, b starts, b runs, c starts, c runs";
        assert_eq!(play.log(), log);
        let lives = names.map(|name| tree.life(name));
        assert_eq!(lives, [("running", 1), ("running", 2), ("running", 2)]);
        assert_eq!(tree.node("c").exits[0].cause, "shutdown");
        tree.stop().await;
    });
}

#[test]
fn a_supervisor_is_renewed_with_all_of_its_children() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let inner = SupervisorSpec::new("inner").child(spec);
        let mut tree = started(root(0, 5).child(inner)).await;
        let renewed = tree.admin.renew_child("inner").await;
        assert_eq!(renewed, Ok(Started::Running { generation: 2 }));
        assert_eq!(tree.life("a"), ("running", 2));
        let n = 1;
        assert_eq!(
            child.ask(|reply| Ask::Echo { n, reply }, PATIENCE).await,
            Ok(1)
        );
        tree.stop().await;
    });
}

#[test]
fn a_renewal_does_not_wait_for_the_end_of_a_backoff() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let long = Backoff {
            first: SECOND * 600,
            max: SECOND * 600,
            ..Backoff::default()
        };
        let mut tree = started(root(99, 5).backoff(long).child(spec)).await;
        play.starts("a", &[Start::Fails, Start::Fails]);
        end(&child, &error()).await;
        settled().await;
        assert_eq!(tree.life("a").0, "backoff");
        let begun = Instant::now();
        let renewed = tree.admin.renew_child("a").await;
        assert!(matches!(renewed, Ok(Started::Running { .. })));
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
        tree.stop().await;
    });
}

#[test]
fn a_renewal_of_a_child_that_is_down_starts_it_and_fails_with_its_start() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(0, 5).child(play.spec("a"))).await;
        let admin = &tree.admin;
        assert_eq!(admin.terminate_child("a").await, Ok(()));
        play.starts("a", &[Start::Fails]);
        let failed = admin.renew_child("a").await;
        assert!(matches!(failed, Err(OrderError::StartFailed(_))));
        let renewed = admin.renew_child("a").await;
        assert_eq!(renewed, Ok(Started::Running { generation: 3 }));
        assert_eq!(admin.renew_child("z").await, Err(OrderError::NotFound));
        tree.stop().await;
        let late = tree.admin.renew_child("a").await;
        assert_eq!(late, Err(OrderError::NotRunning));
    });
}

#[test]
fn a_renewal_that_is_overtaken_by_a_termination_says_so() {
    paused(async {
        let play = Play::new();
        let mut tree = started(root(0, 5).child(play.spec("a"))).await;
        play.starts("a", &[Start::Slow(SECOND)]);
        let admin = tree.admin.clone();
        let renewed = actix_rt::spawn(async move { admin.renew_child("a").await });
        settled().await;
        assert_eq!(tree.life("a").0, "starting");
        assert_eq!(tree.admin.terminate_child("a").await, Ok(()));
        assert_eq!(renewed.await.unwrap(), Err(OrderError::Terminated));
        assert_eq!(tree.life("a").0, "ended");
        tree.stop().await;
    });
}

#[test]
fn a_child_that_stops_alone_does_what_it_accepted_and_accepts_nothing_more() {
    paused(async {
        let play = Play::new();
        let (spec, child) = play.child("a");
        let mut tree = start(root(0, 5).child(spec));
        (&mut tree.root.ready).await.unwrap();
        play.stops("a", Stop::Takes(SECOND));
        let echo = |n| child.ask(move |reply| Ask::Echo { n, reply }, PATIENCE);
        let accepted = echo(1);
        let admin = tree.admin.clone();
        let stopped = actix_rt::spawn(async move { admin.terminate_child("a").await });
        assert_eq!(accepted.await, Ok(1));
        settled().await;
        let begun = Instant::now();
        assert_eq!(echo(2).await, Err(AskError::ShuttingDown));
        assert!(begun.elapsed().is_zero(), "it is told at once");
        assert_eq!(stopped.await.unwrap(), Ok(()));
        let exit = &tree.node("a").exits[0];
        assert_eq!(
            (&*exit.cause, exit.restart_delay_seconds),
            ("ordered", None)
        );
        // Started again, it accepts again.
        assert!(tree.admin.restart_child("a").await.is_ok());
        assert_eq!(echo(3).await, Ok(3));
        tree.stop().await;
    });
}

#[test]
fn the_supervisor_of_each_child_is_found_by_its_name() {
    let play = Play::new();
    let inner = SupervisorSpec::new("inner").child(play.spec("below"));
    let middle = SupervisorSpec::new("middle").child(inner);
    let spec = SupervisorSpec::new("root")
        .child(middle)
        .child(play.spec("beside"));
    let supervisors = PreparedTree::new(spec).unwrap().supervisors();
    let above = |child| supervisors.above(child).map(SupervisorRef::name);
    assert_eq!(above("below"), Some("inner"));
    assert_eq!(above("inner"), Some("middle"));
    assert_eq!(above("beside"), Some("root"));
    assert_eq!(above("root"), None);
    assert_eq!(
        supervisors.named("inner").map(SupervisorRef::name),
        Some("inner")
    );
    assert!(supervisors.named("below").is_none());
}
