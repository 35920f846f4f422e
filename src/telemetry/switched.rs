//! Layers of the subscriber that write or do not write, as the settings in force say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::settings::{LogFormat, LogSettings};

/// The parts of the settings in force by which layers are switched.
#[derive(Debug, Default)]
pub(super) struct Switches {
    json: AtomicBool,
    file: AtomicBool,
}

impl Switches {
    pub(super) fn set(&self, settings: &LogSettings) {
        let json = settings.format == LogFormat::Json;
        self.json.store(json, Ordering::Release);
        self.file.store(settings.file.is_some(), Ordering::Release);
    }

    /// Whether stderr has JSON.
    pub(super) fn json(&self) -> bool {
        self.json.load(Ordering::Acquire)
    }

    /// Whether there are log files.
    pub(super) fn file(&self) -> bool {
        self.file.load(Ordering::Acquire)
    }
}

/// A layer that writes events while it is on. It learns of all spans, since an event may need one that began before.
pub(super) struct Switched<L> {
    pub(super) layer: L,
    pub(super) switches: Arc<Switches>,
    pub(super) on: fn(&Switches) -> bool,
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Switched<L> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.layer.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if (self.on)(&self.switches) {
            self.layer.on_event(event, context);
        }
    }
}
