//! `driftglass check`: checks a configuration and reaches every system that it names.

use super::common::{runtime, storage, tell};
use super::{CliError, ConfigFile, Global, check_events};
use crate::alert::{DEFAULT_RULES_TOML, configured_sinks};
use crate::baseline::BaselineName;
use crate::config::units::Span;
use crate::config::{Config, DEFAULT_TOML, Embedding, RuleEntry};
use crate::embed::{Embedder, vector_plan};
use crate::engine::{compile_rules, pins};
use crate::source::kafka::{TopicProbe, probe};
use crate::store::panes::TableNames;
use crate::store::{CreateOutcome, Storage, StorageError};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Time limit for all attempts on the output.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for the brokers.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit for the webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments.
#[derive(Debug, Args)]
pub struct CheckCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the default configuration with comments, and do nothing else
    #[arg(long)]
    print_default: bool,
    /// Print the default alert rules, and do nothing else
    #[arg(long)]
    print_rules: bool,
    /// Check the messages of a JSONL file (also .gz, .zst; - is standard input) instead of systems;
    /// exits 1 if any would be rejected
    #[arg(long, value_name = "FILE")]
    events: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckStatus {
    Ok,
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CheckResult {
    standing: CheckStatus,
    /// "output", "kafka".
    what: &'static str,
    /// What was found, without credentials.
    text: String,
}

impl CheckResult {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { standing: CheckStatus::Ok, what, text: text.into() }
    }

    fn warn(what: &'static str, text: impl Into<String>) -> Self {
        Self { standing: CheckStatus::Warn, what, text: text.into() }
    }

    fn fail(what: &'static str, text: impl Into<String>) -> Self {
        Self { standing: CheckStatus::Fail, what, text: text.into().replace('\n', " ") }
    }

    fn word(&self) -> &'static str {
        match self.standing {
            CheckStatus::Ok => "ok",
            CheckStatus::Warn => "warn",
            CheckStatus::Fail => "FAIL",
        }
    }
}

/// Prints results as they come, or collects them for one JSON array.
struct CheckReport {
    json: bool,
    all: Vec<CheckResult>,
}

impl CheckReport {
    fn add(&mut self, f: CheckResult) -> Result<(), CliError> {
        if !self.json {
            writeln!(std::io::stdout().lock(), "{:<4} {:<13} {}", f.word(), f.what, f.text)
                .map_err(CliError::failed)?;
        }
        self.all.push(f);
        Ok(())
    }

    /// Ends the report with the command's exit status.
    fn end(self) -> Result<(), CliError> {
        let failed: Vec<&str> =
            self.all.iter().filter(|f| f.standing == CheckStatus::Fail).map(|f| f.what).collect();
        if self.json {
            let rows: Vec<_> = self
                .all
                .iter()
                .map(|f| json!({ "standing": f.word().to_lowercase(), "check": f.what, "text": f.text }))
                .collect();
            writeln!(std::io::stdout().lock(), "{}", json!({ "ok": failed.is_empty(), "checks": rows }))
                .map_err(CliError::failed)?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(CliError::No(format!(
            "{} of {} checks failed: {}",
            failed.len(),
            self.all.len(),
            failed.join(", ")
        )))
    }
}

impl CheckCommand {
    /// Runs the checks and prints the results.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the configuration is wrong, [`CliError::No`] when something that it
    /// names can't be reached.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        if self.print_default || self.print_rules {
            let text = if self.print_default { DEFAULT_TOML } else { DEFAULT_RULES_TOML };
            return std::io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::failed);
        }
        let config = self.config.read()?;
        let features = config.feature_set().map_err(CliError::usage)?;
        let groupings = config.groupings().map_err(CliError::usage)?;
        let names = TableNames::new(Arc::new(groupings), &features);
        // Reading the file has already compiled its own rules.
        let rules = match config.rules.len() {
            0 => compile_rules(&config, &names, None)?.all().len(),
            some => some,
        };
        configured_sinks(&config.alerts).map_err(CliError::usage)?;
        let runtime = runtime()?;
        if let Some(events) = &self.events {
            return check_events::run(events, &config, runtime.handle(), global);
        }
        let mut report = CheckReport { json: global.json, all: Vec::new() };
        let windows: Vec<String> =
            config.windows.rolling.iter().map(|r| Span(r.length()).to_string()).collect();
        report.add(CheckResult::ok(
            "configuration",
            format!(
                "{}: {} features, {} groupings, windows {}, {} {}",
                self.config.config.as_deref().map_or_else(|| "defaults".into(), Path::to_string_lossy),
                features.len(),
                names.groupings.all.len(),
                windows.join(" "),
                rules,
                if config.rules.is_empty() { "default rules" } else { "rules" },
            ),
        ))?;
        if config.privacy.key.is_empty() {
            report.add(CheckResult::warn(
                "privacy.key",
                "is not set: session and user ids are hashed with a built-in key that is public, so anybody can find out whether an id that they know is in the output; set key = \"${DRIFTGLASS_KEY}\" under [privacy], and that variable to a secret that stays the same",
            ))?;
        }
        let (found, pins) = output(&config, &runtime);
        report.add(found)?;
        if let Some(finding) = pinned(&config, &names, pins.as_deref()) {
            report.add(finding)?;
        }
        match &config.input.kafka {
            None => report.add(CheckResult::warn(
                "kafka",
                "input.kafka is not set: replay and archive read files, but run needs a topic",
            ))?,
            Some(k) => {
                if !global.quiet {
                    let (brokers, most) = (&k.brokers, KAFKA_TIMEOUT.as_secs());
                    tell(format_args!("asking the broker {brokers} (at most {most} s)"));
                }
                let found = probe(&k.brokers, &k.topic, &k.group, &config.kafka.properties, KAFKA_TIMEOUT);
                report.add(match found {
                    Ok(p) => kafka(&k.brokers, &k.topic, &p),
                    Err(e) => CheckResult::fail("kafka", e.to_string()),
                })?;
            }
        }
        if let Some(section) = &config.embedding {
            report.add(images(section, &config, &runtime))?;
        }
        if let Some(address) = &config.serve.listen {
            report.add(match std::net::TcpListener::bind(address) {
                Ok(_) => CheckResult::ok("serve.listen", format!("{address} is free")),
                Err(e) => CheckResult::fail("serve.listen", format!("{address}: {e}; use a free address")),
            })?;
        }
        if let Some(path) = config.alerts.jsonl.as_deref().filter(|p| *p != "-") {
            report.add(match appendable(Path::new(path)) {
                Ok(()) => CheckResult::ok("alerts.jsonl", path),
                Err(e) => CheckResult::fail(
                    "alerts.jsonl",
                    format!("can't append to {path}: {e}; create its folder, or name another file"),
                ),
            })?;
        }
        if let Some(url) = &config.alerts.webhook {
            report.add(webhook(url, &runtime))?;
        }
        runtime.shutdown_background();
        report.end()
    }
}

fn kafka(brokers: &str, topic: &str, p: &TopicProbe) -> CheckResult {
    let mut text = format!(
        "{brokers}: topic {topic} has {} partitions, about {} messages",
        p.partitions,
        indicatif::HumanCount(p.messages)
    );
    if let Some(refused) = &p.group_refused {
        text += &format!(
            "; the group can't be used ({refused}): grant READ on it, or name another input.kafka.group"
        );
        return CheckResult::fail("kafka", text);
    }
    CheckResult::ok("kafka", text)
}

/// Loads what images need: model, reference, styles, head.
fn images(section: &Embedding, config: &Config, runtime: &Runtime) -> CheckResult {
    let folder = local(&config.output.dir).filter(|f| !f.exists());
    let tried = storage(config, runtime).and_then(|storage| {
        let plan = vector_plan(section, &storage).map_err(CliError::from)?;
        let embedder = Embedder::new(section, &plan, &storage).map_err(CliError::from)?;
        let runs = embedder.runs().map_or_else(
            || "no model: vectors come with the events or from files".to_owned(),
            |(provider, model)| format!("model {model} runs on {provider}"),
        );
        Ok(format!("{runs}; {} components, {} named styles", plan.dimension, plan.styles.len()))
    });
    if let Some(folder) = folder {
        // Removes an empty folder only: the check must leave nothing behind.
        let _ = std::fs::remove_dir(folder);
    }
    match tried {
        Ok(text) => CheckResult::ok("embedding", text),
        Err(e) => CheckResult::fail("embedding", e.to_string()),
    }
}

/// Whether the pinned baselines that rules name exist.
fn pinned(config: &Config, names: &TableNames, pins: Option<&[String]>) -> Option<CheckResult> {
    let is_pin = |text: &String| matches!(text.parse(), Ok(BaselineName::Pinned(_)));
    let on_pins = |r: &RuleEntry| r.baseline.0.iter().any(is_pin);
    if !config.rules.iter().any(on_pins) {
        return None;
    }
    let Some(pins) = pins else {
        return Some(CheckResult::warn("rules", "name pinned baselines, but the output can't be read"));
    };
    compile_rules(config, names, Some(pins)).err().map(|e| CheckResult::fail("rules", e.to_string()))
}

/// Tries everything that a job does on its output. Also returns the names of the pinned baselines.
fn output(config: &Config, runtime: &Runtime) -> (CheckResult, Option<Vec<String>>) {
    let (dir, handle) = (config.output.dir.clone(), runtime.handle().clone());
    let folder = local(&dir);
    let is_new = folder.as_ref().is_some_and(|f| !f.exists());
    let (to, from) = mpsc::channel();
    let tried = dir.clone();
    // On its own thread: the client retries an unresponsive store for minutes.
    let spawned = std::thread::Builder::new().name("output".into()).spawn(move || {
        let opened = Storage::open(&tried, handle).map_err(|e| e.to_string());
        let _ =
            to.send(opened.and_then(|s| Ok((try_output(&s)?, pins::names(&s).map_err(|e| e.to_string())?))));
    });
    if let Err(e) = spawned {
        return (CheckResult::fail("output", format!("{dir}: {e}")), None);
    }
    let answer = from.recv_timeout(OUTPUT_TIMEOUT);
    if let Some(folder) = folder {
        // Removes empty folders only: the check must leave nothing behind.
        let _ = std::fs::remove_dir(folder.join(PROBES));
        if is_new {
            let _ = std::fs::remove_dir(folder);
        }
    }
    let failed = match answer {
        Ok(Ok((text, pins))) => return (CheckResult::ok("output", text), Some(pins)),
        Ok(Err(e)) => format!(
            "{dir}: {e}; check output.dir, its permissions, and the store's credentials in the environment"
        ),
        Err(_) => format!(
            "{dir}: no answer within {} s; check the address and region of the store, and the network",
            OUTPUT_TIMEOUT.as_secs()
        ),
    };
    (CheckResult::fail("output", failed), None)
}

fn local(dir: &str) -> Option<PathBuf> {
    match dir.split_once("://") {
        None => Some(dir.into()),
        Some(("file", path)) => Some(path.into()),
        Some(_) => None,
    }
}

/// The folder of probe files.
const PROBES: &str = "_check";

/// Creates, creates again, reads, lists, renames and deletes a probe file.
fn try_output(s: &Storage) -> Result<String, String> {
    let name = format!("{PROBES}/{:016x}", rand::random::<u64>());
    let moved = format!("{name}-moved");
    let message = |e: StorageError| e.to_string();
    let steps = || -> Result<(), String> {
        if s.create(&name, b"probe".to_vec()).map_err(message)? != CreateOutcome::Created {
            return Err("the store says that a new file already exists".into());
        }
        if s.create(&name, b"other".to_vec()).map_err(message)? != CreateOutcome::Exists {
            return Err(
                "a file could be created twice: this store has no conditional writes, and commits need them"
                    .into(),
            );
        }
        if s.get(&name).map_err(message)?.as_deref() != Some(b"probe") {
            return Err("a file read back differs from what was written".into());
        }
        if !s.list(PROBES).map_err(message)?.contains(&name) {
            return Err("a file that was written is not listed".into());
        }
        s.publish(&name, &moved).map_err(message)?;
        if s.get(&moved).map_err(message)?.is_none() {
            return Err("a file that was renamed is gone".into());
        }
        Ok(())
    };
    let done = steps();
    let deleted = [&name, &moved].into_iter().try_for_each(|f| s.delete(f).map_err(message));
    done.and(deleted)?;
    let owner = s.get("_job.json").map_err(message)?;
    let owner = owner.and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    Ok(match owner.as_ref().and_then(|o| o["job"].as_str()) {
        Some(job) => format!("{} (of the job {job:?})", s.url()),
        None => s.url().to_owned(),
    })
}

/// Whether a file can be appended to. Leaves no file behind.
pub(super) fn appendable(path: &Path) -> std::io::Result<()> {
    let there = path.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    if there { Ok(()) } else { std::fs::remove_file(path) }
}

/// Sends a HEAD request to the webhook's host; sends no alert.
fn webhook(url: &str, runtime: &Runtime) -> CheckResult {
    use reqwest::{Client, redirect::Policy};
    let what = "webhook";
    let Ok(parsed) = url::Url::parse(url) else {
        return CheckResult::fail(what, "alerts.webhook is not a URL");
    };
    // The rest of a webhook's URL is often its password.
    let port = parsed.port().map_or_else(String::new, |p| format!(":{p}"));
    let name = format!("{}://{}{port}", parsed.scheme(), parsed.host_str().unwrap_or_default());
    let answer = Client::builder()
        .timeout(WEBHOOK_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("driftglass/", env!("CARGO_PKG_VERSION")))
        .build()
        // Built within the runtime, since a request starts its timer at once.
        .and_then(|c| runtime.block_on(async { c.head(parsed).send().await }));
    match answer {
        Ok(r) if r.status().is_redirection() => CheckResult::fail(
            what,
            format!(
                "{name} redirects ({}), and alerts don't follow redirects; set the final URL",
                r.status().as_u16()
            ),
        ),
        Ok(r) => CheckResult::ok(
            what,
            format!("{name} (answered {} to HEAD; no alert was sent)", r.status().as_u16()),
        ),
        Err(e) => {
            let e = e.without_url();
            let mut text = e.to_string();
            let mut cause = std::error::Error::source(&e);
            while let Some(c) = cause {
                text = format!("{text}: {c}");
                cause = c.source();
            }
            CheckResult::fail(
                what,
                format!("{name}: {text}; check alerts.webhook, DNS, proxy and certificates"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_works_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let mut config = Config::default();
        let there = dir.path().join("out");
        config.output.dir = there.display().to_string();
        assert_eq!(output(&config, &rt).0.standing, CheckStatus::Ok);
        assert!(!there.exists(), "it was not there before");
        std::fs::write(&there, b"a file").unwrap();
        let (finding, _) = output(&config, &rt);
        assert_eq!(finding.standing, CheckStatus::Fail);
        assert!(finding.text.contains("output.dir"), "{}", finding.text);
    }

    #[test]
    fn a_webhook_is_reached_or_not_and_its_secret_is_not_told() {
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/secret", server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            use std::io::Read;
            let (mut c, _) = server.accept().unwrap();
            let n = c.read(&mut [0; 4096]).unwrap();
            c.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            n
        });
        let reached = webhook(&url, &rt);
        assert!(answering.join().unwrap() > 0);
        assert_eq!(reached.standing, CheckStatus::Ok, "{}", reached.text);
        let gone = webhook(&url, &rt);
        assert_eq!(gone.standing, CheckStatus::Fail, "nobody listens any more");
        assert!(!reached.text.contains("secret") && !gone.text.contains("secret"));
    }

    #[test]
    fn failures_decide_the_answer_and_warnings_do_not() {
        let report = |all| CheckReport { json: false, all };
        assert!(report(vec![CheckResult::ok("a", ""), CheckResult::warn("b", "")]).end().is_ok());
        let no = report(vec![CheckResult::ok("a", ""), CheckResult::fail("b", "")]).end().unwrap_err();
        assert_eq!((no.code(), no.to_string().as_str()), (1, "1 of 2 checks failed: b"));
    }
}
