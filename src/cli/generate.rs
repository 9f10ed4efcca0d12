//! `driftglass generate`: reference events, seeded, with chosen incidents.

mod output;
mod producer;

pub use output::{OutputError, session_key};
pub use producer::{ProduceError, Producer};

use super::common::{tell, time};
use super::{CliError, ConfigFile, Global};
use crate::enrich::DEFAULT_KEY;
use crate::generate::{Dimension, GenerateError, Generator, Incident, IncidentKind, Settings, labels};
use chrono::{DateTime, Duration};
use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use output::{Output, Put};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn after_help() -> String {
    format!(
        "Incidents: KIND:SEGMENT:START[..END][:KEY=VALUE,…], for example
  prompt-shift:tenant=birch:2026-01-12T06:00:00Z..2026-01-14:share=0.6
  aesthetic-drop:model_version=sdxl-1.1:2026-01-12
  latency-and-errors:region=ap-south:2026-01-13..2026-01-14:factor=2,error_rate=0.1
SEGMENT is all, or DIMENSION=VALUE (several joined by commas) with a dimension of {}.
Kinds, with their parameters and what these are when left out:
{}",
        Dimension::NAMES.join(", "),
        IncidentKind::help()
    )
}

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub struct Generate {
    /// Where to: JSON lines (.gz and .zst compressed) or a redacted archive (.parquet); absent or -: JSON lines to standard output
    #[arg(value_name = "FILE", conflicts_with = "kafka")]
    file: Option<PathBuf>,
    /// Produce to this cluster instead, keyed by session
    #[arg(long, value_name = "BROKERS", requires = "topic")]
    kafka: Option<String>,
    /// The topic, which must exist
    #[arg(long, requires = "kafka")]
    topic: Option<String>,
    /// About so many messages in all
    #[arg(long, value_name = "N", conflicts_with = "events_per_day")]
    events: Option<u64>,
    /// Messages a day, on the average of a week
    #[arg(long, value_name = "N", default_value_t = 100_000.0)]
    events_per_day: f64,
    /// How many days of traffic
    #[arg(long, default_value_t = 14.0)]
    days: f64,
    /// When it begins (RFC 3339 or a date)
    #[arg(long, value_parser = time, default_value = "2026-01-05")]
    start: i64,
    /// Seeds every draw: the same arguments give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many tenants
    #[arg(long, default_value_t = 6)]
    tenants: usize,
    /// Something that goes wrong; may be given several times
    #[arg(long, value_name = "TEXT")]
    incident: Vec<Incident>,
    /// Write what was injected here, as JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Share of malformed messages, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    bad_share: f64,
    /// Share of users who have opted out, 0 to 1
    #[arg(long, default_value_t = 0.01)]
    opt_out_share: f64,
    /// Give each request an ingest and a deliver event too
    #[arg(long)]
    stages: bool,
    /// Name an image in each event (artifacts.image_uri), of the kind that the demo draws
    #[arg(long)]
    images: bool,
    /// The configuration: privacy.key for an archive, kafka.properties (security, sasl, ssl, client, socket) for a topic
    #[arg(short, long, value_name = "FILE", env = "DRIFTGLASS_CONFIG")]
    config: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Written {
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

impl Generate {
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

    fn settings(&self) -> Result<Settings, GenerateError> {
        let out_of_range =
            |expected| GenerateError::Setting { setting: "days", value: self.days.to_string(), expected };
        if !(self.days > 0.0 && self.days <= 36_500.0) {
            return Err(out_of_range("a positive number of at most 36,500"));
        }
        let settings = Settings {
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
            ..Settings::default()
        };
        match self.events {
            Some(total) => with_total(settings, total),
            None => Ok(settings),
        }
    }

    fn open(&self) -> Result<Output, CliError> {
        let config = ConfigFile { config: self.config.clone(), output: None }.read()?;
        if let (Some(brokers), Some(topic)) = (&self.kafka, &self.topic) {
            let properties = connection(&config.kafka.properties);
            let producer = Producer::connect(brokers, topic, &properties).map_err(|e| match e {
                ProduceError::Property(_) => CliError::usage(e),
                e => CliError::failed(e),
            })?;
            return Ok(Output::Topic(producer));
        }
        let Some(path) = self.path() else { return Ok(Output::stdout()) };
        let key = if config.privacy.key.is_empty() { DEFAULT_KEY } else { &config.privacy.key };
        Output::file(path, key).map_err(CliError::failed)
    }
}

/// These settings with the rate that makes about `total` messages of them.
///
/// # Errors
/// When the settings are wrong.
pub fn with_total(settings: Settings, total: u64) -> Result<Settings, GenerateError> {
    // What is expected grows with the rate; a large one, so that rounding to whole messages does not matter.
    let probe = 1e9;
    let expected = Generator::new(Settings { events_per_day: probe, ..settings.clone() })?.expected_total();
    Ok(Settings { events_per_day: probe * total as f64 / (expected as f64).max(1.0), ..settings })
}

/// Writes the labels of what is injected.
///
/// # Errors
/// When the file can't be written.
pub fn write_labels(path: &Path, settings: &Settings) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(&labels(settings)).map_err(CliError::failed)?;
    std::fs::write(path, text + "\n")
        .map_err(|e| CliError::failed(format!("can't write {}: {e}", path.display())))
}

/// The properties that say how brokers are reached; the rest are a consumer's.
fn connection(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const PREFIXES: [&str; 7] =
        ["security.", "sasl.", "ssl.", "enable.ssl.", "client.", "socket.", "broker."];
    let wanted = |k: &str| PREFIXES.iter().any(|p| k.starts_with(p));
    properties.iter().filter(|(k, _)| wanted(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn write(mut generator: Generator, mut output: Output, global: &Global) -> Result<Written, OutputError> {
    let began = Instant::now();
    let bar = bar(generator.expected_total(), global);
    let (mut bytes, mut refused, mut n) = (0, 0, 0u64);
    let mut message = Vec::with_capacity(2_048);
    while let Some(about) = generator.next_into(&mut message) {
        match output.put(&message, &about)? {
            Put::Written => bytes += message.len() as u64,
            Put::Refused => refused += 1,
            Put::Closed => break,
        }
        n += 1;
        if n.is_multiple_of(4_096) {
            bar.set_position(n);
        }
    }
    bar.set_message("waiting until all is written");
    output.finish()?;
    bar.finish_and_clear();
    let malformed = generator.counts().malformed();
    Ok(Written { events: n - refused, malformed, refused, bytes, seconds: began.elapsed().as_secs_f64() })
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

impl Written {
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
        generate: Generate,
    }

    fn parse(args: &[&str]) -> Result<Generate, clap::Error> {
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
                "lies outside the traffic, which is from 2026-01-05T00:00:00Z to 2026-01-07T00:00:00Z",
            ),
            ("cost-rise:all:2025-01-06..2025-01-07", "outside the traffic"),
            ("cost-rise:all:2026-01-01..2026-01-05", "outside the traffic"),
            ("cost-rise:tenant=brich:2026-01-06", "the values are aurora, birch"),
            ("cost-rise:region=eu-west,gpu_type=h100:2026-01-06", "never come together"),
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
        let w = Written { events: 1_200, malformed: 30, refused: 30, bytes: 2_048, seconds: 0.25 };
        assert_eq!(w.text(), "1,200 events, 2.00 KiB in 0.2 s; 30 malformed messages are not in the archive");
    }
}
