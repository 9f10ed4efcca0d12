//! Rows and rules that the tests of this room share.

use super::observation::RuleInfo;
use super::row::{AlertRow, AlertState};
use crate::config::Severity;
use crate::event::time::HOUR;
use crate::store::rows::{Contributor, Scores, Side, Verdict, WindowRow};

/// 2024-11-15T10:00:00Z.
pub const T: i64 = 1_731_664_800_000_000;

/// An alert that fires.
pub fn firing() -> AlertRow {
    let mut alert = AlertRow::new(&info("r", 0, 0), AlertState::Firing, &row("", "nsfw", T), T, T);
    alert.firing_since = Some(T);
    alert
}

/// A drifted row of `feature` in the 24 h that end at `end`.
pub fn row(segment: &str, feature: &str, end: i64) -> WindowRow {
    WindowRow {
        start: end - 24 * HOUR,
        end,
        window: "24h".into(),
        segment_by: if segment.is_empty() { "" } else { "tenant" }.into(),
        segment: segment.into(),
        identity: segment.into(),
        feature: feature.into(),
        kind: "categorical",
        baseline: "rolling_7d".into(),
        baseline_id: None,
        baseline_days: 7,
        baseline_hours: Some(crate::baseline::BlocksOfWeek::ALL),
        now: Side { n: 5000, sessions: 900, value: None, quantiles: None },
        then: Side { n: 40_000, sessions: 7000, value: None, quantiles: None },
        scores: Scores {
            psi: Some(0.61),
            psi_excess: Some(0.55),
            kl: Some(0.3),
            p_value: Some(3e-9),
            ..Scores::default()
        },
        alpha: Some(1e-6),
        verdict: Some(Verdict::Drift),
        complete: true,
        contributors: vec![
            Contributor { key: "anime".into(), share: 0.051, baseline_share: 0.01, contribution: 0.067 },
            Contributor { key: "girl".into(), share: 0.04, baseline_share: 0.02, contribution: 0.014 },
        ],
        examples: vec!["r1".into(), "r2".into()],
    }
}

/// A rule whose alerts fire after `hold` and are resolved after `keep`.
pub fn info(name: &str, hold: i64, keep: i64) -> RuleInfo {
    RuleInfo {
        name: name.into(),
        severity: Severity::High,
        hold,
        keep_firing_for: keep,
        runbook: Some("https://example.org/runbooks/drift".into()),
    }
}
