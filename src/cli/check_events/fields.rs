//! The fields of the event schema: which fields of a message are unknown, and which useful ones are
//! missing.

use crate::config::Config;
use crate::event::Text;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest name of an unknown field that is shown.
const LONGEST_NAME: usize = 40;
/// Digits that a name may have before it looks like an id.
const MOST_DIGITS: usize = 4;
/// How alike two names must be.
const ALIKE: f64 = 0.88;

/// Important fields (one per line is enough), and the consequence of their absence.
const USEFUL: [(&[&str], &str); 7] = [
    (
        &["session_id"],
        "each request counts as its own session: many requests of one person look like many people, so false alarms are likely",
    ),
    (
        &["user_id_hash"],
        "prompt tokens are never shown as text, since the number of users behind them is unknown",
    ),
    (
        &["prompt.text", "prompt.token_ids"],
        "prompts are not watched: no prompt_tokens, prompt_length or language",
    ),
    (
        &["model.version"],
        "speed and cost can't be compared per version: a shift of traffic between versions looks like a change of speed",
    ),
    (&["metrics.latency_ms"], "speed is not watched"),
    (&["metrics.cost_usd"], "cost is not watched"),
    (&["quality.aesthetic", "quality.clip_i", "outcome.accepted"], "image quality is not watched"),
];

/// The names that an object of the event may have.
#[derive(Debug, Default)]
pub(super) struct SchemaFields {
    fields: BTreeMap<String, SchemaFields>,
}

impl SchemaFields {
    /// The fields of a schema's object.
    pub(super) fn of(schema: &Value) -> Self {
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self { fields: properties.map(|(name, s)| (name.clone(), Self::of(s))).collect() }
    }

    /// Every dotted path, groups included.
    fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (name, below) in &self.fields {
            out.push(name.clone());
            out.extend(below.paths().into_iter().map(|p| format!("{name}.{p}")));
        }
        out
    }

    /// Calls `field` with the dotted path of every field of a message that is not null, and whether
    /// it is known.
    pub(super) fn walk(&self, message: &Map<String, Value>, field: &mut impl FnMut(&str, bool)) {
        self.walk_below("", message, field);
    }

    fn walk_below(&self, prefix: &str, object: &Map<String, Value>, field: &mut impl FnMut(&str, bool)) {
        for (name, value) in object.iter().filter(|(_, v)| !v.is_null()) {
            let path = format!("{prefix}{name}");
            match self.fields.get(name) {
                None => field(&path, false),
                Some(below) => {
                    field(&path, true);
                    // A field without nested names has a value, not a group.
                    if let Some(group) = value.as_object().filter(|_| !below.fields.is_empty()) {
                        below.walk_below(&format!("{path}."), group, field);
                    }
                }
            }
        }
    }

    /// The known field that an unknown name probably means.
    pub(super) fn nearest(&self, unknown: &str) -> Option<String> {
        let last = |p: &str| squashed(p.rsplit('.').next().unwrap_or(p));
        let (whole, name) = (squashed(unknown), last(unknown));
        let paths = self.paths();
        let same =
            paths.iter().find(|p| squashed(p) == whole).or_else(|| paths.iter().find(|p| last(p) == name));
        same.cloned().or_else(|| {
            let scored = paths.iter().map(|p| {
                (strsim::jaro_winkler(&name, &last(p)).max(strsim::jaro_winkler(&whole, &squashed(p))), p)
            });
            scored.filter(|(s, _)| *s > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, p)| p.clone())
        })
    }
}

/// A name reduced to what spellings have in common: `latencyMs` and `latency_ms` are the same.
fn squashed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether an unknown field's name may be shown. The keys of a map may be users or prompts, so only
/// what looks like a field name is shown.
pub(super) fn showable(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    !name.is_empty()
        && path.len() <= 2 * LONGEST_NAME
        && name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && path.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && name.chars().filter(char::is_ascii_digit).count() <= MOST_DIGITS
}

/// The useful fields that none of the events carries, and what goes without them: those of
/// [`USEFUL`], and the dimensions of the configuration's groupings.
pub(super) fn absent(config: &Config, carried: &BTreeMap<String, u64>) -> Vec<(String, String)> {
    let nobody = |path: &str| carried.get(path).is_none_or(|n| *n == 0);
    let mut out: Vec<(String, String)> = USEFUL
        .iter()
        .filter(|(paths, _)| paths.iter().all(|p| nobody(p)))
        .map(|(paths, without)| (paths.join(", "), (*without).to_owned()))
        .collect();
    let Ok(groupings) = config.groupings() else { return out };
    // The language is computed where it is absent.
    for d in groupings.dimensions.iter().filter(|d| **d != Text::Language && nobody(d.path())) {
        let by =
            groupings.all.iter().filter(|g| g.by.contains(d)).map(|g| format!("[{}]", g.columns.join(", ")));
        let without =
            format!("segments by {} have the single value __missing__", by.collect::<Vec<_>>().join(" and "));
        match out.iter_mut().find(|(path, _)| path == d.path()) {
            Some((_, text)) => *text += &format!("; {without}"),
            None => out.push((d.path().to_owned(), without)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> SchemaFields {
        SchemaFields::of(&serde_json::from_str(super::super::SCHEMA).unwrap())
    }

    #[test]
    fn another_spelling_is_recognised_wherever_it_stands() {
        for (unknown, meant) in [
            ("latencyms", "metrics.latency_ms"),
            ("metrics.latencyMs", "metrics.latency_ms"),
            ("metrics.latency", "metrics.latency_ms"),
            ("sessionId", "session_id"),
            ("user_id", "user_id_hash"),
            ("prompt_text", "prompt.text"),
            ("metrics.cost", "metrics.cost_usd"),
            ("tenent", "tenant"),
            ("quality.astetic", "quality.aesthetic"),
        ] {
            assert_eq!(known().nearest(unknown).as_deref(), Some(meant), "{unknown}");
        }
        assert_eq!(known().nearest("billing_address"), None);
    }

    #[test]
    fn names_that_look_like_data_are_not_shown() {
        for shown in ["latencyms", "meta.sd_xl-2", "_x"] {
            assert!(showable(shown), "{shown}");
        }
        for hidden in ["a cat on a mat", "", "u-99173254", "alice@example.org", "9f", "日本", &"x".repeat(41)]
        {
            assert!(!showable(hidden), "{hidden}");
        }
    }

    #[test]
    fn useful_fields_that_nobody_sends_are_told_with_what_they_cost() {
        let said = absent(&Config::default(), &BTreeMap::new());
        let of = |path: &str| said.iter().find(|(p, _)| p == path).map(|(_, t)| t.clone()).unwrap();
        assert!(of("session_id").contains("as its own session"));
        assert!(of("tenant").contains("[tenant] and [model_version, tenant]"));
        assert!(of("model.version").contains("per version") && of("model.version").contains("__missing__"));
        let all = known().paths().into_iter().map(|p| (p, 1)).collect();
        assert!(absent(&Config::default(), &all).is_empty());
    }
}
