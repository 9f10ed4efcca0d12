//! What commands share: configuration, runtime, storage, signals, output.

use super::{CliError, ConfigFile, Global};
use crate::config::{Config, load};
use crate::engine::compile_rules;
use crate::source::kafka::client_config;
use crate::stdout::stdout;
use crate::store::panes::TableNames;
use crate::store::{Storage, file_path};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;

impl ConfigFile {
    /// The configuration, with the output of the command line.
    ///
    /// # Errors
    /// When the file is wrong, its rules included.
    pub fn read(&self) -> Result<Config, CliError> {
        let mut config = match &self.config {
            Some(path) if path.as_os_str().is_empty() => {
                return Err(CliError::usage(
                    "the name of the configuration file is empty: set -c or DRIFTGLASS_CONFIG to a file, or leave both out",
                ));
            }
            Some(path) => load(path).map_err(CliError::usage)?,
            None => Config::default(),
        };
        if let Some(output) = &self.output {
            if output.trim().is_empty() {
                return Err(CliError::usage(
                    "--output is empty: give a folder or the URL of an object store",
                ));
            }
            config.output.dir.clone_from(output);
        }
        // A file:// URL is a folder, with its escapes decoded.
        if let Some(path) = file_path(&config.output.dir) {
            config.output.dir = path.display().to_string();
        }
        if !config.rules.is_empty() {
            let features = config.feature_set().map_err(CliError::usage)?;
            let groupings = config.groupings().map_err(CliError::usage)?;
            compile_rules(&config, &TableNames::new(Arc::new(groupings), &features), None)?;
        }
        if let Some(kafka) = &config.input.kafka {
            client_config(&kafka.brokers, &kafka.group, &config.kafka.properties)
                .map_err(|e| CliError::usage(format!("{}{e}", config.origin.place("kafka.properties"))))?;
        }
        Ok(config)
    }
}

/// A runtime for object stores, webhooks and SQL. The engine's own threads don't use it.
///
/// # Errors
/// When the system can't start threads.
pub fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)
}

/// Prints a line to standard output.
///
/// # Errors
/// When it can't be written. If the reader has closed the pipe, the command ends quietly.
pub fn say(line: impl std::fmt::Display) -> Result<(), CliError> {
    writeln!(stdout(), "{line}").map_err(CliError::failed)
}

/// Prints a line to standard error, and ignores failures.
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

/// Prints where the results go, since a relative path may surprise.
pub fn tell_output(storage: &Storage, emptied: bool, global: &Global) {
    if global.quiet {
        return;
    }
    let url = storage.url();
    let path = url::Url::parse(url).ok().filter(|u| u.scheme() == "file").and_then(|u| u.to_file_path().ok());
    let place = path.map_or_else(|| url.to_owned(), |p| p.display().to_string());
    eprintln!("output: {place}{}", if emptied { " (emptied by --overwrite)" } else { "" });
}

/// Set by the first SIGTERM or SIGINT; the second one ends the process at once.
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
        format!("{s:?} is not a time: use 2026-01-31 or 2026-01-31T06:00:00Z, between 2000 and 2100")
    })
}
