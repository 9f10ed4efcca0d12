//! A row of `alerts`, one transition of one alert: as a value, in checkpoint form and as the JSON
//! that receivers get.

use super::observation::RuleInfo;
use crate::config::Severity;
use crate::event::time;
use crate::store::rows::{Contributor, Verdict, WindowRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Its condition holds, not yet for long enough.
    Pending,
    /// Its condition has held for long enough.
    Firing,
    /// Its condition no longer holds. With `firing_since` null it was pending and never fired.
    Resolved,
    /// Its segment has gone silent: nothing of it can be judged.
    Stale,
}

impl AlertState {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Stale => "stale",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Firing, Self::Resolved, Self::Stale].into_iter().find(|s| s.name() == name)
    }
}

/// One row of `alerts`. Times are microseconds of event time. Its serde form is for checkpoints and
/// exact to the bit; receivers get [`AlertRow::json`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRow {
    /// The same from pending to resolved, on every machine and in every replay.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The state that it entered.
    pub state: AlertState,
    /// "tenant".
    pub segment_by: String,
    /// "tenant=birch", as it is shown.
    pub segment: String,
    /// The segment's stable identity, as used in the id ([`WindowRow::identity`]); never sent to
    /// receivers. Empty in commits of earlier versions, where the segment's text is the identity.
    #[serde(default)]
    pub identity: String,
    /// The feature.
    pub feature: String,
    /// The rolling window, "24h".
    pub window: String,
    /// The baseline, "rolling_7d".
    pub baseline: String,
    /// When it entered that state.
    pub at: i64,
    /// When its condition first held.
    pub pending_since: i64,
    /// When it fired first.
    pub firing_since: Option<i64>,
    /// When it was resolved.
    pub resolved_at: Option<i64>,
    /// Start of the window that this row describes: the one at which the alert fired, or the latest
    /// one where it is resolved.
    pub window_start: i64,
    /// The window's end, exclusive.
    pub window_end: i64,
    /// Mean or rate.
    #[serde(with = "exact")]
    pub value: Option<f64>,
    /// The baseline's.
    #[serde(with = "exact")]
    pub baseline_value: Option<f64>,
    /// Events that carried the feature.
    pub n: u64,
    /// The baseline's.
    pub baseline_n: u64,
    /// Population stability index.
    #[serde(with = "exact")]
    pub psi: Option<f64>,
    /// The part of it that sample size does not explain.
    #[serde(with = "exact")]
    pub psi_excess: Option<f64>,
    /// Kullback–Leibler divergence.
    #[serde(with = "exact")]
    pub kl: Option<f64>,
    /// Probability of so large a difference without drift.
    #[serde(with = "exact")]
    pub p_value: Option<f64>,
    /// The p-value below which the row counted as drift.
    #[serde(with = "exact")]
    pub alpha: Option<f64>,
    /// The window's verdict.
    #[serde(with = "verdicts")]
    pub verdict: Option<Verdict>,
    /// Every partition had passed the window's end.
    pub complete: bool,
    /// Largest first.
    #[serde(with = "contributors")]
    pub contributors: Vec<Contributor>,
    /// Request ids.
    #[serde(with = "texts")]
    pub examples: Vec<Arc<str>>,
    /// A link for whoever is paged.
    pub runbook: Option<String>,
    /// One sentence for people.
    pub summary: String,
}

impl AlertRow {
    /// A row about a window, without its summary.
    pub(crate) fn new(
        rule: &RuleInfo,
        state: AlertState,
        r: &WindowRow,
        at: i64,
        pending_since: i64,
    ) -> Self {
        let mut row = Self {
            id: String::new(),
            rule: rule.name.to_string(),
            severity: rule.severity,
            state,
            segment_by: r.segment_by.to_string(),
            segment: r.segment.to_string(),
            identity: r.identity.to_string(),
            feature: r.feature.to_string(),
            window: r.window.to_string(),
            baseline: r.baseline.to_string(),
            at,
            pending_since,
            firing_since: None,
            resolved_at: None,
            window_start: r.start,
            window_end: r.end,
            value: r.now.value,
            baseline_value: r.then.value,
            n: r.now.n,
            baseline_n: r.then.n,
            psi: r.scores.psi,
            psi_excess: r.scores.psi_excess,
            kl: r.scores.kl,
            p_value: r.scores.p_value,
            alpha: r.alpha,
            verdict: r.verdict,
            complete: r.complete,
            contributors: r.contributors.clone(),
            examples: r.examples.clone(),
            runbook: rule.runbook.clone(),
            summary: String::new(),
        };
        row.id = row.make_id();
        row
    }

    /// Hash of what identifies an alert: 128 bits as hex. Each text is hashed with its length, so
    /// that no two lists of texts hash the same bytes.
    fn make_id(&self) -> String {
        let mut h = blake3::Hasher::new();
        for text in
            [&self.rule, &self.segment_by, &self.identity, &self.feature, &self.window, &self.baseline]
        {
            h.update(&(text.len() as u64).to_le_bytes());
            h.update(text.as_bytes());
        }
        h.update(&self.pending_since.to_le_bytes());
        h.finalize().to_hex()[..32].to_owned()
    }

    /// Whether people are notified: it fires, or fired before. A pending alert that ends is only in
    /// the table.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.firing_since.is_some()
    }

    /// The JSON that receivers get: names as in the table, times as RFC 3339.
    #[must_use]
    pub fn json(&self) -> Value {
        let contributors: Vec<Value> = self
            .contributors
            .iter()
            .map(|c| json!({"key": c.key, "share": c.share, "baseline_share": c.baseline_share, "contribution": c.contribution}))
            .collect();
        let examples: Vec<&str> = self.examples.iter().map(|e| &**e).collect();
        json!({
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity.name(),
            "state": self.state.name(),
            "summary": self.summary,
            "segment_by": self.segment_by,
            "segment": self.segment,
            "feature": self.feature,
            "window": self.window,
            "baseline": self.baseline,
            "at": time::text(self.at),
            "pending_since": time::text(self.pending_since),
            "firing_since": self.firing_since.map(time::text),
            "resolved_at": self.resolved_at.map(time::text),
            "window_start": time::text(self.window_start),
            "window_end": time::text(self.window_end),
            "value": self.value,
            "baseline_value": self.baseline_value,
            "n": self.n,
            "baseline_n": self.baseline_n,
            "psi": self.psi,
            "psi_excess": self.psi_excess,
            "kl": self.kl,
            "p_value": self.p_value,
            "alpha": self.alpha,
            "verdict": self.verdict.map(Verdict::name),
            "complete": self.complete,
            "contributors": contributors,
            "examples": examples,
            "runbook": self.runbook,
        })
    }
}

pub(super) fn verdict_from_name(name: &str) -> Option<Verdict> {
    [Verdict::Ok, Verdict::Drift, Verdict::InsufficientData].into_iter().find(|v| v.name() == name)
}

/// Floats as their bits: decimal text may be read back with other bits, and a restart must not
/// change a row.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(v: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
        v.map(f64::to_bits).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(f64::from_bits))
    }
}

mod verdicts {
    use super::{Verdict, verdict_from_name};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(v: &Option<Verdict>, s: S) -> Result<S::Ok, S::Error> {
        v.map(Verdict::name).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Verdict>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|name| {
                verdict_from_name(&name).ok_or_else(|| D::Error::custom(format!("{name:?} is not a verdict")))
            })
            .transpose()
    }
}

mod contributors {
    use super::Contributor;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(v: &[Contributor], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(
            v.iter()
                .map(|c| (&c.key, c.share.to_bits(), c.baseline_share.to_bits(), c.contribution.to_bits())),
        )
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Contributor>, D::Error> {
        let all = Vec::<(String, u64, u64, u64)>::deserialize(d)?.into_iter();
        Ok(all
            .map(|(key, share, baseline_share, contribution)| Contributor {
                key,
                share: f64::from_bits(share),
                baseline_share: f64::from_bits(baseline_share),
                contribution: f64::from_bits(contribution),
            })
            .collect())
    }
}

mod texts {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(v: &[Arc<str>], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(v.iter().map(|t| &**t))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Arc<str>>, D::Error> {
        Ok(Vec::<String>::deserialize(d)?.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{T, info, row};
    use super::*;

    #[test]
    fn an_id_depends_on_what_makes_an_alert_and_on_nothing_else() {
        let rule = info("prompt-drift", 0, 0);
        let one = AlertRow::new(&rule, AlertState::Pending, &row("tenant=birch", "prompt_tokens", T), T, T);
        let later =
            AlertRow::new(&rule, AlertState::Firing, &row("tenant=birch", "prompt_tokens", T + 1), T + 1, T);
        assert_eq!(one.id, later.id);
        assert_eq!(one.id.len(), 32);
        assert!(one.id.bytes().all(|b| b.is_ascii_hexdigit()));
        let other = AlertRow::new(&rule, AlertState::Pending, &row("tenant=cedar", "prompt_tokens", T), T, T);
        let again =
            AlertRow::new(&rule, AlertState::Pending, &row("tenant=birch", "prompt_tokens", T), T, T + 1);
        assert!(one.id != other.id && one.id != again.id);
    }

    #[test]
    fn an_id_does_not_depend_on_what_is_shown_of_the_segment() {
        let rule = info("sampler", 0, 0);
        let mut r = row("params_sampler=#00000000000000ab", "error", T);
        let hidden = AlertRow::new(&rule, AlertState::Pending, &r, T, T);
        r.segment = "params_sampler=euler".into();
        let shown = AlertRow::new(&rule, AlertState::Firing, &r, T + 1, T);
        assert_eq!(shown.id, hidden.id);
        assert_eq!(shown.segment, "params_sampler=euler");
        assert!(!shown.json().to_string().contains("00ab"));
    }

    #[test]
    fn the_storage_form_is_exact_where_decimal_text_is_not() {
        let mut r = AlertRow::new(&info("r", 0, 0), AlertState::Firing, &row("", "latency_ms", T), T, T);
        r.psi = Some(f64::from_bits(0x3fb9_9999_9999_999b));
        r.p_value = Some(f64::MIN_POSITIVE / 3.0);
        r.value = Some(f64::INFINITY);
        r.verdict = None;
        let back: AlertRow = serde_json::from_str(&serde_json::to_string(&r).unwrap()).unwrap();
        assert_eq!(back, r);
    }

    #[test]
    fn receivers_read_times_as_text_and_missing_numbers_as_null() {
        let r = AlertRow::new(
            &info("r", 0, 0),
            AlertState::Firing,
            &row("tenant=birch", "prompt_tokens", T),
            T,
            T,
        );
        let j = r.json();
        assert_eq!(j["at"], "2024-11-15T10:00:00Z");
        assert_eq!(j["contributors"][0]["key"], "anime");
        assert!(j["resolved_at"].is_null() && j["value"].is_null());
    }
}
