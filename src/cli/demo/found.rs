//! Which alerts found which incident, and which have nothing to do with any: decided from the labels and the `alerts` table alone.

use crate::alert::{AlertRow, AlertState};
use crate::config::segments::{name_of, parts};
use crate::event::time::parse;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An injected incident, as the labels tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentLabel {
    /// Its name: kind and number.
    pub id: String,
    /// What kind of incident it is.
    pub kind: String,
    /// Whom it touches.
    pub segment: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended; `None`: it lasts.
    pub end: Option<String>,
    /// Features that show it.
    pub signals: Vec<String>,
    /// Features that move because of it.
    pub follows: Vec<String>,
    /// What happens, for people.
    pub what: String,
}

/// Features that are counted from the same fields as another: they move whenever it does.
const TWINS: [(&str, &str); 1] = [("error", "error_code")];

/// How an alert stands to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It tells of the incident: a feature that shows it, in a segment that lies within the incident's.
    Detects,
    /// It is a consequence: a segment that shares traffic with the incident's, a feature that shows it or follows.
    Follows,
    /// It has nothing to do with it.
    None,
}

impl IncidentLabel {
    /// Reads the incidents out of labels.
    ///
    /// # Errors
    /// When the labels are not as [`crate::generate::labels`] makes them.
    pub fn all(labels: &Value) -> Result<Vec<Self>, serde_json::Error> {
        Vec::deserialize(&labels["incidents"])
    }

    /// "tenant=birch".
    #[must_use]
    pub fn segment_text(&self) -> String {
        let name = name_of(self.segment.iter().map(|(d, v)| (d.as_str(), v.as_str())));
        if name.is_empty() { "everything".into() } else { name }
    }

    /// When it began, microseconds.
    #[must_use]
    pub fn start_us(&self) -> i64 {
        parse(&self.start).unwrap_or(i64::MAX)
    }

    fn end_us(&self) -> i64 {
        self.end.as_deref().and_then(parse).unwrap_or(i64::MAX)
    }

    fn relation(&self, alert: &AlertRow) -> Relation {
        let segment: BTreeMap<_, _> = parts(&alert.segment).collect();
        let says = |d: &str| segment.get(d).map(|v| &**v);
        let within = self.segment.iter().all(|(d, v)| says(d) == Some(v));
        let shares = self.segment.iter().all(|(d, v)| says(d).is_none_or(|s| s == v));
        let overlaps = alert.window_end > self.start_us() && alert.window_start < self.end_us();
        let shows = self.signals.contains(&alert.feature);
        let twin = TWINS.iter().any(|(f, t)| alert.feature == *t && self.signals.iter().any(|s| s == f));
        if !overlaps {
            Relation::None
        } else if within && shows && alert.pending_since > self.start_us() {
            // Begun before the incident it would be a false alarm that happened to go on.
            Relation::Detects
        } else if shares && (shows || twin || self.follows.contains(&alert.feature)) {
            Relation::Follows
        } else {
            Relation::None
        }
    }
}

/// An incident and what was found of it.
#[derive(Debug, Clone, Serialize)]
pub struct IncidentFinding {
    /// What was injected.
    pub incident: IncidentLabel,
    /// The first alert that told of it; `None`: missed.
    pub first: Option<Detection>,
    /// Alerts that told of it, over all windows, segments and rules.
    pub alerts: usize,
}

/// The alert that told of an incident first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// Its id in `alerts`.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// The segment it fired for.
    pub segment: String,
    /// The feature.
    pub feature: String,
    /// The rolling window.
    pub window: String,
    /// The severity.
    pub severity: &'static str,
    /// When it fired, RFC 3339, in event time.
    pub at: String,
    /// Event time from the incident's start to the alert.
    pub delay_seconds: i64,
    /// Probability of so large a difference without drift.
    pub p_value: Option<f64>,
    /// What moved most: key, share in the baseline, share now.
    pub top: Option<(String, f64, f64)>,
    /// The feature's value in the baseline and now, where it has one.
    pub values: Option<(f64, f64)>,
    /// The alert's own sentence.
    pub summary: String,
}

/// An alert that no incident explains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnexplainedAlert {
    /// When it fired, RFC 3339.
    pub at: String,
    /// The rule.
    pub rule: String,
    /// The segment.
    pub segment: String,
    /// The feature.
    pub feature: String,
    /// The severity.
    pub severity: &'static str,
}

/// Everything that fired, sorted by what it has to do with.
#[derive(Debug, Clone, Serialize)]
pub struct DemoFindings {
    /// Per incident what was found.
    pub incidents: Vec<IncidentFinding>,
    /// Alerts that tell of consequences: features that follow, segments that share the traffic.
    pub consequences: usize,
    /// Alerts on segments that no incident or consequence touches.
    pub others: Vec<UnexplainedAlert>,
}

/// Sorts the alerts that fired.
#[must_use]
pub fn sort(labels: Vec<IncidentLabel>, alerts: &[AlertRow]) -> DemoFindings {
    let mut findings: Vec<(IncidentLabel, Vec<&AlertRow>)> =
        labels.into_iter().map(|l| (l, Vec::new())).collect();
    let (mut consequences, mut others) = (0, Vec::new());
    for alert in alerts.iter().filter(|a| a.state == AlertState::Firing) {
        let mut follows = false;
        let mut detects = false;
        for (label, found) in &mut findings {
            match label.relation(alert) {
                Relation::Detects => {
                    detects = true;
                    found.push(alert);
                }
                Relation::Follows => follows = true,
                Relation::None => {}
            }
        }
        if !detects && follows {
            consequences += 1;
        } else if !detects {
            others.push(UnexplainedAlert {
                at: crate::event::time::text(alert.at),
                rule: alert.rule.clone(),
                segment: alert.segment.clone(),
                feature: alert.feature.clone(),
                severity: alert.severity.name(),
            });
        }
    }
    let incidents = findings
        .into_iter()
        .map(|(incident, found)| {
            // Of several at the same time the one about the widest segment says most, then the most severe.
            let key = |a: &&&AlertRow| (a.at, a.segment.len(), std::cmp::Reverse(a.severity), a.id.clone());
            let first = found.iter().min_by_key(key).map(|a| detection(a, incident.start_us()));
            IncidentFinding { incident, first, alerts: found.len() }
        })
        .collect();
    DemoFindings { incidents, consequences, others }
}

fn detection(a: &AlertRow, start_us: i64) -> Detection {
    Detection {
        id: a.id.clone(),
        rule: a.rule.clone(),
        segment: a.segment.clone(),
        feature: a.feature.clone(),
        window: a.window.clone(),
        severity: a.severity.name(),
        at: crate::event::time::text(a.at),
        delay_seconds: (a.at - start_us) / 1_000_000,
        p_value: a.p_value,
        top: a.contributors.first().map(|c| (c.key.to_string(), c.baseline_share, c.share)),
        values: a.baseline_value.zip(a.value),
        summary: a.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    const MINUTE: i64 = 60_000_000;

    fn label(segment: &[(&str, &str)], end: Option<&str>) -> IncidentLabel {
        IncidentLabel {
            id: "latency-and-errors-1".into(),
            kind: "latency-and-errors".into(),
            segment: segment.iter().map(|(d, v)| ((*d).to_owned(), (*v).to_owned())).collect(),
            start: "2026-01-12T06:00:00Z".into(),
            end: end.map(Into::into),
            signals: vec!["latency_ms".into(), "error".into()],
            follows: vec!["cost_usd".into()],
            what: String::new(),
        }
    }

    /// An alert that fired this many minutes after six o'clock, about the hour before.
    fn alert(segment: &str, feature: &str, minutes: i64) -> AlertRow {
        let at = parse("2026-01-12T06:00:00Z").unwrap() + minutes * MINUTE;
        AlertRow {
            id: format!("{segment}/{feature}/{minutes}"),
            rule: "a-rule".into(),
            severity: Severity::High,
            state: AlertState::Firing,
            segment_by: String::new(),
            segment: segment.into(),
            identity: segment.into(),
            feature: feature.into(),
            window: "1h".into(),
            baseline: "rolling_7d".into(),
            at,
            pending_since: at - 30 * MINUTE,
            firing_since: Some(at),
            resolved_at: None,
            window_start: at - 60 * MINUTE,
            window_end: at,
            value: None,
            baseline_value: None,
            n: 0,
            baseline_n: 0,
            psi: None,
            psi_excess: None,
            kl: None,
            p_value: Some(1e-9),
            alpha: None,
            verdict: None,
            complete: true,
            contributors: Vec::new(),
            examples: Vec::new(),
            runbook: None,
            summary: String::new(),
        }
    }

    fn relation(label: &IncidentLabel, alert: &AlertRow) -> Relation {
        label.relation(alert)
    }

    #[test]
    fn an_alert_counts_for_an_incident_only_within_its_segment_and_by_its_signals() {
        let l = label(&[("region", "eu")], None);
        for (segment, feature, expected) in [
            ("region=eu", "latency_ms", Relation::Detects),
            ("model_version=M2,region=eu", "error", Relation::Detects),
            ("region=eu", "cost_usd", Relation::Follows),
            ("region=eu", "error_code", Relation::Follows),
            ("", "latency_ms", Relation::Follows),
            ("tenant=birch", "latency_ms", Relation::Follows),
            ("region=us", "latency_ms", Relation::None),
            ("region=eu-west", "latency_ms", Relation::None),
            ("region=eu", "nsfw", Relation::None),
        ] {
            assert_eq!(relation(&l, &alert(segment, feature, 90)), expected, "{segment} {feature}");
        }
    }

    #[test]
    fn what_was_wrong_before_the_incident_or_only_after_it_is_no_detection() {
        let l = label(&[("region", "eu")], Some("2026-01-12T08:00:00Z"));
        let at = |minutes| relation(&l, &alert("region=eu", "error", minutes));
        assert_eq!(at(-10), Relation::None, "before");
        assert_eq!(at(20), Relation::Follows, "it fires after the start, but its condition held before");
        assert_eq!(at(40), Relation::Detects);
        assert_eq!(at(170), Relation::Detects, "its window still holds the incident's end");
        assert_eq!(at(180), Relation::None, "its window begins when the incident is over");
    }

    #[test]
    fn the_first_alert_is_the_detection_and_missed_incidents_say_so() {
        let missed = label(&[("tenant", "fjord")], None);
        let labels = vec![label(&[("region", "eu")], None), missed];
        let mut resolved = alert("region=eu", "error", 31);
        resolved.state = AlertState::Resolved;
        let alerts = [
            alert("region=eu", "latency_ms", 80),
            alert("model_version=M2,region=eu", "error", 60),
            alert("region=eu", "error", 60),
            alert("region=eu", "cost_usd", 70),
            alert("region=us", "nsfw", 70),
            resolved,
        ];
        let found = sort(labels, &alerts);
        let first = found.incidents[0].first.as_ref().unwrap();
        assert_eq!((first.segment.as_str(), first.feature.as_str()), ("region=eu", "error"));
        assert_eq!((first.delay_seconds, first.at.as_str()), (3_600, "2026-01-12T07:00:00Z"));
        assert_eq!(found.incidents[0].alerts, 3);
        assert!(found.incidents[1].first.is_none());
        assert_eq!(found.consequences, 1);
        assert_eq!(found.others.len(), 1);
        assert_eq!(found.others[0].segment, "region=us");
    }

    #[test]
    fn labels_are_read_as_the_generator_writes_them() {
        let incident = "prompt-shift:tenant=birch:2026-01-12..2026-01-13".parse().unwrap();
        let settings = crate::generate::GeneratorSettings { incidents: vec![incident], ..Default::default() };
        let all = IncidentLabel::all(&crate::generate::labels(&settings)).unwrap();
        assert_eq!(all[0].segment_text(), "tenant=birch");
        assert_eq!(all[0].start_us(), parse("2026-01-12T00:00:00Z").unwrap());
        assert_eq!(all[0].end_us(), parse("2026-01-13T00:00:00Z").unwrap());
        assert!(all[0].signals.contains(&"prompt_tokens".to_owned()));
    }
}
