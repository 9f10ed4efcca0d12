//! `driftglass baseline`: lists, shows, pins, drops and accepts what windows are compared with.

use super::common::{runtime, storage, time};
use super::{CliError, ConfigFile, Global};
use crate::baseline::{Accept, BaselineDays, BaselineName, Segments, missing_shares, side};
use crate::config::Config;
use crate::config::features::{Feature, FeatureKind};
use crate::config::near::near;
use crate::config::segments::{parts, written_parts};
use crate::engine::Job;
use crate::engine::PinError;
use crate::engine::pins::{self, BaselineFeature};
use crate::enrich::token_text;
use crate::event::time::{date, text};
use crate::sketch::{Body, Sketch};
use crate::store::panes::TableNames;
use crate::window::Segment;
use clap::{Args, Subcommand};
use globset::Glob;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use tokio::runtime::Runtime;

/// Values shown per segment and feature.
const TOP: usize = 8;

/// Arguments.
#[derive(Debug, Args)]
pub struct BaselineCommand {
    #[command(subcommand)]
    action: BaselineAction,
}

#[derive(Debug, Subcommand)]
enum BaselineAction {
    /// List the rolling baselines with their days, and the pinned ones
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show the values of a baseline
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the baseline: rolling_7d, pinned:NAME
        name: String,
        #[command(flatten)]
        pick: SelectionArgs,
    },
    /// Keep a range of hours as a baseline; windows are compared with it as pinned:NAME
    Pin {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the new baseline
        name: String,
        /// First hour of the range (RFC 3339 or a date)
        #[arg(long, value_parser = time)]
        from: i64,
        /// End of the range, exclusive
        #[arg(long, value_parser = time)]
        to: i64,
    },
    /// Remove a pinned baseline
    Drop {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the pinned baseline
        name: String,
    },
    /// Accept the current state as the new normal: days excluded as drifted count again
    Accept {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        pick: SelectionArgs,
        /// Accept only days that began before this time; default: all that the job has seen
        #[arg(long, value_parser = time)]
        at: Option<i64>,
        /// Accept a segment that this output has not seen, or a time that it has not reached
        #[arg(long)]
        force: bool,
    },
}

/// Which segments and features.
#[derive(Debug, Clone, Args)]
struct SelectionArgs {
    /// Segments by name or glob: "tenant=birch", "tenant=*", "*" for all, "" for the whole stream
    ///
    /// Write names as in the column segment: with a backslash before each comma, equals sign or
    /// backslash of a value.
    #[arg(long, value_name = "SEGMENT")]
    segment: Option<String>,
    /// Only this feature
    #[arg(long)]
    feature: Option<String>,
}

impl BaselineCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// When the configuration is wrong, there is no such baseline, or the output fails.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let runtime = runtime()?;
        match self.action {
            BaselineAction::List { config } => list(&look(&config, &runtime)?, global),
            BaselineAction::Show { config, name, pick } => {
                show(&look(&config, &runtime)?, &name, &pick, global)
            }
            BaselineAction::Pin { config, name, from, to } => {
                let job = look(&config, &runtime)?;
                let pinned =
                    pins::pin(&job.storage, &job.settings.names, &name, from, to).map_err(classify)?;
                let (i, baseline) = (&pinned.info, BaselineName::Pinned(name.into()));
                if global.json {
                    return say(&json!({
                        "baseline": baseline.to_string(), "from": text(i.from), "to": text(i.to), "hours": i.hours,
                        "days": i.days, "segments": pinned.segments,
                    })
                    .to_string());
                }
                let asked = (to - from) / crate::event::time::HOUR;
                say(&format!(
                    "{baseline} has {} of {asked} hours on {} days, {} segments; a running job uses it after its next start",
                    i.hours, i.days, pinned.segments
                ))
            }
            BaselineAction::Drop { config, name } => {
                let config = config.read()?;
                let storage = existing(&config, &runtime)?;
                pins::unpin(&storage, &name).map_err(classify)?;
                let name = BaselineName::pin(&name).to_string();
                if global.json {
                    return say(&json!({ "dropped": name }).to_string());
                }
                let named = config.rules.iter().filter(|r| r.baseline.0.contains(&name));
                let named: Vec<&str> = named.map(|r| r.name.as_str()).collect();
                let next = match named.is_empty() {
                    true => "a running job keeps it until its next start".to_owned(),
                    false => {
                        format!("no job starts until these rules name another baseline: {}", named.join(", "))
                    }
                };
                say(&format!("dropped {name}; {next}"))
            }
            BaselineAction::Accept { config, pick, at, force } => {
                accept(&look(&config, &runtime)?, pick, at, force, global)
            }
        }
    }
}

fn classify(e: PinError) -> CliError {
    match e {
        PinError::Name(_)
        | PinError::Range { .. }
        | PinError::Exists(_)
        | PinError::Unfinished(_)
        | PinError::NoData { .. }
        | PinError::Unknown { .. }
        | PinError::Kind(_) => CliError::usage(e),
        PinError::Storage(_) | PinError::History(_) | PinError::Panes(_) => CliError::failed(e),
    }
}

/// The job of a configuration, opened read-only.
pub(super) fn look(config: &ConfigFile, runtime: &Runtime) -> Result<Job, CliError> {
    let config = config.read()?;
    let storage = existing(&config, runtime)?;
    Ok(Job::look(config, storage)?)
}

/// The output, which must exist: looking must not create a folder.
fn existing(config: &Config, runtime: &Runtime) -> Result<crate::store::Storage, CliError> {
    let dir = &config.output.dir;
    let local = dir.strip_prefix("file://").or_else(|| (!dir.contains("://")).then_some(dir.as_str()));
    if local.is_some_and(|d| !Path::new(d).is_dir()) {
        return Err(CliError::failed(format!(
            "no output at {dir}: name the output of a job that has run (-c FILE or -o DIR)"
        )));
    }
    storage(config, runtime)
}

fn say(line: &str) -> Result<(), CliError> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{line}").map_err(CliError::failed)
}

fn list(job: &Job, global: &Global) -> Result<(), CliError> {
    let config = &job.settings.config.baselines;
    let day = pins::newest_day(job).map_err(classify)?;
    let pinned = pins::pins(&job.storage).map_err(classify)?;
    let mut rows = vec![["baseline", "days", "from", "to", "remark"].map(String::from).to_vec()];
    let mut out = Vec::new();
    let longest = day.map(|day| (day, BaselineDays::of_longest(config, day)));
    let set = longest.map(|(day, longest)| pins::baseline_set(job, day, longest)).transpose();
    let set = set.map_err(classify)?;
    for baseline in BaselineName::configured(config) {
        let (name, needs) = (baseline.to_string(), baseline.needed_days(config));
        let days = set.as_ref().and_then(|set| Some((set, set.days_of(&baseline)?)));
        let Some((set, stretch)) = days else {
            let days = BaselineDays::of(&baseline, 0).map_or(0, |days| days.count());
            out.push(json!({ "baseline": name, "days": 0, "of": days, "needs": needs }));
            rows.push(vec![
                name,
                format!("0 of {days}"),
                String::new(),
                String::new(),
                "no complete day yet".into(),
            ]);
            continue;
        };
        let have = pins::days_with_data(set, stretch).map_err(classify)?;
        let (days, from, until) = (stretch.count(), stretch.from(), stretch.until());
        let left_out = set.flagged(stretch);
        let mut remark = Vec::new();
        if have.len() < usize::from(needs) {
            remark.push(format!("needs {needs} days; insufficient_data until then"));
        }
        if left_out > 0 {
            remark.push(format!("{left_out} drifted days (segment and feature) excluded"));
        }
        out.push(json!({
            "baseline": name, "days": have.len(), "of": days, "needs": needs, "from": text(from), "to": text(until),
            "excluded": left_out,
        }));
        rows.push(vec![
            name,
            format!("{} of {days}", have.len()),
            date(from),
            date(until),
            remark.join("; "),
        ]);
    }
    for (name, i) in &pinned {
        let name = BaselineName::pin(name).to_string();
        out.push(json!({
            "baseline": name, "days": i.days, "hours": i.hours, "from": text(i.from), "to": text(i.to),
        }));
        rows.push(vec![
            name,
            i.days.to_string(),
            text(i.from),
            text(i.to),
            format!("{} hours with data", i.hours),
        ]);
    }
    if global.json { say(&Value::from(out).to_string()) } else { say(&table(&rows)) }
}

/// The segments and features that the arguments select.
struct SegmentFilter {
    segments: Segments,
    feature: Option<usize>,
}

impl SegmentFilter {
    fn new(pattern: &str, feature: Option<&str>, names: &TableNames) -> Result<Self, CliError> {
        if let Err(e) = Glob::new(pattern)
            && parts(pattern).next().is_none()
        {
            return Err(CliError::usage(format!("--segment {pattern:?} is not a valid glob: {}", e.kind())));
        }
        let segments = Segments::new(pattern);
        let feature = match feature {
            None => None,
            Some(f) => Some(names.features.iter().position(|k| **k == *f).ok_or_else(|| {
                let known: Vec<&str> = names.features.iter().map(|f| &**f).collect();
                CliError::usage(format!("no feature {f:?}; {}", near(f, "features", &known)))
            })?),
        };
        Ok(Self { segments, feature })
    }

    fn wants(&self, segment: &Segment, feature: usize, names: &TableNames) -> bool {
        self.feature.is_none_or(|f| f == feature) && self.is_match(segment, names)
    }

    /// Whether a segment is selected, by its name or by the name that tables show.
    fn is_match(&self, segment: &Segment, names: &TableNames) -> bool {
        self.segments.is_match(&segment.name) || self.segments.is_match(&names.identity(segment).name)
    }
}

fn show(job: &Job, name: &str, pick: &SelectionArgs, global: &Global) -> Result<(), CliError> {
    let names = &job.settings.names;
    // Default: the whole stream, which is one segment of possibly thousands.
    let whole = names.groupings.index_of("").is_some();
    let pattern = pick.segment.clone().unwrap_or_else(|| if whole { "" } else { "*" }.to_owned());
    let wanted = SegmentFilter::new(&pattern, pick.feature.as_deref(), names)?;
    // The volume counts users, and a segment is named only if it had enough.
    let features = &job.settings.features;
    let is_volume = |f: usize| features[f].kind == FeatureKind::Volume;
    let named = |s: &Segment| names.grouping(s).is_operators();
    let pick_out = |s: &Segment, f: usize| wanted.wants(s, f, names) || (!named(s) && is_volume(f));
    let mut values = pins::baseline_features(job, name, &pick_out).map_err(classify)?;
    let users: FxHashMap<Segment, u64> =
        values.iter().filter_map(|h| Some((h.segment.clone(), users(&h.sketch)?))).collect();
    values.retain(|h| wanted.wants(&h.segment, h.feature, names));
    if values.is_empty() {
        let any = pins::baseline_features(job, name, &|_, f| f == 0).map_err(classify)?;
        let found = any.iter().any(|h| wanted.is_match(&h.segment, names));
        // Names that clients chose are shown as hashes.
        let any: Vec<Segment> = any.iter().map(|h| names.identity(&h.segment)).collect();
        let segments: BTreeSet<&str> = any.iter().map(|s| &*s.name).collect();
        let instead = match &pick.feature {
            Some(f) if found => format!("it has the segment, but no values of feature {f}"),
            _ => no_segment(&pattern, names, &segments),
        };
        return Err(CliError::usage(format!("{name} has no values of segment {pattern:?}: {instead}")));
    }
    let min_users = job.settings.config.privacy.min_users;
    let lines = values.iter().map(|h| {
        let seen = users.get(&h.segment).copied().unwrap_or(0);
        line(h, &features[h.feature], names, seen, min_users)
    });
    if global.json {
        return say(&Value::from(lines.collect::<Vec<Value>>()).to_string());
    }
    let columns = ["segment", "feature", "days", "n", "sessions", "value", "p50", "p95", "p99"];
    let mut rows =
        vec![columns.iter().chain(&["most frequent"]).map(|c| (*c).to_owned()).collect::<Vec<_>>()];
    for l in lines {
        let cell = |c: &&str| match &l[*c] {
            Value::Null => String::new(),
            Value::String(s) if s.is_empty() => "(all)".to_owned(),
            Value::String(s) => s.clone(),
            Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(0.0)),
            other => other.to_string(),
        };
        let mut row: Vec<String> = columns.iter().map(cell).collect();
        let top = l["top"].as_array().map_or(&[][..], Vec::as_slice);
        let top = top.iter().map(|t| {
            format!(
                "{} {:.1}%",
                t["key"].as_str().unwrap_or_default(),
                100.0 * t["share"].as_f64().unwrap_or(0.0)
            )
        });
        row.push(top.collect::<Vec<_>>().join("  "));
        rows.push(row);
    }
    say(&table(&rows))
}

/// The users that a volume has counted, as a bitmap.
fn users(sketch: &Sketch) -> Option<u64> {
    match &sketch.body {
        Body::Rate(r) => Some(r.users()).filter(|u| *u != 0),
        _ => None,
    }
}

fn line(h: &BaselineFeature, feature: &Feature, names: &TableNames, seen: u64, min_users: u32) -> Value {
    let mut s = side(&h.sketch);
    if feature.kind == FeatureKind::Volume {
        s.value = Some(s.n as f64 / h.hours.max(1e-9));
    }
    let q = |i: usize| s.quantiles.map(|q| q[i]);
    let value = |v: &str, users| names.shown.value(feature.from.chosen_by(), v, users).into_owned();
    let top = match (&h.sketch.body, &feature.watched) {
        (Body::Missing(s), Some(watched)) => missing_shares(s, watched).into_iter().take(TOP).collect(),
        _ => top(&h.sketch, min_users, value),
    };
    let top: Vec<Value> = top.into_iter().map(|(key, share)| json!({ "key": key, "share": share })).collect();
    let grouping = names.grouping(&h.segment);
    json!({
        "segment_by": &*grouping.name, "segment": &*names.shown.segment(grouping, &h.segment.name, seen),
        "feature": feature.name, "days": h.days, "n": s.n, "sessions": s.sessions,
        "value": s.value, "p50": q(0), "p95": q(1), "p99": q(2), "top": top,
    })
}

/// The most frequent tokens or categories with their shares. Tokens only if at least `min_users`
/// users sent them; all categories, as `value` shows them.
fn top(sketch: &Sketch, min_users: u32, value: impl Fn(&str, u64) -> String) -> Vec<(String, f64)> {
    let (mut all, total): (Vec<(String, u64)>, u64) = match &sketch.body {
        Body::Tokens(s) => {
            let mut known: Vec<(u32, u64)> = s
                .tokens()
                .filter(|(_, c)| c.users.count_ones() >= min_users)
                .map(|(t, c)| (t, c.count))
                .collect();
            known.sort_by_key(|(t, n)| (std::cmp::Reverse(*n), *t));
            let named = known.into_iter().filter_map(|(t, n)| Some((token_text(t)?, n))).take(TOP);
            (named.collect(), s.total())
        }
        Body::Category(s) => {
            let values = s.values();
            let mut known: Vec<_> = values.iter().map(|v| (v, v.count())).collect();
            known.sort_by_key(|(v, n)| (std::cmp::Reverse(*n), v.name));
            let named = known.into_iter().take(TOP).map(|(v, n)| (value(v.name, v.users), n));
            (named.collect(), s.n())
        }
        Body::Numeric(_) | Body::Rate(_) | Body::Vector(_) | Body::Missing(_) => (Vec::new(), 0),
    };
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(TOP);
    all.into_iter().map(|(key, n)| (key, n as f64 / total.max(1) as f64)).collect()
}

/// Why no segment fits a pattern: an unknown grouping, or a similar name.
fn no_segment(pattern: &str, names: &TableNames, segments: &BTreeSet<&str>) -> String {
    let columns = written_parts(pattern).map(|(column, value)| value.map(|_| column));
    let plain = |c: &&str| !c.is_empty() && c.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let by: Option<BTreeSet<&str>> = columns.map(|c| c.filter(plain)).collect();
    let by = by.map(|by| by.into_iter().collect::<Vec<_>>().join(","));
    if let Some(by) = by.filter(|by| names.groupings.index_of(by).is_none()) {
        let known: Vec<&str> = names.groupings.all.iter().map(|g| &*g.name).collect();
        return format!("there is no grouping by {by:?}; {}", near(&by, "groupings", &known));
    }
    let known: Vec<&str> = segments.iter().copied().filter(|s| !s.is_empty()).collect();
    near(pattern, "segments", &known)
}

fn accept(
    job: &Job,
    pick: SelectionArgs,
    at: Option<i64>,
    force: bool,
    global: &Global,
) -> Result<(), CliError> {
    let segment = pick.segment.unwrap_or_else(|| "*".to_owned());
    // Looked up for its errors: a typo must not look like an accept without effect.
    let names = &job.settings.names;
    let wanted = SegmentFilter::new(&segment, pick.feature.as_deref(), names)?;
    let newest = pins::newest_hour(job).map_err(classify)?.ok_or_else(|| {
        CliError::usage(format!("{} has no panes yet: nothing to accept", job.storage.url()))
    })?;
    if !force {
        let seen = pins::segments_seen(job).map_err(classify)?;
        if !seen.iter().any(|s| wanted.is_match(s, names)) {
            // Names that clients chose are shown as hashes.
            let seen: Vec<Segment> = seen.iter().map(|s| names.identity(s)).collect();
            let seen: BTreeSet<&str> = seen.iter().map(|s| &*s.name).collect();
            let instead = no_segment(&segment, names, &seen);
            return Err(CliError::usage(format!(
                "no segment {segment:?} in this output: {instead} (--force accepts it anyway)"
            )));
        }
        if let Some(at) = at.filter(|at| *at > newest) {
            return Err(CliError::usage(format!(
                "--at {} is later than the newest data of this output ({}); leave it out, or accept future data with --force",
                text(at),
                text(newest)
            )));
        }
    }
    let at = at.unwrap_or(newest);
    let segment = names.shown.identities(&names.groupings.all, &segment);
    let record = Accept { segment, feature: pick.feature, at };
    let again = pins::accept(job, &record).map_err(classify)?;
    if global.json {
        let mut line = serde_json::to_value(&record).map_err(CliError::failed)?;
        line["at"] = text(at).into();
        line["days_counted_again"] = again.into();
        return say(&line.to_string());
    }
    say(&format!(
        "accepted everything before {}: {again} drifted days (segment and feature) count again in later baselines",
        text(at)
    ))
}

/// A number with about five significant digits.
fn number(v: f64) -> String {
    match v.abs() {
        a if a >= 1e4 || a == 0.0 => format!("{v:.0}"),
        a if a >= 100.0 => format!("{v:.1}"),
        a if a >= 1.0 => format!("{v:.3}"),
        _ => format!("{v:.5}"),
    }
}

/// Rows as aligned columns; the first row is the header.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::{CategorySketch, SketchId, TokenSketch};
    use std::sync::Arc;

    #[test]
    fn rare_tokens_and_categories_are_not_shown() {
        let mut tokens = TokenSketch::default();
        for user in 0..6 {
            tokens.add(&[320], 0, user, Some(user));
        }
        (0..20).for_each(|_| tokens.add(&[1237], 0, 1, Some(1)));
        let (names, from) = (crate::enrich::Shown::default(), crate::config::features::FieldSource::Loras);
        let value = |v: &str, users| names.value(from.chosen_by(), v, users).into_owned();
        let shown = top(&Sketch { id: SketchId(1), body: Body::Tokens(tokens) }, 5, value);
        assert_eq!(shown.len(), 1, "one user's token is rare however often it came");
        assert!((shown[0].1 - 6.0 / 26.0).abs() < 1e-12);

        let mut category = CategorySketch::default();
        let (common, rare): (Arc<str>, Arc<str>) = ("en".into(), "xx".into());
        for user in 0..6 {
            category.add([&common], 0, 0, Some(user));
        }
        (0..20).for_each(|i| category.add([&rare], (i % 32) as u8, i, Some(3)));
        let shown = top(&Sketch { id: SketchId(1), body: Body::Category(category) }, 5, value);
        assert_eq!(shown.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), [&*value("xx", 0), "en"]);
        assert!(shown[0].0.starts_with('#'));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long".into(), "x".into()]];
        assert_eq!(table(&rows), "a     b\nlong  x");
    }
}
