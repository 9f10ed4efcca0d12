//! Labels of the injected incidents as JSON, to count hits, misses and false alarms.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::config::segments::name_of;

use super::dimensions::Tables;
use super::incident::{IncidentKind, InjectedIncident};
use super::names::Dimension;
use super::settings::GeneratorSettings;

/// The injected incidents with their segments, times and the features that show them.
///
/// `signals` are the features that an incident changes directly, `follows` those that change as a
/// consequence (cost with latency, acceptance with quality). `quiet` lists, for each of these
/// features, the tenants without an incident. Times are RFC 3339; an open `end` is null.
pub fn labels(settings: &GeneratorSettings) -> Value {
    let rfc = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let incidents = settings.incidents.iter().enumerate().map(|(i, incident)| {
        let segment: Map<String, Value> =
            incident.segment.0.iter().map(|(d, value)| (d.name().to_owned(), json!(value))).collect();
        let (signals, follows) = features(&incident.kind);
        json!({
            "id": format!("{}-{}", incident.kind.name(), i + 1),
            "kind": incident.kind.name(),
            "segment": segment,
            "start": rfc(incident.start),
            "end": incident.end.map(rfc),
            "signals": signals,
            "follows": follows,
            "what": describe(&incident.kind),
            "spec": incident.to_string(),
        })
    });
    let incidents: Vec<Value> = incidents.collect();
    json!({
        "seed": settings.seed,
        "first": rfc(settings.start),
        "last": rfc(settings.start + settings.duration),
        "quiet": quiet(settings),
        "incidents": incidents,
    })
}

/// Features that an incident changes directly, and those that follow.
fn features(kind: &IncidentKind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        IncidentKind::PromptShift { .. } => (
            &["prompt_tokens", "style_collection"],
            &["prompt_length", "embedding", "content_mix", "style_mix", "style_distance"],
        ),
        IncidentKind::StyleShift { .. } => (&["embedding", "style_distance"], &["content_mix", "style_mix"]),
        IncidentKind::AestheticDrop { .. } => (&["aesthetic", "clip_i"], &["accepted"]),
        IncidentKind::LatencyAndErrors { .. } => {
            (&["latency_ms", "error"], &["latency_tail", "cost_usd", "cost_tail", "accepted"])
        }
        IncidentKind::NsfwRise { .. } => (&["nsfw"], &[]),
        IncidentKind::CostRise { .. } => (&["cost_usd"], &["cost_tail"]),
        IncidentKind::AcceptanceDrop { .. } => (&["accepted"], &[]),
        IncidentKind::LanguageShift { .. } => (&["language", "prompt_tokens"], &["prompt_length"]),
        IncidentKind::VolumeDrop { .. } => (&["volume"], &[]),
        IncidentKind::LatencyTail { .. } => (&["latency_ms", "latency_tail"], &["cost_usd", "cost_tail"]),
        IncidentKind::NewLora { .. } => (&["loras"], &[]),
    }
}

fn describe(kind: &IncidentKind) -> String {
    let percent = |share: f64| (share * 100.0).round();
    match kind {
        IncidentKind::PromptShift { share } => {
            format!(
                "{}% of the segment's sessions turn to anime prompts and the anime style",
                percent(*share)
            )
        }
        IncidentKind::AestheticDrop { delta } => {
            format!(
                "a new checkpoint_hash, whose images score {delta} lower in aesthetic and {} in clip_i",
                delta / 20.0
            )
        }
        IncidentKind::LatencyAndErrors { factor, error_rate } => {
            format!("latency times {factor}, and {}% more of the requests time out", percent(*error_rate))
        }
        IncidentKind::NsfwRise { factor } => format!("the rate of flagged images times {factor}"),
        IncidentKind::CostRise { factor } => format!("cost times {factor} for the same work"),
        IncidentKind::AcceptanceDrop { factor } => format!("the acceptance rate times {factor}"),
        IncidentKind::LanguageShift { share, to } => {
            format!("{}% of the segment's sessions write in `{to}`", percent(*share))
        }
        IncidentKind::VolumeDrop { factor } => format!("traffic times {factor}"),
        IncidentKind::LatencyTail { share, factor } => {
            format!("{}% of the requests take {factor} times as long", percent(*share))
        }
        IncidentKind::NewLora { share } => {
            format!("{}% of the segment's sessions use a LoRA that did not exist before", percent(*share))
        }
        IncidentKind::StyleShift { share } => {
            format!(
                "{}% of the segment's sessions get images in the anime style, regardless of their prompts",
                percent(*share)
            )
        }
    }
}

fn quiet(settings: &GeneratorSettings) -> Map<String, Value> {
    let tables = Tables::new(settings.tenants);
    let touches = |incident: &InjectedIncident, tenant: &str| {
        incident.segment.0.iter().all(|(d, value)| *d != Dimension::Tenant || value == tenant)
    };
    let shows = |incident: &InjectedIncident, feature: &str| {
        let (signals, follows) = features(&incident.kind);
        signals.contains(&feature) || follows.contains(&feature)
    };
    let mut quiet = Map::new();
    for (signals, follows) in settings.incidents.iter().map(|incident| features(&incident.kind)) {
        for feature in signals.iter().chain(follows) {
            let tenants: Vec<String> = tables
                .tenant_names
                .iter()
                .filter(|tenant| !settings.incidents.iter().any(|i| shows(i, feature) && touches(i, tenant)))
                .map(|tenant| name_of([("tenant", tenant.as_str())]))
                .collect();
            quiet.insert((*feature).to_owned(), json!(tenants));
        }
    }
    quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_was_injected_and_who_stays_quiet() {
        let incidents: Vec<InjectedIncident> = [
            "prompt-shift:tenant=birch:2026-01-12:share=0.6",
            "latency-and-errors:region=ap-south:2026-01-13..2026-01-14",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec();
        let labels = labels(&GeneratorSettings { incidents, ..GeneratorSettings::default() });
        let shift = &labels["incidents"][0];
        assert_eq!(shift["id"], "prompt-shift-1");
        assert_eq!(shift["segment"], json!({"tenant": "birch"}));
        assert_eq!(shift["start"], "2026-01-12T00:00:00Z");
        assert_eq!(shift["end"], Value::Null);
        assert_eq!(shift["signals"], json!(["prompt_tokens", "style_collection"]));
        assert_eq!(shift["what"], "60% of the segment's sessions turn to anime prompts and the anime style");
        assert_eq!(labels["incidents"][1]["end"], "2026-01-14T00:00:00Z");
        let follows = json!(["latency_tail", "cost_usd", "cost_tail", "accepted"]);
        assert_eq!(labels["incidents"][1]["follows"], follows);
        let quiet = labels["quiet"]["prompt_tokens"].as_array().unwrap();
        assert_eq!(quiet.len(), 5);
        assert!(!quiet.contains(&json!("tenant=birch")));
        assert_eq!(labels["quiet"]["latency_ms"], json!([]), "the region has traffic of every tenant");
    }
}
