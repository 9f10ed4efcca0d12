//! A small job's output, queried: results against what the library computes from the same sketches.

use super::session::{SqlSession, VIEWS};
use super::shell::{Script, execute};
use super::tables::PublicTable;
use super::*;
use crate::baseline::{BaselineInfo, BlocksOfWeek, Prepared, UnseenDays};
use crate::config::features::{Feature, FeatureKind, Test, builtin, scaled};
use crate::config::segments::Groupings;
use crate::drift::{Contributor, Scores, Side, Verdict};
use crate::enrich::token_of;
use crate::sketch::{
    Body, CategorySketch, NumericSketch, RateSketch, Sketch, SketchId, TokenSketch, session_bucket,
};
use crate::store::panes::{TableNames, encode, to_parquet};
use crate::store::rows::{WindowRow, texts, timestamps, windows_batch};
use crate::window::{PaneRow, Segment, SketchSet};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type, UInt64Type};
use datafusion::prelude::SessionContext;
use std::path::Path;
use std::sync::Arc;

#[path = "tests/now.rs"]
mod now_tests;
#[path = "tests/shell.rs"]
mod shell_tests;

use shell_tests::printed;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2026-01-05, a Monday.
const BEGIN: i64 = 1_767_571_200_000_000;
const MIN_USERS: u32 = 5;

/// Whole streams and tenants; tokens, sampler, latency, length and errors.
fn names() -> (TableNames, Vec<Feature>) {
    let groupings = Groupings::new(&[vec![], vec!["tenant".to_owned()]]).unwrap();
    let wanted = ["prompt_tokens", "sampler", "latency_ms", "prompt_length", "error"];
    let features: Vec<Feature> =
        wanted.iter().map(|w| builtin().into_iter().find(|f| f.name == *w).unwrap()).collect();
    (TableNames::new(Arc::new(groupings), &features), features)
}

fn token(word: &str) -> u16 {
    u16::try_from(token_of(word).unwrap()).unwrap()
}

/// One hour's sketches, in the order of the features. A later hour has other words, samplers and
/// latencies; the word "zebra" is that of one user alone, and "owl" of nobody known.
fn hour(i: u64) -> Vec<Sketch> {
    let (_, features) = names();
    let mut tokens = TokenSketch::default();
    let mut sampler = CategorySketch::default();
    let (mut latency, mut length) = (NumericSketch::default(), NumericSketch::default());
    let mut error = RateSketch::default();
    for e in 0..400u64 {
        let session = (e / 2 + i * 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bucket = session_bucket(session);
        let word = ["dog", "cat", "tree", "anime"][((e * (i + 1)) % 4) as usize];
        tokens.add(&[token(word), token("photo")], bucket, session, Some(e % 50));
        let sampled = if e % (3 + i) == 0 { "ddim" } else { "euler" };
        sampler.add(&[Arc::from(sampled)], bucket, session, None);
        let ms = 900.0 + (e % 100) as f64 * (10.0 + i as f64);
        latency.add(ms, ms, scaled(features[2].log, ms), bucket, session, features[2].test == Test::Shape);
        let characters = 20.0 + ((e * 7 + i * 30) % 200) as f64;
        length.add(characters, characters, characters, bucket, session, features[3].test == Test::Shape);
        error.add(e % 20 == 0, bucket, session, (e, "r"));
    }
    (0..30).for_each(|_| tokens.add(&[token("zebra")], 3, 3 << 59, Some(11)));
    (0..30).for_each(|_| tokens.add(&[token("owl")], 4, 4 << 59, None));
    let bodies = [
        Body::Tokens(tokens),
        Body::Category(sampler),
        Body::Numeric(latency),
        Body::Numeric(length),
        Body::Rate(error),
    ];
    bodies.into_iter().zip(1..).map(|(body, id)| Sketch { id: SketchId(id), body }).collect()
}

fn write(root: &Path, table: &str, date: &str, bytes: &[u8]) {
    let folder = root.join(table).join(format!("date={date}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("part.parquet"), bytes).unwrap();
}

fn pane(start: i64, grouping: u16, segment: &str, sketches: Vec<Sketch>) -> PaneRow {
    PaneRow {
        start,
        close_at: start + HOUR,
        segment: Segment { grouping, name: Arc::from(segment) },
        contents: SketchSet { sketches: sketches.into_iter().map(|s| Some(Box::new(s))).collect() },
    }
}

fn window(start: i64, segment: &str, feature: &str, verdict: Option<Verdict>) -> WindowRow {
    let drift = verdict == Some(Verdict::Drift);
    WindowRow {
        start,
        end: start + HOUR,
        window: "1h".into(),
        segment_by: "tenant".into(),
        segment: segment.into(),
        identity: segment.into(),
        feature: feature.into(),
        kind: "numeric",
        baseline: "rolling_7d".into(),
        baseline_id: None,
        baseline_days: 7,
        baseline_hours: Some(crate::baseline::BlocksOfWeek::ALL),
        now: Side { n: 100, sessions: 50, value: Some(1.0), quantiles: Some([1.0, 2.0, 3.0]) },
        then: Side { quantiles: Some([0.8, 1.6, 2.4]), ..Side::default() },
        scores: Scores { psi_excess: drift.then_some(0.4), p_value: Some(0.5), ..Scores::default() },
        alpha: Some(1e-6),
        verdict,
        complete: true,
        contributors: vec![Contributor {
            key: "anime".into(),
            share: 0.2,
            baseline_share: 0.1,
            contribution: 0.07,
        }],
        examples: vec!["r1".into()],
    }
}

/// Two days of panes (two hours each) and a day of windows.
fn job(root: &Path) {
    let (names, _) = names();
    for (day, date) in [(0, "2026-01-05"), (1, "2026-01-06")] {
        let rows: Vec<PaneRow> = (0..2)
            .flat_map(|h| {
                let at = BEGIN + day * DAY + h * HOUR;
                let i = (day * 2 + h) as u64;
                [pane(at, 0, "", hour(i)), pane(at, 1, "tenant=birch", hour(i))]
            })
            .collect();
        write(root, "panes", date, &encode(&rows, HOUR, &names).unwrap());
    }
    let (ok, drift, scarce) = (Some(Verdict::Ok), Some(Verdict::Drift), Some(Verdict::InsufficientData));
    let rows = [
        window(BEGIN, "tenant=birch", "latency_ms", ok),
        window(BEGIN + HOUR, "tenant=birch", "latency_ms", drift),
        window(BEGIN + 2 * HOUR, "tenant=birch", "latency_ms", ok),
        window(BEGIN + 3 * HOUR, "tenant=birch", "latency_ms", drift),
        window(BEGIN + 4 * HOUR, "tenant=birch", "latency_ms", drift),
        // Drifted when it was last seen, which is long ago.
        window(BEGIN, "tenant=silent", "latency_ms", drift),
        window(BEGIN + 4 * HOUR, "tenant=small", "latency_ms", scarce),
        window(BEGIN + 4 * HOUR, "tenant=birch", "volume", None),
    ];
    let batch = windows_batch(&rows, &names.dimensions).unwrap();
    write(root, "windows", "2026-01-05", &to_parquet(&batch).unwrap());
}

fn batch(schema: arrow::datatypes::SchemaRef, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let rows = columns[0].1.len();
    let of = |f: &Arc<arrow::datatypes::Field>| {
        let given = columns.iter().find(|c| c.0 == f.name()).map(|c| Arc::clone(&c.1));
        given.unwrap_or_else(|| arrow::array::new_null_array(f.data_type(), rows))
    };
    let columns = schema.fields().iter().map(of).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// An alert that fired and was resolved after half an hour, and two rejects.
fn alerts_and_rejects(root: &Path) {
    let at = timestamps([Some(BEGIN), Some(BEGIN + HOUR / 2)].into_iter());
    let alerts = batch(
        PublicTable::Alerts.schema(&[]),
        &[
            ("id", texts([Some("a"), Some("a")].into_iter())),
            ("state", texts([Some("firing"), Some("resolved")].into_iter())),
            ("at", at),
            ("firing_since", timestamps([Some(BEGIN), Some(BEGIN)].into_iter())),
            ("resolved_at", timestamps([None, Some(BEGIN + HOUR / 2)].into_iter())),
        ],
    );
    write(root, "alerts", "2026-01-05", &to_parquet(&alerts).unwrap());
    let rejects = batch(
        PublicTable::Rejects.schema(&[]),
        &[
            ("time", timestamps([Some(BEGIN + 1), None].into_iter())),
            ("partition", Arc::new(Int32Array::from(vec![0, 0]))),
            ("offset", Arc::new(Int64Array::from(vec![1, 2]))),
            ("reason", texts([Some("bad_json"), Some("bad_json")].into_iter())),
            ("fatal", Arc::new(BooleanArray::from(vec![true, true]))),
        ],
    );
    write(root, "rejects", "2026-01-05", &to_parquet(&rejects).unwrap());
}

async fn session(dir: &str, dimensions: &[String], min_users: u32) -> Result<SessionContext, QueryError> {
    Ok(SqlSession::open(dir, dimensions, min_users).await?.ctx)
}

async fn open(root: &Path) -> SessionContext {
    session(root.to_str().unwrap(), &names().0.dimensions, MIN_USERS).await.unwrap()
}

async fn query(ctx: &SessionContext, sql: &str) -> RecordBatch {
    let df = ctx.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let schema = df.schema().as_arrow().clone();
    let batches = df.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    arrow::compute::concat_batches(&Arc::new(schema), &batches).unwrap()
}

async fn fails(ctx: &SessionContext, sql: &str) -> String {
    match ctx.sql(sql).await {
        Err(e) => e.to_string(),
        Ok(df) => df.collect().await.expect_err(sql).to_string(),
    }
}

fn floats(batch: &RecordBatch, column: usize) -> Vec<Option<f64>> {
    batch.column(column).as_primitive::<Float64Type>().iter().collect()
}

fn merged(a: &Sketch, b: &Sketch) -> Sketch {
    let mut out = a.clone();
    out.merge(b).unwrap();
    out
}

#[tokio::test]
async fn merging_in_sql_gives_the_merged_sketch() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let got = query(
        &ctx,
        "SELECT feature, merge_sketch(sketch) FROM panes WHERE segment_by = 'tenant' AND date = '2026-01-05' \
         GROUP BY feature ORDER BY feature",
    )
    .await;
    let (names, _) = names();
    assert_eq!(got.num_rows(), 5);
    for i in 0..5 {
        let feature = got.column(0).as_string_view().value(i);
        let f = names.features.iter().position(|n| &**n == feature).unwrap();
        let want = merged(&hour(0)[f], &hour(1)[f]).encode();
        assert_eq!(got.column(1).as_binary_view().value(i), want.as_slice(), "{feature}");
    }
    let none = query(&ctx, "SELECT merge_sketch(sketch) FROM panes WHERE feature = 'none'").await;
    assert!(none.column(0).is_null(0), "of no rows there is no sketch");
}

#[tokio::test]
async fn a_sliding_frame_merges_just_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let got = query(
        &ctx,
        "SELECT merge_sketch(sketch) OVER (ORDER BY start ROWS 1 PRECEDING) FROM panes \
         WHERE feature = 'latency_ms' AND segment = '' ORDER BY start",
    )
    .await;
    let hours: Vec<Sketch> = (0..4).map(|i| hour(i).remove(2)).collect();
    let column = got.column(0).as_binary_view();
    assert_eq!(column.value(0), hours[0].encode().as_slice());
    for i in 1..4 {
        assert_eq!(column.value(i), merged(&hours[i - 1], &hours[i]).encode().as_slice(), "frame {i}");
    }
}

#[tokio::test]
async fn distances_in_sql_are_those_of_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let got = query(
        &ctx,
        "WITH days AS (SELECT date, feature, merge_sketch(sketch) AS s FROM panes WHERE segment = '' GROUP BY date, feature) \
         SELECT psi(b.s, w.s), psi_excess(b.s, w.s), kl(b.s, w.s), js(b.s, w.s), wasserstein(b.s, w.s), p_value(b.s, w.s), \
         b.feature FROM days b JOIN days w ON b.feature = w.feature AND b.date = '2026-01-05' AND w.date = '2026-01-06'",
    )
    .await;
    let (names, features) = names();
    assert_eq!(got.num_rows(), 5);
    for row in 0..5 {
        let name = got.column(6).as_string_view().value(row);
        let f = names.features.iter().position(|n| &**n == name).unwrap();
        let (then, now) = (merged(&hour(0)[f], &hour(1)[f]), merged(&hour(2)[f], &hour(3)[f]));
        let about = BaselineInfo {
            name: "b".into(),
            id: "".into(),
            days: 7,
            enough_days: true,
            blocks: BlocksOfWeek::ALL,
            unseen: UnseenDays::default(),
            hours: 24.0,
        };
        let want =
            Prepared::new(about, &features[f], &then, None).compare(&features[f], &now, None).unwrap().scores;
        let got: Vec<Option<f64>> = (0..6).map(|c| floats(&got, c)[row]).collect();
        let want = [want.psi, want.psi_excess, want.kl, want.js, want.wasserstein, want.p_value];
        assert_eq!(got, want, "{name}");
        assert!(
            want[0].is_some() != (features[f].kind == FeatureKind::Rate),
            "{name} has bins unless it is a rate"
        );
        assert!(want[5].is_some(), "{name} is tested");
    }
}

#[tokio::test]
async fn categories_of_which_events_carry_several_are_tested_as_the_engine_tests_them() {
    let loras = builtin().into_iter().find(|f| f.name == "loras").unwrap();
    let of = |share: u64| {
        let mut sketch = CategorySketch::default();
        for e in 0..400u64 {
            let session = (e / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let names = ["a", "b", "c"].into_iter().filter(|n| *n != "b" || e % 10 < share);
            sketch.add_names(names, session_bucket(session), session, None);
        }
        Sketch { id: SketchId(1), body: Body::Category(sketch) }
    };
    let (then, now) = (of(5), of(6));
    let about = BaselineInfo {
        name: "b".into(),
        id: "".into(),
        days: 7,
        enough_days: true,
        blocks: BlocksOfWeek::ALL,
        unseen: UnseenDays::default(),
        hours: 24.0,
    };
    let scores = Prepared::new(about, &loras, &then, None).compare(&loras, &now, None).unwrap().scores;
    let dir = tempfile::tempdir().unwrap();
    let ctx = open(dir.path()).await;
    let hex = |s: &Sketch| s.encode().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let sql = format!("SELECT p_value(X'{0}', X'{1}'), psi(X'{0}', X'{1}')", hex(&then), hex(&now));
    let got = query(&ctx, &sql).await;
    assert_eq!((floats(&got, 0), floats(&got, 1)), (vec![scores.p_value], vec![scores.psi]));
    assert!(scores.p_value.is_some());
}

#[tokio::test]
async fn what_a_sketch_says_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let got = query(
        &ctx,
        "SELECT sketch_n(sketch), sketch_sessions(sketch), sketch_mean(sketch), sketch_quantile(sketch, 0.95), \
         quantile(sketch, 0.95), feature FROM panes WHERE segment = '' AND start = '2026-01-05T00:00:00Z' ORDER BY feature",
    )
    .await;
    let sketches = hour(0);
    let Body::Numeric(latency) = &sketches[2].body else { panic!("latency is a number") };
    let row = |name: &str| (0..5).find(|i| got.column(5).as_string_view().value(*i) == name).unwrap();
    let (l, e, t) = (row("latency_ms"), row("error"), row("prompt_tokens"));
    assert_eq!(got.column(0).as_primitive::<UInt64Type>().value(l), 400);
    assert_eq!(got.column(1).as_primitive::<UInt64Type>().value(l), sketches[2].sessions().count());
    assert_eq!(floats(&got, 2)[l], latency.mean());
    assert_eq!(floats(&got, 3)[l], latency.quantiles().quantile(0.95));
    assert_eq!(floats(&got, 4), floats(&got, 3), "the short name is the same function");
    assert_eq!(
        (floats(&got, 2)[e], floats(&got, 3)[e]),
        (Some(0.05), None),
        "a rate has a mean and no quantile"
    );
    assert_eq!((floats(&got, 2)[t], floats(&got, 3)[t]), (None, None), "tokens have neither");
    // A volume is kept as a rate that never holds.
    let counted = |requests: bool| {
        let mut r = RateSketch::default();
        (0..400).for_each(|e| r.count((e % 32) as u8, e << 50, requests.then_some((e, "r")), None));
        Sketch { id: SketchId(9), body: Body::Rate(r) }.encode()
    };
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let volume = format!("X'{}'", hex(counted(true)));
    let sql = format!("SELECT sketch_mean({volume}), p_value({volume}, {volume}), psi({volume}, {volume})");
    let got = query(&ctx, &sql).await;
    assert!(got.columns().iter().all(|c| c.is_null(0)), "a volume has no mean and no test");
    let never = format!("X'{}'", hex(counted(false)));
    let got = query(&ctx, &format!("SELECT sketch_mean({never}), p_value({never}, {never})")).await;
    assert_eq!((floats(&got, 0), floats(&got, 1)), (vec![Some(0.0)], vec![Some(1.0)]), "an error rate of 0");
    let avg = query(&ctx, "SELECT mean(n), count(*) FROM panes").await;
    assert_eq!(avg.num_rows(), 1, "DataFusion's own mean still works");
}

#[tokio::test]
async fn nulls_go_through_and_mistakes_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let ctx = open(dir.path()).await;
    let got = query(
        &ctx,
        "SELECT psi(NULL, sketch), psi(sketch, NULL), sketch_mean(NULL), sketch_quantile(sketch, NULL), top_tokens(NULL, 3), \
         top_tokens(sketch, NULL), token_text(NULL), token_id(NULL), token_text(-1) FROM panes LIMIT 1",
    )
    .await;
    assert!(got.columns().iter().all(|c| c.is_null(0)));
    for (sql, part) in [
        ("SELECT psi(segment, sketch) FROM panes", "argument 1 of psi(baseline, window) must be a sketch"),
        ("SELECT psi(sketch) FROM panes", "takes 2 arguments, 1 given"),
        ("SELECT merge_sketch(n) FROM panes", "must be a sketch (the column sketch of panes"),
        ("SELECT top_tokens(sketch, 'x') FROM panes", "must be a whole number"),
        ("SELECT sketch_quantile(sketch, 95) FROM panes", "between 0 and 1, not at 95"),
        ("SELECT top_tokens(sketch, -1) FROM panes", "can't be -1"),
        ("SELECT sketch_n(X'00')", "sketch has format 0"),
        ("SELECT merge_sketch(sketch) FROM panes", "made by different definitions"),
        ("SELECT merge_sketch(sketch) FROM panes", "group by feature and sketch_id"),
        (
            "SELECT psi(a.sketch, b.sketch) FROM panes a JOIN panes b ON a.feature = 'error' AND b.feature = 'sampler'",
            "compare rows of equal feature and sketch_id",
        ),
    ] {
        let message = fails(&ctx, sql).await;
        assert!(message.contains(part), "{sql}: {message}");
    }
}

#[tokio::test]
async fn rare_tokens_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    let sql = "SELECT t['token'], t['text'], t['count'], t['share'] FROM (SELECT unnest(top_tokens(sketch, 100)) AS t \
               FROM panes WHERE feature = 'prompt_tokens' AND segment = '' AND start = '2026-01-05T00:00:00Z')";
    let got = query(&open(dir.path()).await, sql).await;
    let words: Vec<String> =
        (0..got.num_rows()).map(|i| got.column(1).as_string::<i32>().value(i).to_owned()).collect();
    assert_eq!(words[0], "photo");
    assert!(!words.iter().any(|w| w == "zebra" || w == "owl"), "{words:?}");
    let ids: Vec<u32> = got.column(0).as_primitive::<UInt32Type>().values().to_vec();
    assert!(!ids.contains(&u32::from(token("zebra"))), "nor by number");
    assert_eq!(got.column(2).as_primitive::<UInt64Type>().value(0), 400);
    assert_eq!(floats(&got, 3)[0], Some(400.0 / 860.0), "a share of all tokens, the hidden ones too");
    let open_job = session(dir.path().to_str().unwrap(), &[], 1).await.unwrap();
    let all = query(&open_job, sql).await;
    assert_eq!(
        all.num_rows(),
        got.num_rows() + 1,
        "one user suffices where the configuration says so, none never"
    );
    let text = query(&open_job, "SELECT token_text(token_id('dog')), token_id('qwertyuiop')").await;
    assert_eq!((text.column(0).as_string::<i32>().value(0), text.column(1).is_null(0)), ("dog", true));
}

#[tokio::test]
async fn views_say_what_drifts() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    alerts_and_rejects(dir.path());
    let ctx = open(dir.path()).await;
    let now = query(&ctx, "SELECT segment FROM drift_now").await;
    assert_eq!(now.num_rows(), 1, "not the segment that fell silent");
    assert_eq!(now.column(0).as_string_view().value(0), "tenant=birch");
    let since = "SELECT CAST(since AS BIGINT) FROM";
    for view in ["drift_now", "drift_details"] {
        let since = query(&ctx, &format!("{since} {view}")).await;
        let since = since.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0);
        assert_eq!(since, BEGIN + 3 * HOUR, "{view}: of two drifting windows the first");
    }
    let runs = query(
        &ctx,
        "SELECT windows, CAST(ended AS BIGINT) AS until FROM drift_timeline WHERE segment = 'tenant=birch' ORDER BY began",
    )
    .await;
    assert_eq!(runs.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec(), [1, 2]);
    let end = runs.column(1).as_primitive::<arrow::datatypes::Int64Type>().value(1);
    assert_eq!(end, BEGIN + 5 * HOUR);
    let worst = query(&ctx, "SELECT drift_share FROM worst_segments ORDER BY drift_share DESC").await;
    assert_eq!(floats(&worst, 0), [Some(1.0), Some(0.6)]);
    let coverage =
        query(&ctx, "SELECT insufficient_share FROM coverage WHERE segment = 'tenant=small'").await;
    assert_eq!(floats(&coverage, 0), [Some(1.0)]);
    let history = query(&ctx, "SELECT minutes_firing, state FROM alert_history").await;
    assert_eq!(floats(&history, 0), [Some(30.0)]);
    assert_eq!(history.column(1).as_string_view().value(0), "resolved");
    assert_eq!(query(&ctx, "SELECT * FROM data_quality").await.num_rows(), 2, "with and without a time");
    assert_eq!(query(&ctx, "SELECT * FROM latency WHERE segment = 'tenant=birch'").await.num_rows(), 5);
}

/// A window of a tenant whose drift is as clear as `p`.
fn drifting(baseline: &str, value: f64, was: f64, p: f64, moved: Option<&str>) -> WindowRow {
    let mut row = window(BEGIN, "tenant=a-company-with-a-name", "rerolls", Some(Verdict::Drift));
    row.baseline = baseline.into();
    row.now.value = Some(value);
    row.then.value = Some(was);
    row.scores.p_value = Some(p);
    row.scores.psi_excess = Some(0.123_456_789);
    let contributor = |key: &str| Contributor {
        key: key.into(),
        share: 0.312_34,
        baseline_share: 0.021,
        contribution: 0.07,
    };
    row.contributors = moved.map(contributor).into_iter().collect();
    row.examples = (0..20).map(|i| format!("a-request-id-that-is-long-{i}").into()).collect();
    row
}

#[tokio::test]
async fn drift_now_fits_a_terminal_and_shows_the_clearest_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let long = "a-lora-whose-name-goes-on-and-on-and-on-and-on-and-on-and-on";
    let mut other = drifting("rolling_7d", 0.034_567_8, 0.012, 0.0, Some(long));
    other.feature = "prompt_tokens".into();
    let mut down = drifting("rolling_7d", 1.0, 4.0, 0.04, None);
    down.feature = "accepted".into();
    let rows = [
        drifting("rolling_28d", 4_053.213_5, 2_000.123_4, 1.234_567_8e-15, None),
        drifting("rolling_7d", 4_053.213_5, 2_100.0, 2e-9, None),
        other,
        down,
    ];
    let dimensions = names().0.dimensions;
    let batch = windows_batch(&rows, &dimensions).unwrap();
    write(dir.path(), "windows", "2026-01-05", &to_parquet(&batch).unwrap());
    let ctx = open(dir.path()).await;
    let (done, text) = printed(&ctx, "SELECT * FROM drift_now ORDER BY p_value", ResultFormat::Table).await;
    done.unwrap();
    assert!(text.lines().all(|l| l.chars().count() <= 160), "{text}");
    let (_, csv) = printed(&ctx, "SELECT * FROM drift_now ORDER BY p_value", ResultFormat::Csv).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "segment,feature,window,since,value,was,psi_excess,p_value,why");
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[1].ends_with(",0.0346,0.012,0.123,0.0,a-lora-whose-name-go 2.1% to 31.2%"), "{csv}");
    assert!(lines[2].ends_with(",4053.0,2000.0,0.123,1.2e-15,up 103%"), "{csv}");
    assert!(lines[3].ends_with(",1.0,4.0,0.123,0.04,down 75%"), "{csv}");
    let all = query(&ctx, "SELECT p_value, examples FROM drift_details ORDER BY p_value").await;
    assert_eq!(floats(&all, 0)[1], Some(1.234_567_8e-15), "everything, as it is");
    assert_eq!(all.num_rows(), 4);
}

#[tokio::test]
async fn an_empty_job_answers_every_query_and_new_files_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = open(dir.path()).await;
    for name in ["panes", "windows", "alerts", "rejects", "exclusions"] {
        assert_eq!(query(&ctx, &format!("SELECT * FROM {name}")).await.num_rows(), 0, "{name}");
    }
    let views = [
        "drift_now",
        "drift_details",
        "drift_timeline",
        "worst_segments",
        "alert_history",
        "data_quality",
        "coverage",
        "latency",
    ];
    for name in views {
        assert_eq!(query(&ctx, &format!("SELECT * FROM {name}")).await.num_rows(), 0, "{name}");
    }
    job(dir.path());
    assert_eq!(query(&ctx, "SELECT tenant FROM windows WHERE date = '2026-01-05'").await.num_rows(), 8);
}

#[tokio::test]
async fn unfinished_and_internal_files_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path());
    std::fs::write(dir.path().join("windows/date=2026-01-05/.part.1-1.tmp"), b"half").unwrap();
    let staged = dir.path().join("_staged/windows/date=2026-01-05");
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::write(staged.join("part.parquet"), b"half").unwrap();
    let ctx = open(dir.path()).await;
    assert_eq!(query(&ctx, "SELECT * FROM windows").await.num_rows(), 8);
    let tables = query(&ctx, "SELECT * FROM information_schema.tables WHERE table_name LIKE '\\_%'").await;
    assert_eq!(tables.num_rows(), 0);
}

#[tokio::test]
async fn an_output_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("typo");
    let e = session(missing.to_str().unwrap(), &[], MIN_USERS).await.err().unwrap();
    assert!(e.to_string().contains("name a job's configuration (-c FILE) or its output (-o DIR)"), "{e}");
    assert!(!missing.exists(), "looking makes no folder");
    assert!(session("nosuch://bucket/x", &[], MIN_USERS).await.is_err());
}
