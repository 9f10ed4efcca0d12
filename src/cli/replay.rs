//! `driftglass replay`: the same engine over files.

use super::common::{runtime, stop_signal, storage, tell_output, time};
use super::run::{execute, try_ends};
use super::{CliError, ConfigFile, Global, show};
use crate::engine::{Job, JobKind, Progress};
use crate::source::input::Place;
use crate::source::parquet::ArchiveOptions;
use crate::source::{
    FromBeginning, Inputs, JsonlSource, ParquetSource, Positions, Source, TimeRange, resolve,
};
use crate::store::Patience;
use clap::Args;
use std::sync::Arc;
use std::time::Duration;
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
        let prepared = Job::prepare(config, JobKind::Replay, storage.with(Patience::Briefly))?;
        if self.overwrite {
            try_inputs(&inputs, prepared.job(), range, runtime.handle())?;
            try_ends(&prepared.job().settings.config)?;
        }
        let job = Arc::new(prepared.begin(self.overwrite)?);
        tell_output(&storage, self.overwrite, global);
        let (handle, opened) = (runtime.handle().clone(), Arc::clone(&job));
        let progress = Arc::new(Progress::default());
        let connect = |positions| open(inputs, &opened, range, positions, handle);
        let summary = execute(&job, "", range, stop_signal(&runtime), progress, global, connect)?;
        show::summary(&summary, global)?;
        if !global.json {
            if summary.counts.messages == 0 && summary.counts.rejected == 0 {
                println!(
                    "nothing was left to read: this output holds the whole input already (--overwrite starts over)"
                );
            }
            show::fired(&show::alerts(&storage)?)?;
        }
        Ok(())
    }
}

/// Opens every input and reads its first records, before anything is deleted for them.
fn try_inputs(inputs: &Inputs, job: &Job, range: TimeRange, handle: &Handle) -> Result<(), CliError> {
    let parts = match inputs {
        // What standard input or a pipe brings can be read once only.
        Inputs::Jsonl(files) => files
            .iter()
            .filter(|f| match &f.place {
                Place::Stdin => false,
                Place::Local(path) => path.is_file(),
                Place::Object { .. } => true,
            })
            .map(|f| Inputs::Jsonl(vec![f.clone()]))
            .collect(),
        Inputs::Archive(_) => vec![inputs.clone()],
    };
    let (Inputs::Jsonl(files) | Inputs::Archive(files)) = inputs;
    if let Some(file) = files.iter().find(|f| matches!(&f.place, Place::Local(path) if job.clears(path))) {
        let name = &file.name;
        return Err(CliError::usage(format!(
            "{name} lies where --overwrite empties the output: move it, or choose another output"
        )));
    }
    for part in parts {
        let mut source = open(part, job, range, Arc::new(FromBeginning), handle.clone())?;
        source.poll(Duration::ZERO).map_err(CliError::failed)?;
    }
    Ok(())
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
