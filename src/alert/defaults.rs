//! The rules of the watch list, for a configuration without rules of its own.

use crate::config::{RuleEntry, parse};

/// The default rules as `driftglass check` shows them: a configuration that a user can copy from.
pub const DEFAULT_RULES_TOML: &str = include_str!("default_rules.toml");

/// The default rules.
#[must_use]
pub fn default_rules() -> Vec<RuleEntry> {
    parse(DEFAULT_RULES_TOML, "default_rules.toml", |_| None)
        .expect("the built-in rules read, as a test shows")
        .rules
}

/// The default rules for a job with these features, without those of features that a user has
/// switched off.
#[must_use]
pub fn default_rules_for(features: &[String]) -> Vec<RuleEntry> {
    let mut rules = default_rules();
    for r in &mut rules {
        r.feature.0.retain(|f| features.contains(f));
    }
    rules.retain(|r| !r.feature.0.is_empty());
    rules
}

#[cfg(test)]
mod tests {
    use super::super::observation::RuleOutcome;
    use super::super::rule::{RuleNames, Rules};
    use super::super::samples::{T, row};
    use super::*;
    use crate::config::features::{builtin, of_embeddings};
    use crate::store::rows::{Verdict, WindowRow, windows_batch};
    use std::collections::BTreeSet;

    fn features() -> Vec<String> {
        builtin().into_iter().chain(of_embeddings()).map(|f| f.name).collect()
    }

    fn rules() -> Rules {
        let known = RuleNames {
            dimensions: &[],
            features: &features(),
            windows: &[],
            groupings: &[],
            baselines: &[],
            pins: None,
        };
        Rules::compile(&default_rules(), &known).unwrap()
    }

    /// The names of the rules that hold for a row.
    fn holding(r: WindowRow) -> Vec<String> {
        let (rules, rows) = (rules(), [r]);
        let judged = rules.evaluate(&rows, &windows_batch(&rows, &[]).unwrap()).unwrap();
        let holds = judged.iter().filter(|j| j.outcome == RuleOutcome::Holds);
        holds.map(|j| rules.all()[j.rule].info.name.to_string()).collect()
    }

    /// A drifted row with these values before and now.
    fn moved(feature: &str, then: f64, now: f64) -> WindowRow {
        let mut r = row("tenant=birch", feature, T);
        (r.then.value, r.now.value) = (Some(then), Some(now));
        (r.then.quantiles, r.now.quantiles) =
            (Some([then, 2.0 * then, 3.0 * then]), Some([now, 2.0 * now, 3.0 * now]));
        r.kind = "numeric";
        r
    }

    #[test]
    fn every_feature_but_volume_has_a_rule() {
        let rules = default_rules();
        let watched: BTreeSet<&String> = rules.iter().flat_map(|r| &r.feature.0).collect();
        let left: Vec<String> = features().into_iter().filter(|f| !watched.contains(f)).collect();
        assert_eq!(left, ["volume"]);
    }

    #[test]
    fn each_rule_holds_in_its_direction_alone() {
        for (feature, then, bad, rule) in [
            ("latency_ms", 800.0, 1200.0, "latency-up"),
            ("deliver_latency_ms", 80.0, 120.0, "latency-up"),
            ("queue_wait_ms", 800.0, 1200.0, "queue-wait-up"),
            ("error", 0.01, 0.04, "error-rate-up"),
            ("cost_usd", 0.01, 0.02, "cost-up"),
            ("latency_tail", 0.015, 0.06, "latency-tail"),
            ("upscale_latency_tail", 0.015, 0.06, "latency-tail"),
            ("queue_wait_tail", 0.015, 0.06, "queue-wait-tail"),
            ("cost_tail", 0.015, 0.06, "cost-tail"),
            ("nsfw", 0.01, 0.03, "nsfw-up"),
            ("aesthetic", 6.0, 5.6, "quality-down"),
            ("clip_i", 0.80, 0.75, "quality-down"),
            ("style_distance", 0.2, 0.3, "style-distance-up"),
            ("face_ok", 0.9, 0.8, "faces-down"),
            ("accepted", 0.5, 0.4, "acceptance-down"),
            ("edited", 0.1, 0.2, "rework-up"),
            ("rerolls", 1.0, 2.0, "rework-up"),
        ] {
            assert_eq!(holding(moved(feature, then, bad)), [rule], "{feature}");
            assert!(holding(moved(feature, bad, then)).is_empty(), "{feature} the other way");
            let mut quiet = moved(feature, then, bad);
            quiet.verdict = Some(Verdict::Ok);
            assert!(holding(quiet).is_empty(), "{feature} without a verdict");
        }
    }

    #[test]
    fn a_mix_must_differ_by_more_than_sample_size_explains() {
        for (feature, rule) in [
            ("prompt_tokens", "prompt-drift"),
            ("prompt_length", "prompt-length"),
            ("language", "language-mix"),
            ("style_collection", "style-collection-mix"),
            ("sampler", "generation-settings"),
            ("loras", "generation-settings"),
            ("error_code", "error-taxonomy"),
            ("content_mix", "content-mix"),
            ("style_mix", "style-mix"),
        ] {
            let mut r = row("tenant=birch", feature, T);
            assert_eq!(holding(r.clone()), [rule]);
            r.scores.psi_excess = Some(0.05);
            assert!(holding(r).is_empty(), "{feature}");
        }
    }

    #[test]
    fn a_deploy_that_costs_a_tenth_of_quality_is_louder() {
        assert_eq!(holding(moved("aesthetic", 6.0, 5.0)), ["quality-down", "quality-drop"]);
    }

    #[test]
    fn the_first_unsafe_images_of_a_clean_segment_count() {
        assert_eq!(holding(moved("nsfw", 0.0, 0.02)), ["nsfw-up"]);
    }

    #[test]
    fn a_field_that_went_missing_counts_and_one_that_came_does_not() {
        let row_of = |then: f64, now: f64| {
            let mut r = row("tenant=birch", "missing", T);
            r.contributors.truncate(1);
            let c = &mut r.contributors[0];
            (c.baseline_share, c.share, c.contribution) = (then, now, if now > then { 3.0 } else { -3.0 });
            r
        };
        assert_eq!(holding(row_of(0.02, 0.2)), ["field-missing"], "a day's window needs a tenth");
        assert!(holding(row_of(0.02, 0.1)).is_empty());
        assert_eq!(holding(row_of(0.05, 0.95)), ["field-missing", "field-gone"]);
        assert!(holding(row_of(0.95, 0.05)).is_empty(), "a field that came");
        let short = |then, now| {
            let mut r = row_of(then, now);
            r.start = r.end - crate::event::time::HOUR;
            holding(r)
        };
        assert!(short(0.02, 0.2).is_empty(), "who is awake changes shares in windows of hours");
        assert_eq!(short(0.02, 0.5), ["field-missing"]);
        let mut none = row_of(0.0, 1.0);
        none.contributors.clear();
        assert!(holding(none).is_empty());
    }

    #[test]
    fn what_is_switched_off_is_not_asked_for() {
        let some = ["clip_i".to_owned(), "nsfw".to_owned()];
        let names: Vec<String> = default_rules_for(&some).into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["nsfw-up", "quality-down", "quality-drop"]);
    }
}
