//! The command line: arguments, exit codes, and one file per command.

mod archive;
mod baseline;
mod bench_drain;
mod bench_embed;
mod bench_score;
mod check;
mod check_events;
mod common;
pub mod demo;
mod error;
mod generate;
mod incidents;
mod inputs;
mod live;
mod logging;
mod replay;
mod run;
mod show;
mod sql;
pub(crate) mod style;

pub use error::CliError;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Watches a text-to-image service for drift in its prompts, images, quality and speed
///
/// Reads the service's events from Kafka or files, compares each segment (a tenant, a region, a
/// model version …) with its own past, and raises alerts. The results are Parquet
/// tables that any tool can read.
#[derive(Debug, Parser)]
#[command(
    name = "driftglass",
    version,
    about,
    max_term_width = 100,
    after_help = "Start with: driftglass demo\nHelp on a command: driftglass COMMAND --help"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Log more: -v what the job does and the causes of errors, -vv for debugging
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Print results as JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// Configuration file; without it every key has its default
    #[arg(short, long, value_name = "FILE", env = "DRIFTGLASS_CONFIG")]
    config: Option<PathBuf>,
    /// Output folder or object-store URL; overrides output.dir of the configuration
    #[arg(short, long, value_name = "DIR")]
    output: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything with nothing installed: generated traffic with four incidents
    ///
    /// Starts an in-process Kafka broker, generates weeks of traffic with four incidents, runs the
    /// streaming engine over it, and reports which incidents it found and how fast. The tables stay
    /// in --dir, for driftglass sql.
    #[command(after_long_help = "Examples:
  driftglass demo
  driftglass demo --events 500000 --days 14 --dir /tmp/demo")]
    Demo(demo::Demo),
    /// Watch a Kafka topic until it is stopped
    ///
    /// Reads the topic of input.kafka as a member of its consumer group, writes tables and alerts,
    /// and commits as it goes: after a restart it resumes where it stopped. Run it on several
    /// machines to share the partitions. SIGTERM or Ctrl-C commits what was read and ends.
    #[command(after_long_help = "Examples:
  driftglass run -c driftglass.toml
  driftglass run -c driftglass.toml --until-caught-up")]
    Run(run::RunCommand),
    /// Analyse files: JSON lines or Parquet archives, local or in an object store
    ///
    /// Runs the same engine over files and ends with them. Given more files later, it continues the
    /// same output; given the same ones, it reads nothing twice.
    #[command(after_long_help = "Examples:
  driftglass replay events/*.jsonl.gz -o out
  driftglass replay s3://bucket/archive/ -c driftglass.toml --from 2026-01-05 --to 2026-01-19
  zcat events.gz | driftglass replay - -o out")]
    Replay(replay::ReplayCommand),
    /// Keep events for later: Kafka or JSON lines to a redacted Parquet archive
    ///
    /// Writes events without prompt text and with hashed ids. An archive can be replayed with other
    /// settings at any time.
    #[command(after_long_help = "Examples:
  driftglass archive -c driftglass.toml
  driftglass archive events/*.jsonl.gz -o out")]
    Archive(archive::ArchiveCommand),
    /// Query a job's tables in SQL
    ///
    /// The DataFusion shell with the tables of an output (panes, windows, alerts, rejects …) and
    /// functions over sketches. It only reads.
    #[command(after_long_help = "Examples:
  driftglass sql -o out
  driftglass sql -o out -e \"select rule, segment, summary from alerts order by firing_since desc limit 10\" --json")]
    Sql(sql::SqlCommand),
    /// List what happened: the alerts of one cause as one incident
    ///
    /// Groups the alerts of an output by segment, feature and time. Each incident names the segment
    /// and the feature that are nearest to the cause, what changed there, and since when.
    #[command(after_long_help = "Examples:
  driftglass incidents -o out
  driftglass incidents -c driftglass.toml --open --json")]
    Incidents(incidents::IncidentsCommand),
    /// Inspect and control what windows are compared with
    ///
    /// Rolling baselines follow the last days by themselves. Pin a range that was good to compare
    /// with it as well; accept a change that is intended, so that it becomes the new normal.
    #[command(after_long_help = "Examples:
  driftglass baseline list -o out
  driftglass baseline show rolling_7d --segment tenant=birch --feature latency_ms -o out
  driftglass baseline pin before-launch --from 2026-01-05 --to 2026-01-12 -o out
  driftglass baseline accept --segment tenant=birch -o out")]
    Baseline(baseline::BaselineCommand),
    /// Manage the styles that images are compared with
    ///
    /// A style is the mean direction of the vectors of example images. The reference projects
    /// vectors and sorts images into content clusters. Both need a model: see [embedding] in the
    /// configuration.
    #[command(after_long_help = "Examples:
  driftglass style build house-style images/ -c driftglass.toml
  driftglass style fit reference.json --images images/ -c driftglass.toml
  driftglass style list -c driftglass.toml")]
    Style(style::StyleCommand),
    /// Check a configuration, the systems that it names, or sample events
    ///
    /// Reaches output, Kafka, webhook and model once, and writes nothing that stays. With --events
    /// it checks messages of a producer against the event schema instead. Exits 1 if a check fails.
    #[command(after_long_help = "Examples:
  driftglass check -c driftglass.toml
  driftglass check --events sample.jsonl
  driftglass check --print-default > driftglass.toml")]
    Check(check::CheckCommand),
    /// Generate events with chosen incidents, to files or Kafka
    ///
    /// Simulates the traffic of a text-to-image service. The same arguments give the same bytes.
    Generate(Box<generate::GenerateCommand>),
    /// Read a topic and discard it, the baseline of throughput benchmarks
    #[command(hide = true)]
    BenchDrain(bench_drain::BenchDrain),
    /// Measure images per second: the whole stage, and the model alone
    #[command(hide = true)]
    BenchEmbed(bench_embed::BenchEmbed),
    /// Measure comparisons of windows with baselines per second
    #[command(hide = true)]
    BenchScore(bench_score::BenchScore),
}

/// What is wrong with the arguments, on one line, and which help to read.
fn usage(e: &clap::Error) -> String {
    let text = e.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .filter(|l| !l.is_empty())
        .collect();
    let message = lines.join(" ");
    let commands = Cli::command();
    let command = std::env::args().skip(1).find(|a| commands.find_subcommand(a).is_some());
    let command = command.map_or_else(String::new, |c| format!("{c} "));
    format!("{} (see driftglass {command}--help)", message.strip_prefix("error: ").unwrap_or(&message))
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => e.exit(),
        // A group of commands without any of them.
        Err(e) if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => e.exit(),
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
        Command::Incidents(c) => c.run(&cli.global),
        Command::Baseline(c) => c.run(&cli.global),
        Command::Style(c) => c.run(&cli.global),
        Command::Check(c) => c.run(&cli.global),
        Command::BenchDrain(c) => c.run(),
        Command::BenchEmbed(c) => c.run(),
        Command::BenchScore(c) => c.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // As in `driftglass … | head`: the reader has enough.
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
