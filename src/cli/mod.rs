//! The command line: arguments, exit codes, and one file a command.

mod archive;
mod baseline;
mod bench_drain;
mod bench_embed;
mod bench_score;
mod check;
mod check_events;
mod common;
pub mod demo;
mod generate;
mod inputs;
mod live;
mod logging;
mod replay;
mod run;
mod show;
mod sql;
pub(crate) mod style;

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

/// Tells a text-to-image service, per segment and within minutes, that its prompts, its images, its quality or its speed have drifted.
#[derive(Debug, Parser)]
#[command(name = "driftglass", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Say more: causes of errors and what the job does (twice: debugging)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Results as JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// No progress
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// The configuration; without it all defaults hold
    #[arg(short, long, value_name = "FILE", env = "DRIFTGLASS_CONFIG")]
    config: Option<PathBuf>,
    /// Output folder or object-store URL, instead of the configuration's output.dir
    #[arg(short, long, value_name = "DIR")]
    output: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole job with nothing installed: an in-process broker, generated traffic with incidents, the streaming engine
    Demo(demo::Demo),
    /// The streaming job against Kafka, until SIGTERM
    Run(run::Run),
    /// The same engine over Parquet archives or JSONL, local or object store
    Replay(replay::Replay),
    /// Kafka or JSONL to a redacted Parquet archive of events
    Archive(archive::ArchiveCommand),
    /// SQL over this job's tables: the DataFusion CLI with driftglass's functions
    Sql(sql::Sql),
    /// Baselines: list, show, pin, drop, accept
    Baseline(baseline::Baseline),
    /// Named styles that images are measured against, and the reference that projects their vectors
    Style(style::Style),
    /// Validates the configuration and reaches every system it names
    Check(check::Check),
    /// Reference events, seeded, with chosen incidents, to JSONL, Parquet or Kafka
    Generate(Box<generate::Generate>),
    /// Reads a topic and drops it: what benchmarks compare with
    #[command(hide = true)]
    BenchDrain(bench_drain::BenchDrain),
    /// Images per second of the whole stage beside the model alone: what benchmarks of embeddings print
    #[command(hide = true)]
    BenchEmbed(bench_embed::BenchEmbed),
    /// Comparisons of windows with baselines per second: what benchmarks of scoring print
    #[command(hide = true)]
    BenchScore(bench_score::BenchScore),
}

/// Why a command did not succeed; decides the exit code.
#[derive(Debug, Error)]
pub enum CliError {
    /// The answer is no: exit code 1.
    #[error("{0}")]
    No(String),
    /// Usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Input or output failed: exit code 3.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    /// Wrong usage or configuration.
    pub fn usage(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Usage(e.into())
    }

    /// Input or output that failed.
    pub fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(e.into())
    }

    /// Whether nobody reads standard output any more.
    fn is_closed_pipe(&self) -> bool {
        let Self::Failed(e) = self else { return false };
        crate::stdout::reader_is_gone()
            || e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    }

    fn code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
        }
    }
}

impl From<crate::engine::InputsError> for CliError {
    fn from(e: crate::engine::InputsError) -> Self {
        use crate::engine::InputsError as I;
        match e {
            I::Storage(_) | I::Chain(_) | I::Source(_) | I::Damaged { .. } | I::Taken { .. } => {
                Self::failed(e)
            }
            _ => Self::usage(e),
        }
    }
}

impl From<crate::engine::JobError> for CliError {
    fn from(e: crate::engine::JobError) -> Self {
        use crate::engine::JobError as J;
        match e {
            J::Config(_)
            | J::Rule(_)
            | J::OtherJob { .. }
            | J::Name(_)
            | J::NoOutput { .. }
            | J::ReadsItself => Self::usage(e),
            J::Storage(_) | J::History(_) => Self::failed(e),
            J::Embed(e) => style::classify(e),
        }
    }
}

/// What is wrong with the arguments, on one line, and where the right ones are told.
fn usage(e: &clap::Error) -> String {
    let text = e.render().to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .filter(|l| !l.is_empty())
        .collect();
    let said = said.join(" ");
    let commands = Cli::command();
    let command = std::env::args().skip(1).find(|a| commands.find_subcommand(a).is_some());
    let command = command.map_or_else(String::new, |c| format!("{c} "));
    format!(
        "{} (driftglass {command}--help tells the arguments)",
        said.strip_prefix("error: ").unwrap_or(&said)
    )
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => e.exit(),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "driftglass: {}", usage(&e));
            return ExitCode::from(2);
        }
    };
    logging::start(cli.global.verbose);
    crate::steps::set_up();
    let done = match cli.command {
        Command::Demo(c) => c.run(&cli.global),
        Command::Run(c) => c.run(&cli.global),
        Command::Replay(c) => c.run(&cli.global),
        Command::Generate(c) => c.run(&cli.global),
        Command::Archive(c) => c.run(&cli.global),
        Command::Sql(c) => c.run(&cli.global),
        Command::Baseline(c) => c.run(&cli.global),
        Command::Style(c) => c.run(&cli.global),
        Command::Check(c) => c.run(&cli.global),
        Command::BenchDrain(c) => c.run(),
        Command::BenchEmbed(c) => c.run(),
        Command::BenchScore(c) => c.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // `driftglass … | head` has read enough.
        Err(e) if e.is_closed_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            let mut err = std::io::stderr();
            let line = e.to_string().replace('\n', " ");
            let _ = writeln!(err, "driftglass: {line}");
            if cli.global.verbose > 0 {
                let mut cause = std::error::Error::source(&e).and_then(std::error::Error::source);
                while let Some(c) = cause {
                    let _ = writeln!(err, "  because: {}", c.to_string().replace('\n', " "));
                    cause = c.source();
                }
            }
            ExitCode::from(e.code())
        }
    }
}
