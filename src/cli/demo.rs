//! `driftglass demo`: the whole job with nothing installed, and an account of what it found.

mod flow;
mod found;
mod images;
mod report;
mod screen;
mod traffic;
mod view;

pub use flow::FlowError;
pub use found::{DemoFindings, Detection, IncidentFinding, IncidentLabel, UnexplainedAlert};

use super::common::{self, runtime, stop_signal, storage, tell};
use super::generate::{with_total, write_labels};
use super::run::execute;
use super::{CliError, Global, show};
use crate::config::{self, Config, load};
use crate::engine::{Finish, Job, JobKind, Progress, Summary};
use crate::generate::{Generator, GeneratorSettings as Traffic, labels};
use crate::source::{KafkaOptions, KafkaSource, Positions, Source, TimeRange};
use chrono::{DateTime, Duration, Utc};
use clap::Args;
use flow::{EndingSource, Flow};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::runtime::Runtime;
use traffic::{Broker, TOPIC};
use view::{LiveView, Viewed};

/// Arguments.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where configuration, labels and tables go; an earlier demo's are overwritten
    #[arg(long, default_value = "./driftglass-demo")]
    dir: PathBuf,
    /// About how many events in all, over all days
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    events: u64,
    /// Simulated days
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=365))]
    days: u32,
    /// Seeds the traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a demo is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoSettings {
    /// Where configuration, labels and tables go.
    pub dir: PathBuf,
    /// About so many events.
    pub events: u64,
    /// Simulated days; at least 10, so that the incidents have a baseline before them.
    pub days: u32,
    /// Seeds the traffic.
    pub seed: u64,
    /// No progress.
    pub quiet: bool,
}

/// What a demo did.
#[derive(Debug, Clone, Serialize)]
pub struct DemoOutcome {
    /// Messages that the broker acknowledged.
    pub produced: u64,
    /// Messages that the engine took in; the same number.
    pub consumed: u64,
    /// Wall time, broker and first assignment included.
    pub seconds: f64,
    /// Of these, the time until the first incident was shown as found; none where none was found.
    pub first_found_seconds: Option<f64>,
    /// What was injected and what was found of it.
    pub found: DemoFindings,
    /// The job's own counters.
    pub summary: Summary,
}

impl Demo {
    /// Plays the demo and tells what it found.
    ///
    /// # Errors
    /// When folder or broker can't be used, or the stream was not whole.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let runtime = runtime()?;
        let settings = DemoSettings {
            dir: self.dir,
            events: self.events,
            days: self.days,
            seed: self.seed,
            quiet: global.quiet,
        };
        if !global.quiet {
            tell(format_args!(
                "driftglass demo: {} days of a made-up image service.\nFour incidents are hidden in its traffic. They go through an\n\
                 in-process Kafka broker into the streaming engine.\nOutput: {}",
                settings.days,
                settings.dir.display()
            ));
        }
        let played = play(&settings, &runtime, stop_signal(&runtime))?;
        let mut out = std::io::stdout().lock();
        let text = if global.json {
            serde_json::to_string(&played).map_err(CliError::failed)? + "\n"
        } else {
            report::text(&played, &settings.dir)
        };
        out.write_all(text.as_bytes()).map_err(CliError::failed)
    }
}

/// Plays a demo: starts over in its folder, produces, consumes, evaluates, and sorts the alerts.
///
/// # Errors
/// When folder or broker can't be used, when it was stopped, or when what was consumed is not what was produced.
pub fn play(
    settings: &DemoSettings,
    runtime: &Runtime,
    stop: Arc<AtomicBool>,
) -> Result<DemoOutcome, CliError> {
    let began = Instant::now();
    let traffic = traffic(settings)?;
    let config = prepare(&settings.dir, &traffic, settings.events)?;
    let generator = Generator::new(traffic.clone()).map_err(CliError::usage)?;
    let expected = generator.expected_total();
    let storage = storage(&config, runtime)?;
    if let Some(embedding) = &config.embedding {
        // Styles are kept in an output, and the replay that is suggested at the end has one of its own.
        let replay = Config { output: replay_output(&config, &settings.dir)?, ..config.clone() };
        let outputs = [storage.clone(), common::storage(&replay, runtime)?];
        images::prepare(&settings.dir, embedding, &outputs)?;
    }
    // The name is given here, so that the file serves any job.
    let mut named = config;
    named.engine.job = Some("demo".into());
    let max_message = usize::try_from(named.input.max_message.0).unwrap_or(usize::MAX);
    let job = Arc::new(Job::open(named, JobKind::Run, storage.clone(), true)?);

    // Declared before the client that reads from it, and so dropped after it.
    let broker = Broker::start()?;
    let flow = Arc::new(Flow::new(traffic::PARTITIONS));
    let producing = traffic::produce(&broker.brokers(), generator, Arc::clone(&flow))?;
    let mut options =
        KafkaOptions { max_message, ..KafkaOptions::new(&broker.brokers(), TOPIC, "driftglass") };
    // Little is in flight at a time, so that it must be fetched at once.
    for (key, value) in
        [("fetch.wait.max.ms", "10"), ("fetch.min.bytes", "1"), ("fetch.queue.backoff.ms", "5")]
    {
        options.properties.insert(key.to_owned(), value.to_owned());
    }
    let progress = Arc::new(Progress::default());
    let (books, counters) = (Arc::clone(&flow), Arc::clone(&progress));
    let connect = |positions: Arc<dyn Positions>| -> Result<Box<dyn Source>, CliError> {
        let kafka = KafkaSource::connect(options, positions).map_err(CliError::failed)?;
        Ok(Box::new(EndingSource::new(kafka, books, expected, counters)))
    };
    let injected = IncidentLabel::all(&labels(&traffic)).map_err(CliError::failed)?;
    let event_time =
        (traffic.start.timestamp_micros(), (traffic.start + traffic.duration).timestamp_micros());
    let viewed = Viewed {
        labels: injected.clone(),
        event_time,
        progress: Arc::clone(&progress),
        storage: storage.clone(),
        started: began,
    };
    let view = LiveView::start(viewed, settings.quiet);
    // The demo has a view of its own.
    let global = Global { verbose: 0, json: false, quiet: true };
    let ran = execute(&job, TOPIC, TimeRange::ALL, stop, progress, &global, connect);
    let first_found_seconds = view.finish();
    // The reason of the stream itself says more than the engine's error that came of it.
    if let Some(e) = flow.failure() {
        let _ = producing.join();
        return Err(CliError::failed(e));
    }
    let stopped = || CliError::No("the demo was stopped before its end; start it again".into());
    if !matches!(&ran, Ok(s) if s.finish == Finish::InputEnded) {
        flow.fail(FlowError::Revoked);
        let _ = producing.join();
        return Err(ran.err().unwrap_or_else(stopped));
    }
    let _ = producing.join();
    let summary = ran?;
    let (produced, _) = flow.counts();
    let consumed = summary.counts.messages;
    if consumed != produced || summary.counts.gaps > 0 {
        return Err(CliError::failed(FlowError::Unequal { produced, consumed }));
    }
    let found = found::sort(injected, &show::alerts(&storage)?);
    let seconds = began.elapsed().as_secs_f64();
    Ok(DemoOutcome { produced, consumed, seconds, first_found_seconds, found, summary })
}

/// A Thursday: a weekend comes before the incidents, so that windows of a weekend can be judged.
fn start() -> DateTime<Utc> {
    // 2026-01-01T00:00:00Z.
    DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default()
}

/// The demo's traffic.
fn traffic(settings: &DemoSettings) -> Result<Traffic, CliError> {
    if settings.days < 10 {
        return Err(CliError::usage(format!(
            "days is {}: the demo needs 10 at least, since its incidents come after a week of baseline",
            settings.days
        )));
    }
    let mut traffic = Traffic {
        seed: settings.seed,
        start: start(),
        duration: Duration::days(settings.days.into()),
        ..Traffic::default()
    };
    traffic.incidents = traffic::incidents(&traffic)?;
    traffic.image_uris = true;
    with_total(traffic, settings.events).map_err(CliError::usage)
}

/// Writes configuration, labels and the script of the replay, and reads the configuration back.
fn prepare(dir: &Path, traffic: &Traffic, events: u64) -> Result<Config, CliError> {
    std::fs::create_dir_all(dir)
        .map_err(|e| CliError::failed(format!("can't make folder {}: {e}", dir.display())))?;
    let file = dir.join("driftglass.toml");
    if std::fs::read_to_string(&file).is_ok_and(|t| !t.starts_with(WRITTEN)) {
        return Err(CliError::usage(format!(
            "{} was not written by the demo, which would overwrite it: choose another --dir",
            file.display()
        )));
    }
    write_labels(&dir.join("incidents.json"), traffic)?;
    let absolute = std::path::absolute(dir.join("out")).map_err(CliError::failed)?;
    let Some(out) = absolute.to_str() else {
        return Err(CliError::usage(format!("{} is not a UTF-8 path; choose another --dir", dir.display())));
    };
    let text = configuration(out) + &images::section(dir)?;
    std::fs::write(&file, text)
        .map_err(|e| CliError::failed(format!("can't write {}: {e}", file.display())))?;
    let script = report::script_path(dir);
    std::fs::write(&script, report::replay_script(&full(dir)?, &arguments(traffic, events)))
        .map_err(|e| CliError::failed(format!("can't write {}: {e}", script.display())))?;
    load(&file).map_err(CliError::usage)
}

/// Where the replay that is suggested writes.
fn replay_output(config: &Config, dir: &Path) -> Result<config::Output, CliError> {
    let path = report::replayed(&full(dir)?);
    let dir = path.to_string_lossy().into_owned();
    Ok(config::Output { dir, ..config.output.clone() })
}

/// A folder's absolute path.
fn full(dir: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(dir).map_err(CliError::failed)
}

/// How the configuration of a demo begins.
const WRITTEN: &str = "# Written by driftglass demo.";

/// The demo's configuration: defaults, but for what makes ten days of traffic cheap to evaluate.
fn configuration(out: &str) -> String {
    format!(
        r#"{WRITTEN} `driftglass check --print-default` shows every key with its default.

[input]
# The demo's own broker has ended with it. Name yours to go on:
# kafka = {{ brokers = "localhost:9092", topic = "{TOPIC}", group = "driftglass" }}

[output]
dir = {out}

[privacy]
# Known to everybody, since the demo's events are made up; take a secret for real ones: "${{DRIFTGLASS_KEY}}"
key = "driftglass demo"

# The default has model_version with tenant and with region too.
[[segments]]
by = []
[[segments]]
by = ["tenant"]
[[segments]]
by = ["region"]
[[segments]]
by = ["model_version"]

[windows]
pane = "30m"                  # the default is 1m: much finer than so little traffic a minute needs
# The default has 30m, 6h and 24h. A day's window is moved less often here: that is most of the work.
rolling = [{{ length = "1h", slide = "30m" }}, {{ length = "24h", slide = "4h" }}]

[baselines]
rolling_days = [7]            # the default has 7 and 28

[engine]
commit_every = "2s"           # the default is 1m; here a simulated day takes a few seconds
"#,
        out = toml::Value::String(out.to_owned()),
    )
}

/// The arguments with which `driftglass generate` makes the same events.
fn arguments(traffic: &Traffic, events: u64) -> String {
    let (start, days, seed) = (traffic.start.format("%Y-%m-%d"), traffic.duration.num_days(), traffic.seed);
    let mut text = format!("--images --events {events} --start {start} --days {days} --seed {seed}");
    for incident in &traffic.incidents {
        text += &format!(" --incident {}", report::quote(&incident.to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn settings() -> DemoSettings {
        DemoSettings { dir: "d".into(), events: 50_000, days: 10, seed: 3, quiet: true }
    }

    #[test]
    fn the_written_configuration_is_one_whatever_the_folder_is_called() {
        for out in ["/tmp/out", "/tmp/it's \"quoted\"", "/tmp/back\\slash"] {
            let config = parse(&configuration(out), "driftglass.toml", |_| None).unwrap();
            assert_eq!(config.output.dir, out);
            assert_eq!(config.baselines.rolling_days, [7]);
            assert!(!config.privacy.key.is_empty());
        }
    }

    #[test]
    fn a_configuration_that_is_not_a_demo_s_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let made = traffic(&settings()).unwrap();
        prepare(dir.path(), &made, 50_000).unwrap();
        prepare(dir.path(), &made, 50_000).unwrap();
        let file = dir.path().join("driftglass.toml");
        std::fs::write(&file, "[output]\ndir = \"mine\"\n").unwrap();
        assert!(
            prepare(dir.path(), &made, 50_000)
                .unwrap_err()
                .to_string()
                .contains("was not written by the demo")
        );
        assert!(std::fs::read_to_string(&file).unwrap().contains("mine"));
    }

    #[test]
    fn the_told_arguments_make_the_same_traffic() {
        let made = traffic(&settings()).unwrap();
        let text = arguments(&made, 50_000);
        let again = Traffic {
            seed: 3,
            start: "2026-01-01T00:00:00Z".parse().unwrap(),
            duration: Duration::days(10),
            image_uris: text.contains("--images"),
            incidents: text
                .split(" --incident ")
                .skip(1)
                .map(|i| i.trim_matches('\'').parse().unwrap())
                .collect(),
            ..Traffic::default()
        };
        assert_eq!(with_total(again, 50_000).unwrap(), made);
        assert!(
            text.starts_with(
                "--images --events 50000 --start 2026-01-01 --days 10 --seed 3 --incident prompt-shift:tenant=birch:"
            )
        );
    }

    #[test]
    fn too_few_days_are_refused() {
        let e = traffic(&DemoSettings { days: 9, ..settings() }).unwrap_err().to_string();
        assert!(e.contains("days is 9"), "{e}");
    }
}
