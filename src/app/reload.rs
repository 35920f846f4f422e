//! Reads the settings again while the daemon runs. One reload follows the other; each is carried out as a whole, or changes
//! nothing.
//!
//! Everything new is made first. Then the store adopts the resources, which is the one step that decides. What follows it, with
//! the edition that is replaced, is done by the next incarnation if the child dies there.

// Decision: A reload changes all or nothing.

mod asking;
mod children;
pub(super) mod difference;
mod limits;
mod logs;
mod resources;
mod trying;
mod values;
mod waiting;
mod watcher;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::serving::{Serving, edition};
use super::tls::TlsInForce;
use crate::admin::{Admin, NotReloaded, ReloadOrder, Reloaded, Reloads};
use crate::api::Site;
use crate::settings::{LoadError, LoadedSettings, SettingValues, Settings, SettingsSource, plan};
use crate::supervision::{
    BatchLimits, BlockingChild, BoxError, ChildSpec, Delivery, Faults, Incarnation, QueueLimits,
    Slot,
};
use crate::telemetry::{AccessSink, LogControl, OUTCOME};
use crate::wire::{Edition, Editions, Hosts, HttpsRules, ProxyRules};
pub(super) use children::LiveChildren;
pub(super) use limits::{Limited, supervisor_limits};
use logs::OpenedLogs;
pub(super) use values::Values;
use values::{NextSettings, wait_for_turn};
use waiting::wait_for;
pub(super) use watcher::Watching;

/// Reloads that may wait.
const QUEUE: QueueLimits = QueueLimits {
    messages: 64,
    bytes: 1 << 20,
};
/// The time for which a caller waits for the outcome of a reload that was decided.
const LAST_STEP: Duration = Duration::from_secs(30);
/// The time for which an incarnation waits for the one before, which was killed and is still at a step. The rest of its start
/// timeout is for finishing what that one has left.
const TURN: Duration = Duration::from_secs(15);
/// One reload after the other.
const ONE: BatchLimits = BatchLimits {
    messages: 1,
    bytes: 1,
};
const LOADED: &str = "reload.loaded";
const BUILT: &str = "reload.built";
const STARTED: &str = "reload.started";
const ADOPTED: &str = "reload.adopted";
const REPLACED: &str = "reload.replaced";
const REMOVED: &str = "reload.removed";
const FINISHING: &str = "reload.finishing";

/// The origin of a daemon's settings, and the log that they rule.
#[derive(Debug)]
pub(crate) struct SettingsOrigin {
    pub(crate) source: SettingsSource,
    /// The values that were read at the start.
    pub(crate) values: SettingValues,
    pub(crate) log: LogControl,
}

/// All that a reload needs; it outlives the incarnations of the child.
pub(super) struct Reloading {
    pub(super) origin: SettingsOrigin,
    pub(super) serving: Serving,
    pub(super) children: Arc<LiveChildren>,
    pub(super) limited: Arc<Limited>,
    pub(super) access: AccessSink,
    pub(super) site: Arc<Editions<Site>>,
    pub(super) admin: Arc<Editions<Admin>>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) watching: Arc<Watching>,
    pub(super) tls: Arc<TlsInForce>,
    pub(super) faults: Faults,
    /// The values in force, and those of the edition that is being put in force. Whoever reloads or finishes a reload holds them
    /// all the time.
    pub(super) values: Mutex<Values>,
}

/// The child: a thread, since reading files may block.
struct Reloader {
    reloading: Arc<Reloading>,
    incarnation: Incarnation,
}

/// The slot of the child.
pub(super) fn slot() -> (Slot<ReloadOrder>, crate::supervision::ChildRef<ReloadOrder>) {
    Slot::with_limits("reloader", QUEUE)
}

impl Reloading {
    /// The child spec.
    pub(super) fn child_spec(self: Arc<Self>, slot: &Slot<ReloadOrder>) -> ChildSpec {
        for point in [
            LOADED, BUILT, STARTED, ADOPTED, REPLACED, FINISHING, REMOVED,
        ] {
            self.faults.register(point);
        }
        ChildSpec::blocking(slot, ONE, move |incarnation| {
            let mut values = wait_for_turn(&self.values, &incarnation, TURN)?;
            self.reloads.under_way.store(false, Ordering::Release);
            // If the incarnation before died after the step that decides, the rest is done now.
            self.finish(&mut values);
            if let Some(outcome) = values.outcome_of_the_dead() {
                self.note(&outcome);
            }
            drop(values);
            Ok(Reloader {
                reloading: Arc::clone(&self),
                incarnation,
            })
        })
    }

    /// Reads the settings and puts them in force, unless this is a dry run.
    fn reload(
        &self,
        order: &Delivery<ReloadOrder>,
        incarnation: &Incarnation,
        values: &mut Values,
    ) -> Result<Reloaded, NotReloaded> {
        self.must_mean(order.file.as_deref())?;
        if let Some(reloaded) = values.done(order.id()) {
            return Ok(reloaded);
        }
        let LoadedSettings {
            settings,
            warnings,
            values: next,
            ..
        } = self.load()?;
        let (number, in_force) = &values.in_force;
        let (number, plan) = (*number, plan(in_force, &next));
        let restart = match plan.refused {
            keys if keys.is_empty() => Ok(()),
            keys => Err(NotReloaded::NeedsRestart(keys)),
        };
        let mut reloaded = Reloaded {
            applied: !order.dry_run,
            generation: number,
            warnings: warnings.iter().map(ToString::to_string).collect(),
            changes: plan.changes,
            admin: None,
        };
        if reloaded.changes.is_empty() {
            restart?;
            if !order.dry_run {
                // A step that failed is tried again.
                self.finish(values);
            }
            return Ok(reloaded);
        }
        let (settings, before) = (Arc::new(settings), self.site.current());
        let settings = &settings;
        let wanted = || still_wanted(order, incarnation);
        let tried = self.try_out(number + 1, settings, &reloaded.changes, wanted);
        let ((), tried) = NotReloaded::both(restart, tried)?;
        if order.dry_run {
            // New addresses and children are left out: clients would notice them.
            return Ok(reloaded);
        }
        reloaded.generation = number + 1;
        let new = self.children.prepare(settings)?;
        self.faults.hit(BUILT);
        wanted()?;
        self.tls.prepare(&settings.tls);
        let started = wait_for(self.children.start(new, settings))?;
        self.faults.hit(STARTED);
        // Last, because a new file may be one too many, for which the oldest is removed.
        let opened = started.and_then(|admin| Ok((admin, self.open_logs(&before, settings)?)));
        let opened = opened.and_then(|opened| wanted().map(|()| opened));
        let committed = opened.and_then(|opened| {
            let committed = order.commit_to(LAST_STEP).then_some(opened);
            committed.ok_or(NotReloaded::Expired)
        });
        let (admin, opened) = committed.inspect_err(|_| self.finish_children())?;
        reloaded.admin = admin;
        values.next = Some(NextSettings {
            resources: tried.proposed,
            edition: Arc::new(tried.edition),
            values: next,
            logs: Mutex::new(opened),
            order: order.id(),
            reloaded: reloaded.clone(),
        });
        // Whoever kills this incarnation now waits until it has finished.
        let adopted = resources::adopt(&*self.serving.store, tried.prepared);
        self.faults.hit(ADOPTED);
        self.finish(values);
        adopted.map(|()| reloaded)
    }

    /// The refusal of settings with faults. Addresses that could not be listened on are told, too, if they can be read.
    fn faulty(&self, error: LoadError) -> NotReloaded {
        let faulty = NotReloaded::Faulty(faults(error));
        let settings = self.origin.source.addresses();
        match settings.map(|settings| self.children.look_at_addresses(&settings)) {
            Ok(Err(addresses)) => faulty.and(addresses),
            Ok(Ok(())) | Err(_) => faulty,
        }
    }

    /// Reads the settings, unless something is wrong with them, or nothing is written: then all that is served would go.
    fn load(&self) -> Result<LoadedSettings, NotReloaded> {
        let in_force = Arc::clone(&self.site.current().responder.settings);
        let loaded = self.origin.source.load_again(&in_force);
        let loaded = loaded.map_err(|error| self.faulty(error))?;
        self.faults.hit(LOADED);
        if loaded.is_blank {
            let file = self.origin.source.name();
            return Err(NotReloaded::Faulty(vec![format!(
                "{file}: nothing is written in it, as in a file that is just being saved; if all defaults are meant, write [server]"
            )]));
        }
        Ok(loaded)
    }

    /// Refuses an order for another file than the one that is read.
    fn must_mean(&self, asked: Option<&Path>) -> Result<(), NotReloaded> {
        let reads = self.origin.source.file();
        match asked {
            Some(asked) if reads.as_deref() != Some(asked) => Err(NotReloaded::OtherFile {
                asked: asked.display().to_string(),
                runs: reads.map_or_else(
                    || self.origin.source.name(),
                    |reads| reads.display().to_string(),
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Logs each change: before the log level is changed or after that, so that it can be heard.
    fn tell(&self, reloaded: &Reloaded, level: &str) {
        let heard = tracing::enabled!(tracing::Level::INFO);
        if !heard {
            self.set_level(level);
        }
        for warning in &reloaded.warnings {
            tracing::warn!(name: OUTCOME, "reload: {warning}");
        }
        for change in &reloaded.changes {
            tracing::info!(name: OUTCOME, "reload: {change}");
        }
        let generation = reloaded.generation;
        tracing::info!(name: OUTCOME, generation, "the settings are read again and in force");
        if heard {
            self.set_level(level);
        }
    }

    fn logs(&self) -> (&LogControl, &AccessSink) {
        (&self.origin.log, &self.access)
    }

    fn open_logs(&self, old: &Edition<Site>, new: &Settings) -> Result<OpenedLogs, NotReloaded> {
        let old = &old.responder.settings.logging;
        logs::prepare(self.logs(), old, &new.logging)
    }

    fn set_level(&self, level: &str) {
        if let Err(error) = self.origin.log.set_level(level) {
            tracing::error!(%error, "reload: the log level could not be changed");
        }
    }

    /// All that follows the step that decides, and whatever of it failed before. Doing it twice changes nothing.
    fn finish(&self, values: &mut Values) {
        match values.next.as_ref().filter(|next| next.resources.adopted()) {
            Some(next) => self.put_in_force(next),
            None => self.replace_backups(),
        }
        if let Some(next) = values.next.take().filter(|next| next.resources.adopted()) {
            values.done = Some((next.order, next.reloaded));
            values.in_force = (next.edition.number, next.values);
        }
        self.finish_children();
    }

    /// Removes the children that the settings in force do not ask for.
    fn finish_children(&self) {
        let settings = Arc::clone(&self.site.current().responder.settings);
        if let Err(error) = wait_for(self.children.finish(&settings)) {
            tracing::error!(%error, "reload: children that are not wanted any more stay until the next reload");
        }
        self.faults.hit(REMOVED);
    }

    /// Replaces the schedule of backups, unless it follows the settings in force.
    fn replace_backups(&self) {
        let settings = Arc::clone(&self.site.current().responder.settings);
        if let Err(error) = wait_for(self.limited.replace(&settings)) {
            tracing::error!(%error, "reload: the schedule of backups stays until the next reload");
        }
    }

    fn put_in_force(&self, next: &NextSettings) {
        let NextSettings {
            edition: site,
            values,
            reloaded,
            ..
        } = next;
        let (number, settings) = (site.number, &*site.responder.settings);
        let opened = std::mem::take(&mut *next.logs.lock());
        logs::finish(self.logs(), &settings.logging, opened);
        if self.site.current().number != number {
            self.site.replace(Arc::clone(site));
            self.serving.feeds.follow(&site.responder.routes);
        }
        self.faults.hit(REPLACED);
        self.tls.set(&settings.tls);
        self.limited.set(&self.serving, settings);
        self.faults.hit(FINISHING);
        self.replace_backups();
        let admin = Arc::clone(&self.admin.current().responder);
        let hosts = Hosts::new(settings).serving_unknown();
        self.admin.replace(edition(
            number,
            settings,
            hosts,
            ProxyRules::default(),
            HttpsRules::default(),
            admin,
        ));
        site.responder.routes.resize();
        self.watching.want(settings.server.watch);
        {
            let mut status = self.reloads.status.lock();
            status.generation = number;
            status.hash = values.hash();
            status.since = SystemTime::now();
        }
        self.tell(reloaded, &settings.logging.level);
    }

    /// Notes and logs the outcome of an order that was not a dry run.
    fn note(&self, outcome: &Result<Reloaded, NotReloaded>) {
        let mut status = self.reloads.status.lock();
        status.note(outcome, SystemTime::now());
        drop(status);
        match outcome {
            Ok(reloaded) if reloaded.changes.is_empty() => {
                tracing::info!(name: OUTCOME, "the settings were read again: nothing has changed");
            }
            Ok(_) => {}
            Err(died @ NotReloaded::Died) => tracing::error!(name: OUTCOME, "reload: {died}"),
            Err(refused) => {
                for line in refused.lines() {
                    tracing::error!(name: OUTCOME, "reload: {line}");
                }
                tracing::error!(name: OUTCOME, "reload: the settings are refused, nothing has changed");
            }
        }
    }

    /// Carries out an order.
    fn obey(&self, order: &Delivery<ReloadOrder>, incarnation: &Incarnation) {
        let mut values = self.values.lock();
        if !order.dry_run {
            values.begin(order);
            self.reloads.begun.fetch_add(1, Ordering::AcqRel);
            self.reloads.under_way.store(true, Ordering::Release);
        }
        let outcome = self.reload(order, incarnation, &mut values);
        // The next incarnation gets the order again, notes its outcome and answers it.
        let killed = !incarnation.fence().holds();
        if !order.dry_run {
            match &outcome {
                _ if killed => {}
                // Nothing was read.
                Err(refused @ NotReloaded::OtherFile { .. }) => {
                    tracing::warn!(name: OUTCOME, "reload: {refused}");
                }
                outcome => self.note(outcome),
            }
            if !killed {
                values.begun = None;
            }
            self.reloads.under_way.store(false, Ordering::Release);
        }
        if let Some(reply) = order.reply.as_ref().filter(|_| !killed) {
            reply.settle(outcome);
        }
    }
}

/// Refuses what nobody waits for any more.
fn still_wanted(
    order: &Delivery<ReloadOrder>,
    incarnation: &Incarnation,
) -> Result<(), NotReloaded> {
    if !incarnation.wanted() {
        Err(NotReloaded::Stopping)
    } else if order.expired() {
        Err(NotReloaded::Expired)
    } else {
        Ok(())
    }
}

/// All faults, a line for each.
fn faults(error: LoadError) -> Vec<String> {
    match error {
        LoadError::Invalid(faults) => faults.iter().map(ToString::to_string).collect(),
        LoadError::Unreadable { .. } => vec![error.to_string()],
    }
}

impl BlockingChild for Reloader {
    type Message = ReloadOrder;

    fn handle(&mut self, batch: &[Delivery<ReloadOrder>]) -> Result<(), BoxError> {
        for order in batch {
            self.reloading.obey(order, &self.incarnation);
        }
        Ok(())
    }
}
