//! `driftglass generate`: seeded events with chosen incidents.

mod output;
mod producer;

pub use super::error::ProduceError;
pub use output::session_key;
pub use producer::Producer;

use super::common::{tell, time};
use super::error::OutputError;
use super::{CliError, ConfigFile, Global};
use crate::enrich::DEFAULT_KEY;
use crate::generate::{
    Dimension, GenerateError, Generator, GeneratorSettings, IncidentKind, InjectedIncident, labels,
};
use chrono::{DateTime, Duration};
use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use output::{MessageOutput, WriteOutcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn after_help() -> String {
    format!(
        "Examples:
  driftglass generate events.jsonl.gz --days 14 --events 1000000
  driftglass generate --kafka localhost:9092 --topic generation-events --events-per-day 50000
  driftglass generate events.jsonl --incident latency-and-errors:all:2026-01-13 --labels labels.json

Incidents: KIND:SEGMENT:START[..END][:KEY=VALUE,…], for example
  prompt-shift:tenant=birch:2026-01-12T06:00:00Z..2026-01-14:share=0.6
  aesthetic-drop:model_version=sdxl-1.1:2026-01-12
  latency-and-errors:region=ap-south:2026-01-13..2026-01-14:factor=2,error_rate=0.1
SEGMENT is all, or DIMENSION=VALUE pairs joined by commas. Dimensions: {}.
Kinds of incidents, with the defaults of their parameters:
{}
Every kind also takes hours=20-6 (UTC), days=weekend or days=weekdays, and ramp=DAYS over which it grows.",
        Dimension::NAMES.join(", "),
        IncidentKind::help()
    )
}

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub struct GenerateCommand {
    /// File to write: JSON lines (also .gz, .zst) or an archive (.parquet); default or -: standard
    /// output
    #[arg(value_name = "FILE", conflicts_with = "kafka")]
    file: Option<PathBuf>,
    /// Send to this Kafka cluster instead, keyed by session
    #[arg(long, value_name = "BROKERS", requires = "topic")]
    kafka: Option<String>,
    /// Topic to send to; it must exist
    #[arg(long, requires = "kafka")]
    topic: Option<String>,
    /// About how many messages in all, over all days. Every message counts: with --stages each
    /// stage of a request, with --bad-share malformed ones. Chance moves the number, small ones most
    #[arg(long, value_name = "N", conflicts_with = "events_per_day")]
    events: Option<u64>,
    /// The same as messages per day, averaged over a week
    #[arg(long, value_name = "N", default_value_t = 100_000.0)]
    events_per_day: f64,
    /// Days of traffic
    #[arg(long, default_value_t = 14.0)]
    days: f64,
    /// Start of the traffic (RFC 3339 or a date)
    #[arg(long, value_parser = time, default_value = "2026-01-05")]
    start: i64,
    /// Seed of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of tenants
    #[arg(long, default_value_t = 6)]
    tenants: usize,
    /// Incident to inject, repeatable; see below
    #[arg(long, value_name = "TEXT")]
    incident: Vec<InjectedIncident>,
    /// Write the injected incidents to this JSON file
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Share of malformed messages, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    bad_share: f64,
    /// Share of users who opted out, 0 to 1
    #[arg(long, default_value_t = 0.01)]
    opt_out_share: f64,
    /// Also generate an ingest and a deliver event per request
    #[arg(long)]
    stages: bool,
    /// Set artifacts.image_uri in each event, as for the images that the demo draws
    #[arg(long)]
    images: bool,
    /// Configuration file: its privacy.key hashes an archive, its kafka.properties (security, sasl,
    /// ssl, client, socket) connect to Kafka
    #[arg(short, long, value_name = "FILE", env = "DRIFTGLASS_CONFIG")]
    config: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct GenerateSummary {
    /// Messages.
    events: u64,
    /// Malformed ones among them.
    malformed: u64,
    /// Messages that are no events and so are not in the archive.
    refused: u64,
    /// Bytes of the messages, before compression.
    bytes: u64,
    /// Wall time.
    seconds: f64,
}

impl GenerateCommand {
    /// Generates to the end.
    ///
    /// # Errors
    /// When a setting is wrong or the output can't be written.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let settings = self.settings().map_err(CliError::usage)?;
        let generator = Generator::new(settings).map_err(CliError::usage)?;
        let to_stdout = self.kafka.is_none() && self.path().is_none();
        let output = self.open()?;
        if let Some(path) = &self.labels {
            write_labels(path, generator.settings())?;
        }
        let written = write(generator, output, global).map_err(CliError::failed)?;
        if global.json && !to_stdout {
            let line = serde_json::to_string(&written).map_err(CliError::failed)?;
            return writeln!(std::io::stdout(), "{line}").map_err(CliError::failed);
        }
        if !global.quiet {
            tell(written.text());
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|p| *p != Path::new("-"))
    }

    fn settings(&self) -> Result<GeneratorSettings, GenerateError> {
        let out_of_range =
            |expected| GenerateError::Setting { setting: "days", value: self.days.to_string(), expected };
        if !(self.days > 0.0 && self.days <= 36_500.0) {
            return Err(out_of_range("a positive number of at most 36,500"));
        }
        let settings = GeneratorSettings {
            seed: self.seed,
            start: DateTime::from_timestamp_micros(self.start).unwrap_or_default(),
            duration: Duration::microseconds((self.days * 86_400e6) as i64),
            events_per_day: self.events_per_day,
            tenants: self.tenants,
            incidents: self.incident.clone(),
            bad_share: self.bad_share,
            opt_out_share: self.opt_out_share,
            stages: self.stages,
            image_uris: self.images,
            ..GeneratorSettings::default()
        };
        match self.events {
            Some(total) => with_total(settings, total),
            None => Ok(settings),
        }
    }

    fn open(&self) -> Result<MessageOutput, CliError> {
        let config = ConfigFile { config: self.config.clone(), output: None }.read()?;
        if let (Some(brokers), Some(topic)) = (&self.kafka, &self.topic) {
            let properties = connection(&config.kafka.properties);
            let producer = Producer::connect(brokers, topic, &properties).map_err(|e| match e {
                ProduceError::Property(_) => CliError::usage(e),
                e => CliError::failed(e),
            })?;
            return Ok(MessageOutput::Topic(producer));
        }
        let Some(path) = self.path() else { return Ok(MessageOutput::stdout()) };
        let key = if config.privacy.key.is_empty() { DEFAULT_KEY } else { &config.privacy.key };
        MessageOutput::file(path, key).map_err(CliError::failed)
    }
}

/// The settings with the rate that gives about `total` messages.
///
/// # Errors
/// When the settings are wrong.
pub fn with_total(settings: GeneratorSettings, total: u64) -> Result<GeneratorSettings, GenerateError> {
    // The expected number is proportional to the rate. A large rate makes rounding negligible.
    let probe = 1e9;
    let expected =
        Generator::new(GeneratorSettings { events_per_day: probe, ..settings.clone() })?.expected_total();
    Ok(GeneratorSettings { events_per_day: probe * total as f64 / (expected as f64).max(1.0), ..settings })
}

/// Writes the labels of what is injected.
///
/// # Errors
/// When the file can't be written.
pub fn write_labels(path: &Path, settings: &GeneratorSettings) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(&labels(settings)).map_err(CliError::failed)?;
    std::fs::write(path, text + "\n")
        .map_err(|e| CliError::failed(format!("can't write {}: {e}", path.display())))
}

/// The properties of connections; the others are for consumers.
fn connection(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const PREFIXES: [&str; 7] =
        ["security.", "sasl.", "ssl.", "enable.ssl.", "client.", "socket.", "broker."];
    let wanted = |k: &str| PREFIXES.iter().any(|p| k.starts_with(p));
    properties.iter().filter(|(k, _)| wanted(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn write(
    mut generator: Generator,
    mut output: MessageOutput,
    global: &Global,
) -> Result<GenerateSummary, OutputError> {
    let started = Instant::now();
    let bar = bar(generator.expected_total(), global);
    let (mut bytes, mut refused, mut n) = (0, 0, 0u64);
    let mut message = Vec::with_capacity(2_048);
    while let Some(about) = generator.next_into(&mut message) {
        match output.put(&message, &about)? {
            WriteOutcome::Written => bytes += message.len() as u64,
            WriteOutcome::Refused => refused += 1,
            WriteOutcome::Closed => break,
        }
        n += 1;
        if n.is_multiple_of(4_096) {
            bar.set_position(n);
        }
    }
    bar.set_message("waiting for the last messages");
    output.finish()?;
    bar.finish_and_clear();
    let malformed = generator.counts().malformed();
    Ok(GenerateSummary {
        events: n - refused,
        malformed,
        refused,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn bar(expected: u64, global: &Global) -> ProgressBar {
    let shown = !global.quiet && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(expected), target);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:24} {percent:>3} % {human_pos} events, {per_sec}, {eta} left {msg}",
    ) {
        bar.set_style(style);
    }
    bar
}

impl GenerateSummary {
    fn text(&self) -> String {
        let mut text = format!(
            "{} events, {} in {:.1} s",
            HumanCount(self.events),
            HumanBytes(self.bytes),
            self.seconds
        );
        if self.refused > 0 {
            text += &format!("; {} malformed messages are not in the archive", HumanCount(self.refused));
        } else if self.malformed > 0 {
            text += &format!(", {} of them malformed", HumanCount(self.malformed));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        generate: GenerateCommand,
    }

    fn parse(args: &[&str]) -> Result<GenerateCommand, clap::Error> {
        Line::try_parse_from([&["generate"], args].concat()).map(|l| l.generate)
    }

    #[test]
    fn a_total_is_met_within_what_chance_explains() {
        let g = parse(&["--events", "20000", "--days", "3", "--start", "2026-01-09"]).unwrap();
        let mut generator = Generator::new(g.settings().unwrap()).unwrap();
        assert!(generator.expected_total().abs_diff(20_000) <= 1);
        let (mut n, mut message) = (0u64, Vec::new());
        while generator.next_into(&mut message).is_some() {
            n += 1;
        }
        assert!(n.abs_diff(20_000) < 1_500, "{n}");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert!(parse(&["--kafka", "b:9092"]).is_err(), "no topic");
        assert!(parse(&["--kafka", "b:9092", "--topic", "t", "file"]).is_err());
        assert!(parse(&["--events", "1", "--events-per-day", "1"]).is_err());
        let wrong = parse(&["--incident", "prompt-shft:all:2026-01-12"]).unwrap_err().to_string();
        assert!(wrong.contains("the kinds are prompt-shift"), "{wrong}");
        let days = parse(&["--days", "0"]).unwrap().settings().unwrap_err().to_string();
        assert!(days.contains("days is 0"), "{days}");
        assert!(parse(&["-"]).unwrap().path().is_none(), "standard output");
    }

    #[test]
    fn the_help_lists_every_kind_and_dimension() {
        use clap::CommandFactory;
        let help = Line::command().render_help().to_string();
        for name in IncidentKind::NAMES.iter().chain(&Dimension::NAMES) {
            assert!(help.contains(name), "{name}: {help}");
        }
        assert!(help.contains("style-shift          share=0.4"), "{help}");
    }

    #[test]
    fn incidents_that_touch_no_event_are_refused() {
        let said = |incident: &str| {
            let args = ["--days", "2", "--start", "2026-01-05", "--incident", incident];
            Generator::new(parse(&args).unwrap().settings().unwrap()).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(said("cost-rise:all:2026-01-06"), Ok(()));
        assert_eq!(said("cost-rise:all:2026-01-01..2026-01-06"), Ok(()), "it has begun before");
        for (incident, says) in [
            (
                "cost-rise:all:2026-01-07",
                "is outside the traffic, which lasts from 2026-01-05T00:00:00Z to 2026-01-07T00:00:00Z",
            ),
            ("cost-rise:all:2025-01-06..2025-01-07", "outside the traffic"),
            ("cost-rise:all:2026-01-01..2026-01-05", "outside the traffic"),
            ("cost-rise:tenant=brich:2026-01-06", "the values are aurora, birch"),
            ("cost-rise:region=eu-west,gpu_type=h100:2026-01-06", "never occur together"),
        ] {
            let error = said(incident).unwrap_err();
            assert!(error.contains(says), "{incident}: {error}");
        }
        let late =
            parse(&["--events", "100", "--days", "2", "--incident", "cost-rise:all:2027-01-01"]).unwrap();
        assert!(late.settings().is_err(), "with a total too");
    }

    #[test]
    fn only_what_reaches_brokers_is_taken_from_the_consumers_properties() {
        let all = [("sasl.mechanism", "PLAIN"), ("fetch.max.bytes", "1"), ("ssl.ca.location", "/ca")];
        let all = all.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let kept: Vec<String> = connection(&all).into_keys().collect();
        assert_eq!(kept, ["sasl.mechanism", "ssl.ca.location"]);
    }

    #[test]
    fn the_summary_says_what_is_missing() {
        let w = GenerateSummary { events: 1_200, malformed: 30, refused: 30, bytes: 2_048, seconds: 0.25 };
        assert_eq!(w.text(), "1,200 events, 2.00 KiB in 0.2 s; 30 malformed messages are not in the archive");
    }
}
