//! What commands share: configuration, runtime, storage, signals.

use super::{CliError, ConfigFile};
use crate::config::{Config, load};
use crate::stdout::stdout;
use crate::store::Storage;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;

impl ConfigFile {
    /// The configuration, with the output of the command line.
    ///
    /// # Errors
    /// When the file is wrong.
    pub fn read(&self) -> Result<Config, CliError> {
        let mut config = match &self.config {
            Some(path) => load(path).map_err(CliError::usage)?,
            None => Config::default(),
        };
        if let Some(output) = &self.output {
            config.output.dir.clone_from(output);
        }
        Ok(config)
    }
}

/// A runtime for object stores, webhooks and SQL; the engine's own threads are plain ones.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)
}

/// Prints a line to standard output.
///
/// # Errors
/// When it can't be written; that its reader has gone ends the command quietly.
pub fn say(line: impl std::fmt::Display) -> Result<(), CliError> {
    writeln!(stdout(), "{line}").map_err(CliError::failed)
}

/// Tells a person a line, on standard error; that nobody listens is no trouble.
pub fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The output of a configuration.
///
/// # Errors
/// When it can't be used.
pub fn storage(config: &Config, runtime: &Runtime) -> Result<Storage, CliError> {
    Storage::open(&config.output.dir, runtime.handle().clone()).map_err(CliError::failed)
}

/// Set once SIGTERM or SIGINT has come; a second one ends the process at once.
#[must_use]
pub fn stop_signal(runtime: &Runtime) -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    runtime.spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        loop {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if set.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            tracing::info!("stopping: committing what was read");
        }
    });
    stop
}

/// A point of time on the command line: RFC 3339, or a date.
///
/// # Errors
/// When it is neither.
pub fn time(s: &str) -> Result<i64, String> {
    let full = if s.len() == 10 { format!("{s}T00:00:00Z") } else { s.to_owned() };
    crate::event::time::parse(&full).ok_or_else(|| {
        format!("{s:?} is no time: use 2026-01-31 or 2026-01-31T06:00:00Z, between 2000 and 2100")
    })
}
