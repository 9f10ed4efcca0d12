//! `driftglass replay`: the same engine over files.

use super::common::{runtime, say, stop_signal, storage, time};
use super::run::execute;
use super::{CliError, ConfigFile, Global, show};
use crate::engine::{Job, JobKind, Progress};
use crate::source::parquet::ArchiveOptions;
use crate::source::{Inputs, JsonlSource, ParquetSource, Positions, Source, TimeRange, resolve};
use crate::store::Patience;
use clap::Args;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Arguments.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    config: ConfigFile,
    /// Files, folders or globs of JSONL (plain, .gz, .zst) or Parquet archives; local or URLs; - is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// Leave out events before this time (RFC 3339 or a date)
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Leave out events at or after this time
    #[arg(long, value_parser = time)]
    to: Option<i64>,
    /// Start over: empty the output first
    #[arg(long)]
    overwrite: bool,
}

impl Replay {
    /// Replays to the end of the input.
    ///
    /// # Errors
    /// When configuration, input or output fail.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let config = self.config.read()?;
        let runtime = runtime()?;
        let range = TimeRange { from: self.from.unwrap_or(i64::MIN), to: self.to.unwrap_or(i64::MAX) };
        let inputs = resolve(&self.inputs, runtime.handle()).map_err(CliError::failed)?;
        let storage = storage(&config, &runtime)?;
        let job =
            Arc::new(Job::open(config, JobKind::Replay, storage.with(Patience::Briefly), self.overwrite)?);
        let (handle, opened) = (runtime.handle().clone(), Arc::clone(&job));
        let progress = Arc::new(Progress::default());
        let connect = |positions| open(inputs, &opened, range, positions, handle);
        let summary = execute(&job, "", range, stop_signal(&runtime), progress, global, connect)?;
        show::summary(&summary, global)?;
        if !global.json {
            if summary.counts.messages == 0 && summary.counts.rejected == 0 {
                say(
                    "nothing was left to read: this output holds the whole input already (--overwrite starts over)",
                )?;
            }
            show::fired(&show::alerts(&storage)?, summary.unjudged.as_ref())?;
        }
        Ok(())
    }
}

/// A source over resolved inputs.
///
/// # Errors
/// When they can't be opened.
pub fn open(
    inputs: Inputs,
    job: &Job,
    range: TimeRange,
    positions: Arc<dyn Positions>,
    handle: Handle,
) -> Result<Box<dyn Source>, CliError> {
    Ok(match inputs {
        Inputs::Jsonl(files) => {
            let max = usize::try_from(job.settings.config.input.max_message.0).unwrap_or(usize::MAX);
            Box::new(JsonlSource::new(files, max, positions, handle))
        }
        Inputs::Archive(files) => {
            let options = ArchiveOptions { range, columns: None, key_id: Some(job.plan.hasher.key_id()) };
            Box::new(ParquetSource::open(&files, options, positions, handle).map_err(CliError::failed)?)
        }
    })
}
