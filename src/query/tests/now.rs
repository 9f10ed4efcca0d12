//! `drift_now` shows what the default rules would fire on, and nothing else of the features that
//! have one.

use super::*;
use crate::alert::{RuleNames, RuleOutcome, Rules, default_rules};
use crate::config::features::{FeatureKind, builtin, of_embeddings};

/// Rows of every feature that went up and down, a little and much, in windows of 6 and 24 hours.
fn moved() -> Vec<WindowRow> {
    let mut out = Vec::new();
    let changes = [0.5, 0.95, 1.0, 1.05, 1.5, 2.5];
    for feature in builtin().into_iter().chain(of_embeddings()).filter(|f| f.kind != FeatureKind::Volume) {
        for hours in [6, 24] {
            for change in changes {
                for (psi_excess, share, was) in
                    [(0.05, 0.3, 0.1), (0.2, 0.15, 0.02), (0.2, 0.95, 0.4), (0.2, 0.1, 0.6)]
                {
                    let segment = format!("tenant=t{}", out.len());
                    let mut row = window(BEGIN, &segment, &feature.name, Some(Verdict::Drift));
                    row.end = row.start + hours * HOUR;
                    row.window = format!("{hours}h").into();
                    row.kind = feature.kind.name();
                    row.then = Side { value: Some(0.2), quantiles: Some([800.0, 1200.0, 2000.0]), ..row.now };
                    row.now.value = Some(0.2 * change);
                    row.now.quantiles = Some([800.0, 1200.0, 2000.0].map(|q| q * change));
                    row.scores.psi_excess = Some(psi_excess);
                    let contribution = share - was;
                    row.contributors =
                        vec![Contributor { key: "k".into(), share, baseline_share: was, contribution }];
                    out.push(row);
                }
            }
        }
    }
    out.push(window(BEGIN, "tenant=own", "gpu_util", Some(Verdict::Drift)));
    out
}

#[tokio::test]
async fn drift_now_shows_what_a_default_rule_would_fire_on() {
    let rows = moved();
    let names: Vec<String> = builtin().into_iter().chain(of_embeddings()).map(|f| f.name).collect();
    let known = RuleNames {
        dimensions: &[],
        features: &names,
        windows: &[],
        groupings: &[],
        baselines: &[],
        pins: None,
    };
    let rules = Rules::compile(&default_rules(), &known).unwrap();
    let judged = rules.evaluate(&rows, &windows_batch(&rows, &[]).unwrap()).unwrap();
    let fires = judged.iter().filter(|j| j.outcome == RuleOutcome::Holds).map(|j| &*rows[j.row].segment);
    let mut want: Vec<&str> = fires.chain(["tenant=own"]).collect();
    want.sort_unstable();
    want.dedup();

    let dir = tempfile::tempdir().unwrap();
    // Each window length has a newest window of its own.
    let batch = windows_batch(&rows, &super::names().0.dimensions).unwrap();
    write(dir.path(), "windows", "2026-01-05", &to_parquet(&batch).unwrap());
    let ctx = open(dir.path()).await;
    let shown = query(&ctx, "SELECT segment FROM drift_now ORDER BY segment").await;
    let segments = shown.column(0).as_string_view();
    let got: Vec<&str> = (0..shown.num_rows()).map(|i| segments.value(i)).collect();
    assert_eq!(got, want);
    assert!(want.len() > 100 && want.len() < rows.len() - 100, "{} of {}", want.len(), rows.len());
    let all = query(&ctx, "SELECT count(*) FROM drift_details").await;
    let count = all.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0);
    assert_eq!(count as usize, rows.len(), "all that drifts");
}
