//! Alerts of known causes, and the incidents that come of them.

use super::*;
use crate::alert::samples::{T, firing};
use crate::alert::{AlertRow, AlertState};
use crate::event::time::HOUR;

fn alert(segment: &str, feature: &str, hour: i64) -> AlertRow {
    let at = T + hour * HOUR;
    let (segment, feature) = (segment.to_owned(), feature.to_owned());
    let id = format!("{segment}/{feature}/{hour}");
    AlertRow { id, identity: segment.clone(), segment, feature, at, pending_since: at - HOUR, ..firing() }
}

fn ended(of: &AlertRow, state: AlertState, hour: i64) -> AlertRow {
    AlertRow { state, at: T + hour * HOUR, ..of.clone() }
}

/// Lead segment, lead feature and number of alerts of each incident.
fn grouped(alerts: &[AlertRow]) -> Vec<(String, String, usize)> {
    let mut book = IncidentBook::default();
    book.observe(alerts);
    let about = |of: &Incident| (of.lead.segment.clone(), of.lead.feature.clone(), of.alerts.len());
    book.incidents().iter().map(about).collect()
}

fn is(segment: &str, feature: &str, alerts: usize) -> (String, String, usize) {
    (segment.to_owned(), feature.to_owned(), alerts)
}

#[test]
fn what_follows_from_one_cause_is_one_incident_and_another_cause_another() {
    let prompts = alert("tenant=birch", "prompt_tokens", 0);
    let all = [
        prompts.clone(),
        alert("tenant=birch", "embedding", 1),
        alert("region=eu,tenant=birch", "prompt_tokens", 2),
        alert("", "prompt_tokens", 3),
        alert("model_version=sdxl", "prompt_tokens", 4),
        // Another tenant conflicts; another family in all traffic has nothing to do with it.
        alert("tenant=oak", "prompt_tokens", 5),
        alert("", "latency_ms", 6),
        alert("region=eu", "latency_tail", 7),
    ];
    let want = [
        is("tenant=birch", "prompt_tokens", 5),
        is("tenant=oak", "prompt_tokens", 1),
        is("region=eu", "latency_tail", 2),
    ];
    assert_eq!(grouped(&all), want);
    let mut shuffled = all.to_vec();
    shuffled.reverse();
    assert_eq!(grouped(&shuffled), want, "in whatever order they come");
}

#[test]
fn the_lead_becomes_what_is_nearer_to_the_cause() {
    assert_eq!(
        grouped(&[alert("model_version=a", "accepted", 0), alert("model_version=a", "error", 5)]),
        [is("model_version=a", "error", 2)]
    );
    assert_eq!(
        grouped(&[alert("model_version=a", "accepted", 0), alert("model_version=a", "error", 30)]),
        [is("model_version=a", "accepted", 2)],
        "but not a day later"
    );
    assert_eq!(
        grouped(&[alert("model_version=a,region=eu", "error", 0), alert("region=eu", "error", 1)]),
        [is("region=eu", "error", 2)]
    );
}

#[test]
fn an_incident_lives_for_a_day_after_its_last_change() {
    let first = alert("tenant=birch", "error", 0);
    let over = ended(&first, AlertState::Resolved, 5);
    assert_eq!(grouped(&[first.clone(), over.clone(), alert("tenant=birch", "error", 28)]).len(), 1);
    assert_eq!(grouped(&[first.clone(), over.clone(), alert("tenant=birch", "error", 30)]).len(), 2);
    let mut book = IncidentBook::default();
    book.observe(&[first.clone(), over]);
    let state = |hour: i64| book.incidents()[0].state(T + hour * HOUR);
    assert_eq!([state(20), state(30)], [IncidentState::Open, IncidentState::Resolved]);
    // One that has gone silent returns to its own.
    let silent = [first.clone(), ended(&first, AlertState::Stale, 5), ended(&first, AlertState::Firing, 90)];
    assert_eq!(grouped(&silent), [is("tenant=birch", "error", 1)]);
    // While it fires it does not end.
    assert_eq!(grouped(&[first, alert("tenant=birch", "cost_usd", 200)]).len(), 1);
}

#[test]
fn it_can_be_observed_piece_by_piece() {
    let first = alert("tenant=birch", "error", 0);
    let all = [
        first.clone(),
        alert("", "error", 1),
        ended(&first, AlertState::Resolved, 2),
        alert("tenant=oak", "nsfw", 3),
    ];
    let (mut whole, mut pieces) = (IncidentBook::default(), IncidentBook::default());
    whole.observe(&all);
    all.iter().for_each(|a| pieces.observe(std::slice::from_ref(a)));
    assert_eq!(whole, pieces);
    assert_eq!(whole.incidents()[0].alerts.len(), 2);
    assert_eq!(whole.incidents()[1].severity, firing().severity);
}

#[test]
fn a_headline_says_what_where_and_since_when() {
    let mut rate = alert("tenant=birch", "error", 1);
    (rate.value, rate.baseline_value, rate.psi) = (Some(0.09), Some(0.0167), None);
    let text = |a: &AlertRow| {
        let mut book = IncidentBook::default();
        book.observe(std::slice::from_ref(a));
        headline(&book.incidents()[0])
    };
    assert_eq!(text(&rate), "tenant=birch: error 1.67 % → 9 % since 2024-11-15T10:00:00Z");
    let mut mean = alert("", "aesthetic", 1);
    (mean.value, mean.baseline_value) = (Some(5.2), Some(5.8));
    assert_eq!(text(&mean), "all traffic: aesthetic 5.8 → 5.2 since 2024-11-15T10:00:00Z");
    let prompts = text(&alert("tenant=birch", "prompt_tokens", 1));
    assert_eq!(prompts, "tenant=birch: prompts: anime 1 % → 5.1 % since 2024-11-15T10:00:00Z");
}

#[test]
fn families_know_stages_units_and_tails() {
    let same = |a: &str, b: &str| Family::of(a) == Family::of(b);
    assert!(same("latency_ms", "upscale_latency_tail") && same("cost_usd", "ingest_error"));
    assert!(
        !same("latency_ms", "accepted")
            && !same("my_feature", "my_other")
            && same("my_feature", "my_feature")
    );
}
