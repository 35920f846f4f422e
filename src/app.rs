//! The composition root: the only place where sockets, slots and child specs are made.

mod assembly;
mod bounds;
mod errors;
mod handlers;
mod listeners;
mod memory;
mod notifier;
mod phase;
mod reload;
mod service_manager;
mod serving;
mod signals;
mod sockets;
mod system;
mod tls;

pub(crate) use errors::with_causes;
pub use errors::{BuildError, Ended};
pub use phase::Phase;
pub(crate) use reload::SettingsOrigin;
pub use system::{Bound, Stop, System};

use crate::listener::Inherited;
pub use crate::listener::SocketError;
use crate::settings::Settings;
use service_manager::ServiceManager;
use signals::OnSignal;
pub(crate) use signals::Signals;

/// The error of [`run`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The daemon could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The daemon stopped by itself.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The system refused something that the process needs.
    #[error("the system refused {0}")]
    System(&'static str, #[source] std::io::Error),
}

/// Serves until SIGTERM or SIGINT, and stops in order: the whole daemon in one call.
///
/// Blocks the calling thread; everything runs on threads of its own. Where systemd started the process, it is told how the
/// daemon does, and its sockets are taken. For a daemon inside another program, driven step
/// by step, there is [`System`].
///
/// ```
/// use perennial::settings::Settings;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("perennial-run-{}", std::process::id()));
/// let mut settings = Settings::default();
/// settings.server.listen = vec!["127.0.0.1:0".parse()?];
/// settings.server.admin = "127.0.0.1:0".parse()?;
/// settings.server.data = folder.join("data");
/// # // Somebody has to stop it: here, what systemd would do.
/// # let data = settings.server.data.clone();
/// # std::thread::spawn(move || {
/// #     while !data.join("view").exists() { std::thread::yield_now(); }
/// #     std::process::Command::new("kill").arg(std::process::id().to_string()).status()
/// # });
/// perennial::run(settings)?; // returns after SIGTERM, when everything has stopped in order
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
pub fn run(settings: Settings) -> Result<(), RunError> {
    let signals = Signals::catch_first().map_err(no_signals)?;
    run_from(settings, None, signals)
}

fn no_signals(error: std::io::Error) -> RunError {
    RunError::System("signal handlers", error)
}

/// Runs the daemon with settings that a reload can read again.
pub(crate) fn run_from(
    settings: Settings,
    origin: Option<SettingsOrigin>,
    signals: Signals,
) -> Result<(), RunError> {
    crate::descriptors::raise();
    let signals = signals.catch_all().map_err(no_signals)?;
    let inherited = Inherited::take().map_err(|error| BuildError::Sockets(vec![error]))?;
    let log = origin.as_ref().map(|origin| origin.log.clone());
    let mut system = System::with_origin(settings, inherited, origin)?;
    system.parts.metrics.add_some(log.clone());
    if let Some(manager) = ServiceManager::of(|name| std::env::var_os(name)) {
        system.tell(manager);
    }
    signals
        .watch(OnSignal {
            stop: system.stopper(),
            reloader: system.parts.reloader.clone(),
            access_log: system.access_log(),
            log,
        })
        .map_err(|error| RunError::System("a thread for signals", error))?;
    system.start()?;
    Ok(system.join()?)
}
