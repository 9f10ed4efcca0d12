//! `driftglass run`: the streaming job on a Kafka topic.

use super::check::appendable;
use super::common::{runtime, stop_signal, storage, tell_output};
use super::live::ProgressDisplay;
use super::{CliError, ConfigFile, Global, show};
use crate::alert::{Outbox, configured_sinks};
use crate::config::Config;
use crate::engine::{self, Finish, Job, JobKind, Options, PartitionClaims, Progress, Summary};
use crate::serve::{self, JobMetrics};
use crate::source::kafka::probe;
use crate::source::{KafkaOptions, KafkaSource, Positions, Source, SourceError, TimeRange};
use crate::store::Patience;
use clap::Args;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments.
#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// Stop at the offsets that the topic has now
    #[arg(long)]
    until_caught_up: bool,
    /// Empty the output and read the topic from its beginning
    #[arg(long)]
    overwrite: bool,
}

impl RunCommand {
    /// Runs the job until it is stopped.
    ///
    /// # Errors
    /// When configuration, broker or output fail.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let config = self.config.read()?;
        let Some(kafka) = config.input.kafka.clone() else {
            return Err(CliError::usage(
                "input.kafka is not set; set brokers and topic, for example kafka = { brokers = \"localhost:9092\", topic = \"generation-events\" }",
            ));
        };
        let runtime = runtime()?;
        let storage = storage(&config, &runtime)?;
        let options = KafkaOptions {
            properties: config.kafka.properties.clone(),
            idle: config.windows.idle.duration(),
            until_caught_up: self.until_caught_up,
            max_message: usize::try_from(config.input.max_message.0).unwrap_or(usize::MAX),
            ..KafkaOptions::new(&kafka.brokers, &kafka.topic, &kafka.group)
        };
        let stop = stop_signal(&runtime);
        // A store that is unavailable at the start is an error. Later the job waits for it.
        let prepared = Job::prepare(config, JobKind::Run, storage.with(Patience::Briefly))?;
        if self.overwrite {
            let config = &prepared.job().settings.config;
            let (properties, patience) = (&config.kafka.properties, options.connect_timeout);
            probe(&kafka.brokers, &kafka.topic, &kafka.group, properties, patience).map_err(|e| match e {
                SourceError::Property { .. } => CliError::usage(e),
                e => CliError::failed(e),
            })?;
            try_sinks(config)?;
        }
        let mut job = prepared.begin(self.overwrite)?;
        tell_output(&storage, self.overwrite, global);
        job.storage = storage.with(Patience::UntilStopped(Arc::clone(&stop)));
        let job = Arc::new(job);
        let connect = |positions: Arc<dyn Positions>| -> Result<Box<dyn Source>, CliError> {
            Ok(Box::new(KafkaSource::connect(options, positions).map_err(CliError::failed)?))
        };
        let progress = Arc::new(Progress::default());
        if let Some(address) = &job.settings.config.serve.listen {
            let metrics = JobMetrics::new(Arc::clone(&job), Arc::clone(&progress));
            serve::start(address, metrics, runtime.handle()).map_err(CliError::usage)?;
        }
        let shown = Arc::clone(&progress);
        let summary = execute(&job, &kafka.topic, TimeRange::ALL, stop, shown, global, connect)?;
        show::summary(&summary, global)?;
        // A process that only reads does not know what the one that evaluates found.
        let evaluates = progress.evaluates.load(Ordering::Relaxed) == 1;
        if global.json || summary.finish != Finish::InputEnded || !evaluates {
            return Ok(());
        }
        let rows = match progress.evaluated_from.load(Ordering::Relaxed) {
            0 => Vec::new(),
            from => show::alerts_after(&storage, from)?,
        };
        show::fired(&rows, summary.counts.alerts_fired, summary.unjudged.as_ref())
    }
}

/// Tries the address to serve at and the alert sinks, before anything is deleted.
///
/// # Errors
/// When the address to serve at is taken, or alerts can't be written.
pub fn try_sinks(config: &Config) -> Result<(), CliError> {
    if let Some(address) = &config.serve.listen {
        TcpListener::bind(address).map_err(|source| {
            CliError::usage(serve::ServeError::Listen { address: address.clone(), source })
        })?;
    }
    if let Some(path) = config.alerts.jsonl.as_deref().filter(|p| *p != "-") {
        appendable(Path::new(path)).map_err(|e| {
            CliError::failed(format!(
                "alerts.jsonl: can't append to {path}: {e}; create its folder, or name another file"
            ))
        })?;
    }
    configured_sinks(&config.alerts).map(drop).map_err(CliError::usage)
}

/// Runs a job over the source that `connect` makes, showing its progress and sending its alerts.
///
/// # Errors
/// When source, output or sinks fail.
pub fn execute(
    job: &Arc<Job>,
    topic: &str,
    range: TimeRange,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    global: &Global,
    connect: impl FnOnce(Arc<dyn Positions>) -> Result<Box<dyn Source>, CliError>,
) -> Result<Summary, CliError> {
    let topic: Arc<str> = topic.into();
    let claims = Arc::new(PartitionClaims::new(Arc::clone(job), Arc::clone(&topic)));
    let sinks = configured_sinks(&job.settings.config.alerts).map_err(CliError::usage)?;
    let outbox = if sinks.is_empty() { None } else { Some(Outbox::start(sinks).map_err(CliError::failed)?) };
    let positions: Arc<dyn Positions> = Arc::clone(&claims) as Arc<dyn Positions>;
    let mut source = connect(positions)?;
    let shown = ProgressDisplay::start(Arc::clone(&progress), global);
    let options = Options { topic, range, stop, progress, outbox };
    let summary = engine::run(job, source.as_mut(), &claims, options).map_err(CliError::failed)?;
    drop(shown);
    Ok(summary)
}
