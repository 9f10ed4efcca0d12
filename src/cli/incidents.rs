//! `driftglass incidents`: what happened, one entry for all alerts of one cause.

use super::baseline::look;
use super::common::runtime;
use super::{CliError, ConfigFile, Global, show};
use crate::engine::pins;
use crate::event::time::text;
use crate::incident::{Incident, IncidentBook, IncidentState, headline};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// Arguments.
#[derive(Debug, Args)]
pub struct IncidentsCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// Only those that go on
    #[arg(long)]
    open: bool,
}

impl IncidentsCommand {
    /// Lists the incidents of an output, the newest first.
    ///
    /// # Errors
    /// When there is no such output, or its alerts can't be read.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let runtime = runtime()?;
        let job = look(&self.config, &runtime)?;
        let alerts = show::alerts(&job.storage)?;
        let newest = pins::newest_hour(&job).map_err(CliError::failed)?;
        let until = newest.max(alerts.iter().map(|a| a.at).max());
        let mut book = IncidentBook::default();
        book.observe(&alerts);
        let at = until.unwrap_or(i64::MIN);
        let mut listed: Vec<&Incident> = book.incidents().iter().collect();
        if self.open {
            listed.retain(|of| of.state(at) == IncidentState::Open);
        }
        listed.sort_by_key(|of| std::cmp::Reverse((of.state(at) == IncidentState::Open, of.opened)));
        let out = if global.json {
            let all: Vec<Value> = listed.iter().map(|of| as_json(of, at)).collect();
            format!("{}\n", Value::from(all))
        } else {
            as_text(&listed, until)
        };
        write!(std::io::stdout().lock(), "{out}").map_err(CliError::failed)
    }
}

fn as_text(listed: &[&Incident], until: Option<i64>) -> String {
    let Some(at) = until else { return "no incidents: the output has no data yet\n".to_owned() };
    if listed.is_empty() {
        return format!("no incidents up to {}\n", text(at));
    }
    let open = listed.iter().filter(|of| of.state(at) == IncidentState::Open).count();
    let mut out = format!("{open} open, {} resolved, as of {}\n", listed.len() - open, text(at));
    for of in listed {
        let features: Vec<&str> = of.features.iter().map(String::as_str).collect();
        let some = if of.complete { "" } else { "; some windows lacked data" };
        let _ = writeln!(
            out,
            "\n{:<9} {:<9} {}\n          {}  fired first {}, last change {}\n          {} in {}: {}{some}",
            of.state(at).name(),
            of.severity.name(),
            headline(of),
            of.id,
            text(of.opened),
            text(of.last),
            counted(of.alerts.len(), "alert"),
            counted(of.segments.len(), "segment"),
            features.join(", "),
        );
    }
    out
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn as_json(of: &Incident, at: i64) -> Value {
    json!({
        "id": of.id,
        "state": of.state(at).name(),
        "severity": of.severity.name(),
        "headline": headline(of),
        "opened": text(of.opened),
        "since": text(of.since),
        "last": text(of.last),
        "segment": of.lead.segment,
        "feature": of.lead.feature,
        "rule": of.lead.rule,
        "window": of.lead.window,
        "features": of.features,
        "segments": of.segments,
        "alerts": of.alerts.len(),
        "complete": of.complete,
        "examples": of.lead.examples,
    })
}
