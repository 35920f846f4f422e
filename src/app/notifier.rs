//! Reports to the service manager at every beat of the sentinel. The thread that reports has just asked the root supervisor,
//! and sends WATCHDOG=1 only while that answers.

// Decision: The sentinel notifies systemd.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::phase::{Phase, Phases};
use super::service_manager::ServiceManager;
use crate::admin::Reloads;
use crate::supervision::{NodeView, Tree};

/// After this much silence of the root supervisor no WATCHDOG=1 is sent; the service manager's own limit runs from then on.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// The number of times that WATCHDOG=1 is sent within the time in which the service manager expects one.
const TIMES: u32 = 4;
/// The most children that a status line names.
const NAMES_MAX: usize = 4;

/// Sends what has changed since the last beat.
#[derive(Debug)]
pub(super) struct Notifier {
    manager: ServiceManager,
    tree: Tree,
    phases: Phases,
    /// The phase at the last beat.
    told: Phase,
    status: String,
    reloads: Arc<Reloads>,
    reloads_told: ReloadsTold,
    alive: Option<Instant>,
}

impl Notifier {
    pub(super) fn new(
        manager: ServiceManager,
        tree: Tree,
        phases: Phases,
        reloads: Arc<Reloads>,
    ) -> Self {
        Self {
            manager,
            tree,
            phases,
            told: Phase::Built,
            status: String::new(),
            reloads,
            reloads_told: ReloadsTold::default(),
            alive: None,
        }
    }

    /// Sends what is new. `silence` is the time since the supervisor last answered.
    pub(super) fn beat(&mut self, silence: Duration) {
        let phase = self.phases.now();
        let tree = self.tree.view();
        let status = status(&phase, &tree);
        if status != self.status {
            self.manager.tell(&format!("STATUS={status}"));
            self.status = status;
        }
        if phase == Phase::Ready && self.told != Phase::Ready {
            self.manager.tell("READY=1");
        }
        if phase == Phase::Ready {
            let begun = self.reloads.begun.load(Ordering::Acquire);
            let under_way = self.reloads.under_way.load(Ordering::Acquire);
            let (begun, ended) = self.reloads_told.look(begun, under_way);
            if begun {
                let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
                let now = now.as_micros();
                self.manager
                    .tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
            }
            if ended {
                self.manager.tell("READY=1");
            }
        }
        if phase.ending() && !self.told.ending() {
            self.manager.tell("STOPPING=1");
        }
        self.told = phase;
        if let Some(patience) = self.manager.watchdog {
            let now = Instant::now();
            if due(self.alive, now, patience, silence) {
                self.manager.tell("WATCHDOG=1");
                self.alive = Some(now);
            }
        }
    }
}

/// The reloads that the service manager knows of.
#[derive(Debug, Default)]
struct ReloadsTold {
    begun: u64,
    under_way: bool,
}

impl ReloadsTold {
    /// Whether reloads have begun that have not been told, and whether all have ended.
    fn look(&mut self, begun: u64, under_way: bool) -> (bool, bool) {
        let more = begun > std::mem::replace(&mut self.begun, begun);
        self.under_way |= more;
        let ended = self.under_way && !under_way;
        self.under_way &= !ended;
        (more, ended)
    }
}

/// Whether WATCHDOG=1 is due, and the supervisor answers.
fn due(last: Option<Instant>, now: Instant, patience: Duration, silence: Duration) -> bool {
    let time = last.is_none_or(|last| now.saturating_duration_since(last) >= patience / TIMES);
    time && silence < SILENCE_MAX
}

/// One line about the daemon: its phase, the children that do not run as they should, and the number of restarts.
fn status(phase: &Phase, tree: &NodeView) -> String {
    let word = match phase {
        Phase::Built | Phase::Starting => "starting",
        Phase::Ready => "serving",
        Phase::Stopping | Phase::Stopped(_) => "stopping",
    };
    let nodes = tree.walk();
    let odd = |node: &&&NodeView| {
        let over = matches!(&*node.state, "down" | "ended");
        let fine = if phase.ending() {
            over
        } else {
            node.state == "running" || node.in_passing()
        };
        node.children.is_empty() && !fine
    };
    let names: Vec<_> = nodes
        .iter()
        .filter(odd)
        .map(|node| format!("{} {}", node.name, node.state))
        .collect();
    let mut text = word.to_owned();
    if let Some(names) = names.chunks(NAMES_MAX).next() {
        text.push_str("; ");
        text.push_str(&names.join(", "));
    }
    if names.len() > NAMES_MAX {
        // Writing into a String does not fail.
        let _infallible = write!(text, " and {} more", names.len() - NAMES_MAX);
    }
    let restarts: u64 = nodes.iter().map(|node| node.restarts_total()).sum();
    if restarts > 0 {
        let _infallible = write!(text, "; {restarts} restarts so far");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::admin::ReloadStatus;
    use crate::supervision::{ExitReason, PreparedTree, Pulse, SupervisorSpec};

    const PATIENCE: Duration = Duration::from_secs(2);

    fn node(name: &str, state: &'static str, children: Vec<NodeView>) -> NodeView {
        let spec = SupervisorSpec::new(name);
        let view = PreparedTree::new(spec).unwrap().tree().view();
        NodeView {
            state: state.into(),
            children,
            ..view
        }
    }

    #[test]
    fn a_status_names_what_is_not_as_it_should_be() {
        let leaf = |name, state| node(name, state, Vec::new());
        let mut tree = node("root", "running", vec![leaf("a", "running")]);
        assert_eq!(status(&Phase::Ready, &tree), "serving");
        assert_eq!(status(&Phase::Stopping, &tree), "stopping; a running");
        tree.children = vec![leaf("a", "backoff"), leaf("b", "down")];
        tree.restarts.insert("panic".into(), 2);
        let text = status(&Phase::Starting, &tree);
        assert_eq!(text, "starting; a backoff, b down; 2 restarts so far");
        let stopped = Phase::Stopped(ExitReason::Normal);
        assert_eq!(
            status(&stopped, &tree),
            "stopping; a backoff; 2 restarts so far"
        );
        tree.restarts.clear();
        tree.children = ["a", "b", "c", "d", "e", "f"]
            .map(|n| leaf(n, "down"))
            .into();
        let text = status(&Phase::Starting, &tree);
        assert_eq!(text, "starting; a down, b down, c down, d down and 2 more");
    }

    #[test]
    fn life_is_told_in_time_and_only_while_the_supervisor_is_heard_of() {
        let now = Instant::now();
        let quick = Duration::from_millis(100);
        assert!(due(None, now, PATIENCE, quick));
        assert!(!due(Some(now), now + PATIENCE / 5, PATIENCE, quick));
        assert!(due(Some(now), now + PATIENCE / 4, PATIENCE, quick));
        assert!(!due(Some(now), now + PATIENCE * 10, PATIENCE, SILENCE_MAX));
        assert!(!due(None, now, PATIENCE, SILENCE_MAX));
    }

    #[test]
    fn a_reload_is_told_when_it_begins_and_when_the_last_one_has_ended() {
        let mut told = ReloadsTold::default();
        for (begun, under_way, report) in [
            (0, false, (false, false)),
            (1, true, (true, false)),
            (1, true, (false, false)),
            (2, true, (true, false)),
            (2, false, (false, true)),
            (2, false, (false, false)),
            // A quick one, between two looks.
            (3, false, (true, true)),
        ] {
            assert_eq!(told.look(begun, under_way), report, "{begun}");
        }
    }

    #[test]
    fn each_thing_is_told_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let manager = ServiceManager::of(|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("4000000".into()),
            _ => None,
        });
        let prepared = PreparedTree::new(SupervisorSpec::new("root")).unwrap();
        let phases = Phases::default();
        let status = ReloadStatus::first("none".to_owned(), String::new());
        let reloads = Arc::new(Reloads::new(None, status));
        let mut notifier = Notifier::new(
            manager.unwrap(),
            prepared.tree(),
            phases.clone(),
            Arc::clone(&reloads),
        );
        let mut beat = |silence| {
            notifier.beat(silence);
            let mut told = Vec::new();
            let mut buffer = [0; 64];
            while let Ok(length) = heard.recv(&mut buffer) {
                told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            told
        };
        let pulse = Pulse::new();
        phases.enter(Phase::Starting);
        assert_eq!(beat(Duration::MAX), ["STATUS=starting; root down"]);
        phases.enter(Phase::Ready);
        let told = beat(pulse.silence());
        assert_eq!(told, ["STATUS=serving; root down", "READY=1", "WATCHDOG=1"]);
        assert_eq!(beat(pulse.silence()), Vec::<String>::new());
        reloads.begun.store(1, Ordering::Release);
        reloads.under_way.store(true, Ordering::Release);
        let told = beat(pulse.silence());
        assert!(
            told[0].starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{told:?}"
        );
        assert_eq!(told.len(), 1, "{told:?}");
        reloads.under_way.store(false, Ordering::Release);
        assert_eq!(beat(pulse.silence()), ["READY=1"]);
        phases.enter(Phase::Stopping);
        assert_eq!(beat(pulse.silence()), ["STATUS=stopping", "STOPPING=1"]);
        phases.enter(Phase::Stopped(ExitReason::Normal));
        assert_eq!(beat(pulse.silence()), Vec::<String>::new());
    }
}
