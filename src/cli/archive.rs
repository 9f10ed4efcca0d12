//! `driftglass archive`: a topic or JSON lines to a redacted Parquet archive of events.

use super::common::{runtime, say, stop_signal, tell_output};
use super::inputs::{SurveyedInputs, no_usable_events};
use super::live::ProgressDisplay;
use super::show::refused_fields;
use super::{CliError, ConfigFile, Global};
use crate::config::units::Span;
use crate::engine::inputs::InputKind;
use crate::engine::{self, ArchiveJob, Job, JobKind, PartitionClaims, Progress};
use crate::event::RejectReason;
use crate::source::{JsonlSource, KafkaOptions, KafkaSource, Positions, Source, TimeRange};
use crate::store::archive_writer::{ArchiveCommit, ArchiveTarget, ArchiveWritten, REJECTS};
use crate::store::{Patience, Storage};
use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use std::sync::Arc;
use std::time::Instant;

/// Name of the archive's chains, and its folder in the output.
const NAME: &str = "archive";

/// Arguments.
#[derive(Debug, Args)]
pub struct ArchiveCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// JSONL files, folders or globs (plain, .gz, .zst), local or URLs; without any, the topic of
    /// the configuration, read as the consumer group of the configuration with "-archive" behind it
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,
    /// Stop once everything that the topic holds now is archived
    #[arg(long)]
    until_caught_up: bool,
    /// Rows after which a file is full (it also ends with its day)
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_file: u64,
    /// Time after which a file is written though it is not full
    #[arg(long, value_name = "TIME", default_value_t = Span::minutes(10), value_parser = some_time)]
    every: Span,
}

fn some_time(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 > 0 { Ok(span) } else { Err("must be above 0, for example 10m".to_owned()) }
}

impl ArchiveCommand {
    /// Archives until the input ends or it is told to stop.
    ///
    /// # Errors
    /// When configuration, input or output fail.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let mut config = self.config.read()?;
        let runtime = runtime()?;
        let looked = match self.inputs.as_slice() {
            [] => None,
            some => match SurveyedInputs::survey(some, true, runtime.handle()).map_err(CliError::failed)? {
                SurveyedInputs { kind: InputKind::Archive, .. } => {
                    return Err(CliError::usage(
                        "an archive can't be archived again; give JSON lines, or no INPUT for the topic",
                    ));
                }
                looked => Some(looked),
            },
        };
        let kafka = config.input.kafka.clone();
        let (topic, names) = match (&looked, &kafka) {
            // Which ones is remembered elsewhere.
            (Some(_), _) => (String::new(), vec!["files".to_owned()]),
            (None, Some(k)) => (k.topic.clone(), vec![format!("topic {}", k.topic)]),
            (None, None) => {
                return Err(CliError::usage(
                    "nothing to archive: name JSONL files, or a topic in the configuration, for example input.kafka = { brokers = \"localhost:9092\", topic = \"generation-events\" }",
                ));
            }
        };
        // The archive is an output of its own within the job's, so that both may run from one
        // configuration.
        let root = format!("{}/{NAME}", config.output.dir.trim_end_matches('/'));
        let storage = Storage::open(&root, runtime.handle().clone()).map_err(CliError::failed)?;
        let storage = storage.with(Patience::Briefly);
        config.engine.job = Some(NAME.to_owned());
        // An archive judges nothing, and the pins that rules may name are in the job's output.
        config.rules.clear();
        let idle = config.windows.idle.duration();
        let properties = config.kafka.properties.clone();
        let max_message = usize::try_from(config.input.max_message.0).unwrap_or(usize::MAX);
        let job = Job::open(config, JobKind::Run, storage.clone(), false)?;
        let times = looked.as_ref().and_then(SurveyedInputs::times);
        let admit = |looked: SurveyedInputs| looked.admit::<ArchiveCommit>(&job, TimeRange::ALL, false);
        let plan = looked.map(admit).transpose().map_err(|e| CliError::usage(e.without_overwrite()))?;
        let stop = stop_signal(&runtime);
        let target = ArchiveTarget {
            // Who follows a topic waits for the store, and its source holds back.
            storage: match &plan {
                Some(_) => storage.clone(),
                None => storage.with(Patience::UntilStopped(Arc::clone(&stop))),
            },
            chains: format!("_chain/{NAME}"),
            topic: topic.into(),
            inputs: names,
            key_id: job.plan.hasher.key_id(),
            rows_per_file: self.rows_per_file,
        };
        tell_output(&storage, false, global);
        let archive_job = Arc::new(ArchiveJob::new(&job, target, self.every.duration()));
        let claims = Arc::new(PartitionClaims::of_archive(Arc::clone(&archive_job)));
        let positions: Arc<dyn Positions> = Arc::clone(&claims) as Arc<dyn Positions>;
        let mut source: Box<dyn Source> = match (plan, kafka) {
            (Some(plan), _) => Box::new(JsonlSource::from_lanes(
                plan.lanes,
                max_message,
                positions,
                runtime.handle().clone(),
            )),
            (None, Some(k)) => {
                let group = format!("{}-{NAME}", k.group);
                let options = KafkaOptions {
                    properties,
                    idle,
                    until_caught_up: self.until_caught_up,
                    max_message,
                    ..KafkaOptions::new(&k.brokers, &k.topic, &group)
                };
                Box::new(KafkaSource::connect(options, positions).map_err(CliError::failed)?)
            }
            (None, None) => return Err(CliError::usage("nothing to archive")),
        };
        let progress = Arc::new(Progress::default());
        let began = Instant::now();
        let shown = ProgressDisplay::start(Arc::clone(&progress), global);
        engine::archive(&archive_job, source.as_mut(), &claims, &progress, &stop)
            .map_err(CliError::failed)?;
        drop(shown);
        tell(&progress, archive_job.wrote(), began.elapsed().as_secs_f64(), storage.url(), global)?;
        no_usable_events(&progress.counts(), &progress.reasons.lock().clone(), TimeRange::ALL, times, false)
    }
}

/// Prints what was archived.
fn tell(
    progress: &Progress,
    wrote: ArchiveWritten,
    seconds: f64,
    url: &str,
    global: &Global,
) -> Result<(), CliError> {
    let c = progress.counts();
    let reasons = progress.reasons.lock().clone();
    if global.json {
        say(serde_json::json!({
            "archive": url, "seconds": seconds, "messages": c.messages, "events": wrote.rows, "files": wrote.files,
            "bytes": wrote.bytes, "rejected": c.rejected, "reasons": reasons, "mistyped_fields": c.mistyped_fields,
            "fields": c.fields, "gaps": c.gaps, "tombstones": c.tombstones,
        }))?;
        return Ok(());
    }
    if c.messages == 0 {
        say(format_args!("nothing new to archive: {url} goes on where it ended"))?;
        return Ok(());
    }
    let mut text = format!(
        "{} events in {} files, {} (was {}), in {seconds:.1} s ({}/s): {url}",
        HumanCount(wrote.rows),
        HumanCount(wrote.files),
        HumanBytes(wrote.bytes),
        HumanBytes(c.bytes),
        HumanCount((wrote.rows as f64 / seconds.max(1e-9)) as u64),
    );
    if c.rejected > 0 {
        let reasons: Vec<String> = reasons.iter().map(|(r, n)| format!("{r} {n}")).collect();
        text += &format!(
            "; {} messages rejected ({}), listed in {REJECTS}",
            HumanCount(c.rejected),
            reasons.join(", ")
        );
    }
    for (reason, fields) in &c.fields {
        let left_out = if *reason == RejectReason::RefusedName.name() { "" } else { " left out" };
        text += &format!("; {}{left_out}", refused_fields(reason, fields));
    }
    for (n, what) in [(c.tombstones, "tombstones"), (c.gaps, "offsets lost")] {
        if n > 0 {
            text += &format!("; {} {what}", HumanCount(n));
        }
    }
    say(text)?;
    Ok(())
}
