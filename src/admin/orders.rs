//! `/supervisor/PART/restart`, `/stop` and `/start`: orders to a child, which its supervisor carries out.

// Decision: Nobody stops what answers the order.

use std::time::Duration;

use actix_web::http::Method;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{Admin, Answered, Running, decoded, json_answer, readiness};
use crate::supervision::{NodeView, OrderError, SupervisorRef};
use crate::wire::{Code, Incoming, Problem};

/// The longest time that an answer waits for the outcome of an order. The order is carried out even if that takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order to a child.
#[derive(Debug, Clone, Copy)]
enum PartOrder {
    Restart,
    Stop,
    Start,
}

impl PartOrder {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "restart" => Some(Self::Restart),
            "stop" => Some(Self::Stop),
            "start" => Some(Self::Start),
            _ => None,
        }
    }

    async fn give(self, supervisor: &SupervisorRef, part: &str) -> Result<(), OrderError> {
        match self {
            Self::Restart => supervisor.renew_child(part).await.map(drop),
            Self::Stop => supervisor.terminate_child(part).await,
            Self::Start => match supervisor.restart_child(part).await {
                // It runs, as the order wants.
                Ok(_) | Err(OrderError::Running) => Ok(()),
                // It is started at once, instead of later.
                Err(OrderError::Restarting) => supervisor.renew_child(part).await.map(drop),
                Err(error) => Err(error),
            },
        }
    }
}

/// Answers a request for `target`, which is `PART/ORDER`.
pub(super) async fn answer(admin: &Admin, target: &str, request: &Incoming) -> Answered {
    let named = target.rsplit_once('/');
    let Some((part, (word, order))) =
        named.and_then(|(part, word)| Some((part, (word, PartOrder::parse(word)?))))
    else {
        let detail = "write /supervisor/PART/restart, /supervisor/PART/stop or /supervisor/PART/start; /supervisor lists the parts";
        return Err(Problem::new(Code::NotFound).detail(detail));
    };
    if request.method() != Method::POST {
        return Err(Problem::not_allowed("POST"));
    }
    let part = decoded(part);
    let Some(Running {
        tree, supervisors, ..
    }) = admin.running.get()
    else {
        return Err(super::not_ready(&[]));
    };
    let root = tree.view();
    if !root.walk().iter().any(|node| node.name == part) {
        return Err(unknown(&root, &part));
    }
    let allowed = supervisors.above(&part).filter(|_| !guarded(&root, &part));
    let Some(supervisor) = allowed else {
        let detail = format!(
            "{part} can not be restarted, stopped or started, because it answers these orders; to restart the whole daemon, restart its process"
        );
        return Err(Problem::new(Code::InvalidOrder).detail(detail));
    };
    let begun = Instant::now();
    let outcome = timeout(PATIENCE, order.give(supervisor, &part)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let view = tree.view();
    let node = view.walk().into_iter().find(|node| node.name == part);
    let state = node.map_or("gone", |node| &node.state);
    match outcome {
        Ok(Ok(())) => {
            let generation = node.map(|node| node.generation);
            tracing::info!(%part, order = word, state, seconds, "an order was carried out");
            Ok(json_answer(&json!({
                "part": part, "order": word, "state": state, "generation": generation, "seconds": seconds,
            })))
        }
        Ok(Err(error)) => {
            tracing::warn!(%part, order = word, state, %error, "an order was not carried out");
            Err(refused(&part, &error))
        }
        Err(_elapsed) => {
            tracing::warn!(%part, order = word, state, seconds, "an order takes longer; it goes on");
            let fault = node.and_then(readiness::trouble).unwrap_or_default();
            let detail = format!(
                "the order is under way, and goes on; after {PATIENCE:?} {part} is {state} ({fault}); see `perennial status`"
            );
            Err(Problem::new(Code::OutcomeUnknown).detail(detail))
        }
    }
}

/// Whether a part is the root, or one of those that answer requests to the admin listener.
fn guarded(root: &NodeView, part: &str) -> bool {
    let admin = root
        .children
        .iter()
        .find(|node| node.name == readiness::ASKED);
    let within = |node: &NodeView| node.walk().iter().any(|node| node.name == part);
    root.name == part || admin.is_some_and(within)
}

fn unknown(root: &NodeView, part: &str) -> Problem {
    let nodes = root.walk().into_iter();
    let names = nodes.map(|node| node.name.clone());
    let names: Vec<_> = names.filter(|name| !guarded(root, name)).collect();
    let detail = format!(
        "there is no part named {part}; there are {}",
        names.join(", ")
    );
    Problem::new(Code::NotFound)
        .detail(detail)
        .extension("parts", json!(names))
}

fn refused(part: &str, error: &OrderError) -> Problem {
    let detail = if let OrderError::StartFailed(reason) = error {
        format!(
            "{part} could not start, and stays down: {reason}; mend that, then order its start again"
        )
    } else {
        format!("{part}: {error}")
    };
    Problem::new(Code::NotReady).detail(detail)
}
