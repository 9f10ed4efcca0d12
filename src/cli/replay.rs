//! `driftglass replay`: the engine over files.

use super::common::{runtime, say, stop_signal, storage, tell_output, time};
use super::inputs::{SurveyedInputs, no_usable_events, range};
use super::run::{execute, try_sinks};
use super::{CliError, ConfigFile, Global, show};
use crate::engine::inputs::{InputKind, InputPlan};
use crate::engine::{Finish, Job, JobKind, PartitionCommit, Progress};
use crate::source::input::FileLocation;
use crate::source::parquet::ArchiveOptions;
use crate::source::{FromBeginning, InputFile, JsonlSource, ParquetSource, Positions, Source, TimeRange};
use crate::store::Patience;
use clap::Args;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Arguments.
#[derive(Debug, Args)]
pub struct ReplayCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// Files, folders, globs or URLs: JSON lines (also .gz, .zst) or Parquet archives; - is
    /// standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// Skip events before this time (RFC 3339 or a date)
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Skip events at or after this time
    #[arg(long, value_parser = time)]
    to: Option<i64>,
    /// Empty the output first
    #[arg(long)]
    overwrite: bool,
}

impl ReplayCommand {
    /// Replays to the end of the input.
    ///
    /// # Errors
    /// When configuration, input or output fail.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let range = range(self.from, self.to)?;
        let config = self.config.read()?;
        let runtime = runtime()?;
        let surveyed_inputs = SurveyedInputs::survey(&self.inputs, range != TimeRange::ALL, runtime.handle())
            .map_err(CliError::failed)?;
        let storage = storage(&config, &runtime)?;
        let prepared = Job::prepare(config, JobKind::Replay, storage.with(Patience::Briefly))?;
        let (kind, files, times) = (surveyed_inputs.kind, surveyed_inputs.files(), surveyed_inputs.times());
        if self.overwrite {
            surveyed_inputs.check_not_empty(range)?;
            try_inputs(kind, &files, prepared.job(), range, runtime.handle())?;
            try_sinks(&prepared.job().settings.config)?;
        }
        let job = Arc::new(prepared.begin(self.overwrite)?);
        tell_output(&storage, self.overwrite, global);
        let plan = surveyed_inputs.admit::<PartitionCommit>(&job, range, true)?;
        let fresh = plan.fresh;
        let (handle, opened) = (runtime.handle().clone(), Arc::clone(&job));
        let progress = Arc::new(Progress::default());
        let connect = |positions| open(kind, files, plan, &opened, range, positions, handle);
        let summary = execute(&job, "", range, stop_signal(&runtime), progress, global, connect)?;
        show::summary(&summary, global)?;
        if !global.json {
            if summary.counts.messages == 0 && fresh {
                say("the input has no messages")?;
            } else if summary.counts.messages == 0 {
                say(
                    "nothing new to read: this output already has the whole input (--overwrite starts over)",
                )?;
            }
            let in_this_run = summary.counts.alerts_fired;
            show::fired(&show::alerts(&storage)?, in_this_run, summary.unjudged.as_ref())?;
        }
        match summary.finish {
            Finish::InputEnded => no_usable_events(&summary.counts, &summary.reasons, range, times, fresh),
            Finish::Stopped => Ok(()),
        }
    }
}

/// Checks that this job can read the surveyed inputs, before anything is deleted.
fn try_inputs(
    kind: InputKind,
    files: &[InputFile],
    job: &Job,
    range: TimeRange,
    handle: &Handle,
) -> Result<(), CliError> {
    if let Some(file) =
        files.iter().find(|f| matches!(&f.place, FileLocation::Local(path) if job.clears(path)))
    {
        let name = &file.name;
        return Err(CliError::usage(format!(
            "--overwrite would delete the input {name}: move it, or choose another output"
        )));
    }
    if kind == InputKind::Archive {
        // Fails if it was written under another hashing key, for example.
        let key_id = Some(job.plan.hasher.key_id());
        let options = ArchiveOptions { range, columns: None, key_id, ..ArchiveOptions::default() };
        ParquetSource::open(files, options, Arc::new(FromBeginning), handle.clone())
            .map_err(CliError::failed)?;
    }
    Ok(())
}

/// A source over the admitted inputs.
fn open(
    kind: InputKind,
    files: Vec<InputFile>,
    plan: InputPlan,
    job: &Job,
    range: TimeRange,
    positions: Arc<dyn Positions>,
    handle: Handle,
) -> Result<Box<dyn Source>, CliError> {
    Ok(match kind {
        InputKind::Jsonl => {
            let max = usize::try_from(job.settings.config.input.max_message.0).unwrap_or(usize::MAX);
            Box::new(JsonlSource::from_lanes(plan.lanes, max, positions, handle))
        }
        InputKind::Archive => {
            let key_id = Some(job.plan.hasher.key_id());
            let options = ArchiveOptions { range, columns: None, key_id, earlier: plan.partitions };
            Box::new(ParquetSource::open(&files, options, positions, handle).map_err(CliError::failed)?)
        }
    })
}
