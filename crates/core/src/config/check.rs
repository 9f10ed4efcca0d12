//! What types can't say of a configuration: ranges, names, and values that contradict each other.
//! Each error names file, line, key and value, and what is valid.

use super::units::{Size, Span};
use super::{Config, ConfigError, Embedding};
use crate::event::time::{DAY, HOUR, SECOND};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

/// The most entries that a file may list. With more, setting up a job would take minutes, or a tick
/// would never end.
const MOST_RULES: usize = 2_000;
const MOST_GROUPINGS: usize = 500;
const MOST_WINDOWS: usize = 24;
const MOST_BASELINES: usize = 8;
const MOST_FEATURES: usize = 500;
/// Bytes of a rule's name, at most.
const LONGEST_RULE_NAME: usize = 128;

/// Whether a text can be the name of a job, a baseline or a style, and so part of a path: 1 to 64
/// letters, digits and `. _ : @ + -`.
#[must_use]
pub fn plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "._:@+-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.chars().all(|c| c == '.')
}

impl Config {
    /// An error at a key, with its place in the file.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            place: self.origin.place(key),
            key: super::explain::shown(key),
            message: message.into(),
        }
    }

    /// Refuses a value outside a range.
    fn within<T: PartialOrd + Display>(
        &self,
        key: &str,
        value: T,
        low: T,
        high: T,
    ) -> Result<(), ConfigError> {
        // NaN is in no range.
        if value >= low && value <= high {
            return Ok(());
        }
        Err(self.wrong(key, format!("{value} is out of range; write a value from {low} to {high}")))
    }

    fn share(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(self.wrong(key, format!("{value} is not a share; write a number from 0 to 1")))
    }

    fn most(&self, key: &str, n: usize, most: usize, instead: &str) -> Result<(), ConfigError> {
        if n <= most {
            return Ok(());
        }
        Err(self.wrong(key, format!("has {n} entries, {most} at most; {instead}")))
    }

    /// Refuses a text that is empty or has line breaks and the like.
    fn text(&self, key: &str, value: &str, instead: &str) -> Result<(), ConfigError> {
        if value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(self.wrong(key, format!("{value:?} is empty or has control characters; {instead}")));
        }
        Ok(())
    }
}

/// Checks what types can't.
///
/// # Errors
/// The first mistake.
pub(super) fn check(c: &Config) -> Result<(), ConfigError> {
    input(c)?;
    // Checked before the settings that must be at least as long.
    baselines(c)?;
    output(c)?;
    privacy(c)?;
    windows(c)?;
    c.most("segments", c.segments.len(), MOST_GROUPINGS, "each is sketched or merged for every event")?;
    c.groupings()?;
    c.hidden_fields()?;
    c.most("features", c.features.len(), MOST_FEATURES, "each is sketched for every event")?;
    features(c)?;
    c.feature_set()?;
    alerts(c)?;
    rules(c)?;
    engine(c)?;
    if let Some(address) = &c.serve.listen {
        listen(c, address)?;
    }
    for key in c.kafka.properties.keys() {
        c.text("kafka.properties", key, "name a property of librdkafka")?;
    }
    c.embedding.as_ref().map_or(Ok(()), |e| embedding(c, e))
}

fn input(c: &Config) -> Result<(), ConfigError> {
    // The shortest event has about a hundred bytes; one that is longer than this is not an event.
    c.within("input.max_message", c.input.max_message, Size(256), Size(1 << 30))?;
    c.share("input.max_bad_share", c.input.max_bad_share)?;
    let Some(kafka) = &c.input.kafka else { return Ok(()) };
    for broker in kafka.brokers.split(',').map(str::trim) {
        let address = broker.rsplit_once("://").map_or(broker, |(_, a)| a);
        let port = address.rsplit_once(':').filter(|_| !address.ends_with(']')).map(|(_, port)| port);
        let good = !address.is_empty()
            && !address.starts_with(':')
            && !address.contains([' ', '/'])
            && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
        if !good {
            let message =
                format!("{broker:?} is not a broker; write HOST:PORT, several with commas between them");
            return Err(c.wrong("input.kafka.brokers", message));
        }
    }
    let legal =
        |t: &str| t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && t != "." && t != "..";
    if !(1..=249).contains(&kafka.topic.len()) || !legal(&kafka.topic) {
        let message =
            format!("{:?} is not a topic; a topic has 1 to 249 letters, digits and . _ -", kafka.topic);
        return Err(c.wrong("input.kafka.topic", message));
    }
    c.text("input.kafka.group", &kafka.group, "name the consumer group, for example \"driftglass\"")
}

fn output(c: &Config) -> Result<(), ConfigError> {
    location(c, "output.dir", &c.output.dir)?;
    let longest = c.baselines.longest_days();
    let least = Span(i64::from(longest) * DAY + DAY);
    if c.output.keep_panes < least {
        let message = format!(
            "{} is shorter than the longest baseline, {longest} days, and a day; write \"{least}\" or more",
            c.output.keep_panes
        );
        return Err(c.wrong("output.keep_panes", message));
    }
    Ok(())
}

/// A folder or the URL of a store.
fn location(c: &Config, key: &str, text: &str) -> Result<(), ConfigError> {
    const SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"];
    c.text(key, text, "name a folder, file:///…, s3://…, gs://… or az://…")?;
    let message = match text.split_once("://") {
        Some(("file", path)) if !path.starts_with('/') => {
            format!("{text:?} names a host; write file:/// and the whole path, or the path alone")
        }
        Some(("http" | "https" | "memory", _)) => return Ok(()),
        Some((scheme, _)) if !SCHEMES.contains(&scheme) => {
            format!("{scheme}:// is not a store; write a folder, file:///…, s3://…, gs://… or az://…")
        }
        Some((_, rest)) if rest.starts_with('/') && !text.starts_with("file:") => {
            format!("{text:?} names no bucket; write it after the two slashes")
        }
        None if text == "~" || text.starts_with("~/") => {
            "~ is not read here; write ${HOME} for it".to_owned()
        }
        _ => return Ok(()),
    };
    Err(c.wrong(key, message))
}

fn privacy(c: &Config) -> Result<(), ConfigError> {
    let p = &c.privacy;
    if p.min_users == 0 {
        let message =
            "0 would show what nobody used; write 1 to show every token as text, 5 to hide the rare ones";
        return Err(c.wrong("privacy.min_users", message));
    }
    if !p.key.is_empty() && p.key.trim().is_empty() {
        return Err(
            c.wrong("privacy.key", "has only spaces; set it from the environment: \"${DRIFTGLASS_KEY}\"")
        );
    }
    Ok(())
}

fn windows(c: &Config) -> Result<(), ConfigError> {
    let w = &c.windows;
    if w.pane.0 < SECOND || HOUR % w.pane.0 != 0 {
        let message =
            format!("{} does not divide an hour; write \"1m\", \"5m\" or \"30m\", for example", w.pane);
        return Err(c.wrong("windows.pane", message));
    }
    if w.rolling.is_empty() {
        let message = "at least one window is needed, for example [\"30m\", \"24h\"]";
        return Err(c.wrong("windows.rolling", message));
    }
    c.most("windows.rolling", w.rolling.len(), MOST_WINDOWS, "every segment is judged for each of them")?;
    let mut lengths = BTreeSet::new();
    for (i, r) in w.rolling.iter().enumerate() {
        let key = format!("windows.rolling[{i}]");
        let (length, slide) = (r.length(), r.slide());
        let (name, by) = (Span(length), Span(slide));
        let wrong = |message: String| Err(c.wrong(&key, message));
        if length <= 0 {
            return wrong(format!(
                "{name} is not a length of a window; write \"30m\" or \"24h\", for example"
            ));
        }
        if length > 7 * DAY {
            return wrong(format!(
                "{name} is too long; a window has 7 days at most, longer ones are baselines' work"
            ));
        }
        if !lengths.insert(length) {
            return wrong(format!("the window of {name} is given twice; remove one"));
        }
        if slide <= 0 || slide % w.pane.0 != 0 || length % slide != 0 {
            return wrong(format!(
                "{name} slides by {by}, which must be a multiple of the pane ({}) and divide the length; write \
                 {{ length = \"{name}\", slide = \"{}\" }}, for example",
                w.pane,
                possible_slide(length, w.pane.0).map_or_else(|| "…".to_owned(), |s| s.to_string()),
            ));
        }
        if (slide < HOUR && HOUR % slide != 0) || (slide >= HOUR && slide % HOUR != 0) {
            return wrong(format!("{name} slides by {by}, which must be a part or a multiple of an hour"));
        }
    }
    if w.lateness.0 < 0 || w.lateness.0 > 2 * DAY {
        return Err(
            c.wrong("windows.lateness", format!("{} must lie between 0s and 2d; 5m is usual", w.lateness))
        );
    }
    c.within("windows.idle", w.idle, Span(SECOND / 1000), Span(DAY))?;
    c.within("windows.max_segments", w.max_segments, 1, 10_000_000)
}

/// The longest slide, a sixth of the length at most, that such a window may have.
fn possible_slide(length: i64, pane: i64) -> Option<Span> {
    const SLIDES: [i64; 12] = [60, 30, 20, 15, 12, 10, 6, 5, 4, 3, 2, 1];
    let fits = |s: &i64| *s <= length / 6 && s % pane == 0 && length % s == 0;
    SLIDES.iter().map(|m| m * HOUR / 60).find(fits).map(Span)
}

fn baselines(c: &Config) -> Result<(), ConfigError> {
    let (b, key) = (&c.baselines, "baselines.rolling_days");
    if b.rolling_days.is_empty() {
        return Err(c.wrong(key, "names no baseline to compare with; write [7, 28], for example"));
    }
    c.most(key, b.rolling_days.len(), MOST_BASELINES, "every window is compared with each of them")?;
    let mut seen = BTreeSet::new();
    for (i, days) in b.rolling_days.iter().enumerate() {
        let key = format!("{key}[{i}]");
        c.within(&key, *days, 1, 366)?;
        if !seen.insert(*days) {
            return Err(c.wrong(&key, format!("{days} is given twice; remove one")));
        }
    }
    if b.weekend.count() == 7 {
        let message = "names all days of the week; write [] if they are all of one kind";
        return Err(c.wrong("baselines.weekend", message));
    }
    c.share("baselines.min_share", b.min_share)
}

fn features(c: &Config) -> Result<(), ConfigError> {
    for (i, e) in c.features.iter().enumerate() {
        let key = |k: &str| format!("features[{i}].{k}");
        // The same entry twice means the same as once.
        if c.features[..i].iter().any(|before| before.name == e.name && before != e) {
            let message =
                format!("two entries are called {:?}; write one, with all that is to change", e.name);
            return Err(c.wrong(&key("name"), message));
        }
        let Some(stages) = &e.stages else { continue };
        if stages.is_empty() {
            let message = "names no stage, so no event would be read; write [\"generate\"], for example";
            return Err(c.wrong(&key("stages"), message));
        }
        let mut seen = Vec::new();
        for s in stages {
            if seen.contains(&s.0) {
                let message = format!("{:?} is given twice; remove one", s.0.name());
                return Err(c.wrong(&key("stages"), message));
            }
            seen.push(s.0);
        }
    }
    Ok(())
}

fn alerts(c: &Config) -> Result<(), ConfigError> {
    let a = &c.alerts;
    let (key, budget) = ("alerts.false_alarms_per_quarter", a.false_alarms_per_quarter);
    if !(budget > 0.0 && budget <= 1e6) {
        return Err(c.wrong(
            key,
            format!(
                "{budget} is not a budget; write how many false alarms a quarter you accept, for example 1.0"
            ),
        ));
    }
    if let Some(path) = &a.jsonl {
        c.text("alerts.jsonl", path, "name a file, or \"-\" for standard output")?;
    }
    if let Some(url) = &a.webhook {
        // Never the URL itself: it is often its own password.
        let wrong = |message: String| Err(c.wrong("alerts.webhook", message));
        match url::Url::parse(url) {
            Err(e) => return wrong(format!("is not a URL ({e}); write https://HOST/PATH")),
            Ok(u) if !matches!(u.scheme(), "http" | "https") => {
                return wrong(format!("{}: can't be posted to; write https://HOST/PATH", u.scheme()));
            }
            Ok(u) if u.host_str().is_none_or(|h| h.contains(|c: char| !c.is_ascii() || c == '%')) => {
                return wrong("names no host; write https://HOST/PATH".to_owned());
            }
            Ok(_) => {}
        }
    }
    let longest = c.windows.rolling.iter().map(|r| r.slide()).max().unwrap_or(0);
    if a.stale_after.0 < longest {
        let message = format!(
            "{} is shorter than the longest slide of a window, {}: every alert would go stale between two windows; write \"24h\", for example",
            a.stale_after,
            Span(longest)
        );
        return Err(c.wrong("alerts.stale_after", message));
    }
    c.within("alerts.stale_after", a.stale_after, Span(1), Span(366 * DAY))
}

fn rules(c: &Config) -> Result<(), ConfigError> {
    c.most("rules", c.rules.len(), MOST_RULES, "one rule may name several features, windows and groupings")?;
    let mut names = BTreeSet::new();
    for (i, r) in c.rules.iter().enumerate() {
        let key = |k: &str| format!("rules[{i}].{k}");
        let wrong = |k: &str, message: String| Err(c.wrong(&key(k), message));
        c.text(&key("name"), &r.name, "a rule's name is part of its alerts' ids")?;
        if r.name.len() > LONGEST_RULE_NAME {
            return wrong("name", format!("is {} bytes long, {LONGEST_RULE_NAME} at most", r.name.len()));
        }
        if !names.insert(&r.name) {
            return wrong("name", format!("two rules are called {:?}; rename one", r.name));
        }
        let by = r.segment_by.as_ref().map(|g| &g.0);
        let lists = [
            ("feature", Some(&r.feature.0)),
            ("window", Some(&r.window.0)),
            ("segment_by", by),
            ("baseline", Some(&r.baseline.0)),
        ];
        for (k, list) in lists {
            let mut seen = BTreeSet::new();
            if let Some(twice) = list.into_iter().flatten().find(|name| !seen.insert(*name)) {
                return wrong(k, format!("{twice:?} is given twice; remove one"));
            }
        }
        for (k, span) in [("for", r.hold), ("keep_firing_for", r.keep_firing_for)] {
            if let Some(span) = span {
                c.within(&key(k), span, Span(0), Span(90 * DAY))?;
            }
        }
        if let Some(link) = &r.runbook {
            c.text(&key("runbook"), link, "write a link, or leave it out")?;
        }
    }
    Ok(())
}

fn engine(c: &Config) -> Result<(), ConfigError> {
    let e = &c.engine;
    if let Some(job) = e.job.as_ref().filter(|j| !plain_name(j)) {
        return Err(c.wrong(
            "engine.job",
            format!("{job:?} is not a valid name: use 1 to 64 letters, digits and . _ : @ + -"),
        ));
    }
    c.within("engine.workers", e.workers, 0, 1024)?;
    c.within("engine.commit_every", e.commit_every, Span(SECOND / 1000), Span(HOUR))?;
    c.within("engine.queue", e.queue, Size(1 << 20), Size(1 << 36))?;
    if e.queue < c.input.max_message {
        let message = format!(
            "{} is less than input.max_message, {}: no such message could pass",
            e.queue, c.input.max_message
        );
        return Err(c.wrong("engine.queue", message));
    }
    Ok(())
}

fn listen(c: &Config, address: &str) -> Result<(), ConfigError> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.starts_with('[') && host.ends_with(']') || !host.contains([':', '/', ' ']);
        !host.is_empty() && bare && port.parse::<u16>().is_ok()
    });
    if good {
        return Ok(());
    }
    let port = address.trim_start_matches(':').parse::<u16>().map_or("9464".to_owned(), |p| p.to_string());
    let message = format!(
        "{address:?} is not an address; write HOST:PORT, \"127.0.0.1:{port}\" for this machine alone"
    );
    Err(c.wrong("serve.listen", message))
}

fn embedding(c: &Config, e: &Embedding) -> Result<(), ConfigError> {
    c.share("embedding.rate", e.rate)?;
    c.within("embedding.dimension", e.dimension, 1, 8192)?;
    c.within("embedding.size", e.size, 16, 2048)?;
    c.within("embedding.batch", e.batch, 1, 1024)?;
    if let Some(s) = e.std.iter().find(|s| !s.is_finite() || **s <= 0.0) {
        return Err(c.wrong("embedding.std", format!("{s} is not a deviation; write three numbers above 0")));
    }
    if let Some(m) = e.mean.iter().find(|m| !m.is_finite()) {
        return Err(c.wrong("embedding.mean", format!("{m} is not a mean; write three numbers")));
    }
    if !plain_name(&e.name.replace('/', "-")) {
        let message =
            format!("{:?} is not a valid name: use 1 to 64 letters, digits and . _ : / @ + -", e.name);
        return Err(c.wrong("embedding.name", message));
    }
    let files = [
        ("embedding.model", &e.model),
        ("embedding.runtime", &e.runtime),
        ("embedding.reference", &e.reference),
        ("embedding.head", &e.head),
    ];
    for (key, path) in files {
        if path.as_deref().is_some_and(|p| p == Path::new("")) {
            return Err(c.wrong(key, "is empty; name a file, or leave it out"));
        }
    }
    let texts = [
        ("embedding.base_uri", e.base_uri.as_ref()),
        ("embedding.recorded", e.recorded.as_ref()),
        ("embedding.target", e.target.as_ref()),
        ("embedding.input", e.input.as_ref()),
        ("embedding.output", e.output.as_ref()),
    ];
    for (key, text) in texts.into_iter().filter_map(|(k, t)| Some((k, t?))) {
        c.text(key, text, "name it, or leave it out")?;
    }
    for (i, prefix) in e.allow.iter().enumerate() {
        c.text(&format!("embedding.allow[{i}]"), prefix, "write a prefix such as https://HOST/PATH")?;
    }
    if let Some(recorded) = &e.recorded {
        location(c, "embedding.recorded", recorded)?;
    }
    c.within("embedding.threads", e.threads, 0, 1024)?;
    c.within("embedding.concurrency", e.concurrency, 1, 1024)?;
    c.within("embedding.device", e.device, 0, 1023)?;
    c.within("embedding.retries", e.retries, 0, 20)?;
    c.within("embedding.per_minute", e.per_minute, 1, 1_000_000)?;
    c.within("embedding.max_bytes", e.max_bytes, Size(1 << 10), Size(1 << 30))?;
    c.within("embedding.max_pixels", e.max_pixels, 1, 1 << 30)?;
    c.within("embedding.timeout", e.timeout, Span(SECOND / 1000), Span(HOUR))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
