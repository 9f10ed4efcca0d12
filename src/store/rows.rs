//! The rows of the public tables as Rust values, and the one place that turns them into Arrow.

use crate::baseline::BlocksOfWeek;
use crate::config::segments::parts;
pub use crate::drift::{Contributor, Effect, Scores, Side, Verdict};
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder, UInt16Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::borrow::Cow;
use std::sync::Arc;

/// One row of `windows`.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRow {
    /// Start, microseconds.
    pub start: i64,
    /// End, microseconds, exclusive.
    pub end: i64,
    /// "30m".
    pub window: Arc<str>,
    /// "tenant".
    pub segment_by: Arc<str>,
    /// "tenant=birch", with hashes instead of names that clients chose and too few users sent.
    pub segment: Arc<str>,
    /// The same with hashes of all names that clients chose, by which alerts are identified. No
    /// column.
    pub identity: Arc<str>,
    /// The feature's name.
    pub feature: Arc<str>,
    /// categorical, numeric, embedding, rate or volume.
    pub kind: &'static str,
    /// "rolling_7d"; empty for a segment without any.
    pub baseline: Arc<str>,
    /// Hash of the baseline's inputs.
    pub baseline_id: Option<Arc<str>>,
    /// Days in it.
    pub baseline_days: u16,
    /// The hours of these days that it holds: those that the window overlaps.
    pub baseline_hours: Option<BlocksOfWeek>,
    /// The window.
    pub now: Side,
    /// The baseline.
    pub then: Side,
    /// The comparison.
    pub scores: Scores,
    /// The p-value below which this row counts as drift within the alarm budget.
    pub alpha: Option<f64>,
    /// The outcome; `None` for volumes, which are not tested.
    pub verdict: Option<Verdict>,
    /// Every partition had passed the window's end.
    pub complete: bool,
    /// Largest first; where the verdict is drift.
    pub contributors: Vec<Contributor>,
    /// Request ids.
    pub examples: Vec<Arc<str>>,
}

fn ts() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A UTC timestamp column.
#[must_use]
pub fn timestamp(name: &str, nullable: bool) -> Field {
    Field::new(name, ts(), nullable)
}

fn contributor_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("share", DataType::Float64, false),
        Field::new("baseline_share", DataType::Float64, false),
        Field::new("contribution", DataType::Float64, false),
    ])
}

/// The type of the `contributors` column.
#[must_use]
pub fn contributors_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(contributor_fields()), true)))
}

/// Columns of numbers about the window; the baseline's have the prefix `baseline_`.
const SIDE: [&str; 4] = ["value", "p50", "p95", "p99"];
const SCORES: [&str; 12] = [
    "psi",
    "psi_excess",
    "kl",
    "js",
    "wasserstein",
    "centroid_cosine",
    "centroid_l2",
    "p_value",
    "effect",
    "effect_low",
    "effect_high",
    "detectable",
];

/// The schema of `windows` for a job with these dimension columns.
#[must_use]
pub fn windows_schema(dimensions: &[String]) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::UInt64, false);
    let mut f = vec![
        timestamp("window_start", false),
        timestamp("window_end", false),
        text("window", false),
        text("segment_by", false),
        text("segment", false),
    ];
    f.extend(dimensions.iter().map(|d| text(d, true)));
    f.extend([
        text("feature", false),
        text("kind", false),
        text("baseline", false),
        text("baseline_id", true),
    ]);
    f.extend([Field::new("baseline_days", DataType::UInt16, false), text("baseline_hours", true)]);
    f.extend(["n", "baseline_n", "sessions", "baseline_sessions"].map(count));
    f.extend(SIDE.iter().flat_map(|s| [number(s), number(&format!("baseline_{s}"))]));
    f.extend(SCORES.map(number));
    f.extend([number("alpha"), text("verdict", true), Field::new("complete", DataType::Boolean, false)]);
    f.push(Field::new("contributors", contributors_type(), true));
    f.push(Field::new("examples", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true));
    Arc::new(Schema::new(f))
}

/// A timestamp column from values.
pub fn timestamps(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut b = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

/// A text column from values.
pub fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut b = StringBuilder::new();
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

/// A number column from values.
pub fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut b = Float64Builder::new();
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

/// A column of counts.
pub fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    let mut b = UInt64Builder::new();
    values.for_each(|v| b.append_value(v));
    Arc::new(b.finish())
}

/// A list-of-text column.
pub fn lists<'a>(values: impl Iterator<Item = &'a [Arc<str>]>) -> ArrayRef {
    let mut b = ListBuilder::new(StringBuilder::new());
    for v in values {
        v.iter().for_each(|s| b.values().append_value(s));
        b.append(true);
    }
    Arc::new(b.finish())
}

/// A column of contributors.
pub fn contributors<'a>(values: impl Iterator<Item = &'a [Contributor]>) -> ArrayRef {
    let mut b = ListBuilder::new(StructBuilder::from_fields(contributor_fields(), 0));
    for row in values {
        for c in row {
            let s = b.values();
            if let Some(k) = s.field_builder::<StringBuilder>(0) {
                k.append_value(&c.key);
            }
            for (i, v) in [c.share, c.baseline_share, c.contribution].into_iter().enumerate() {
                if let Some(f) = s.field_builder::<Float64Builder>(i + 1) {
                    f.append_value(v);
                }
            }
            s.append(true);
        }
        b.append(true);
    }
    Arc::new(b.finish())
}

/// The value of a dimension column in a segment's name, without the segment's escapes.
#[must_use]
pub fn dimension_value<'a>(segment: &'a str, column: &str) -> Option<Cow<'a, str>> {
    parts(segment).find(|(k, _)| *k == column).map(|(_, v)| v)
}

fn score(s: &Scores, i: usize) -> Option<f64> {
    let Effect { value, low, high, detectable } = s.effect;
    let distances = [s.psi, s.psi_excess, s.kl, s.js, s.wasserstein, s.centroid_cosine, s.centroid_l2];
    match i {
        0..7 => distances[i],
        _ => [s.p_value, value, low, high, detectable][i - 7],
    }
}

fn side(s: &Side, i: usize) -> Option<f64> {
    if i == 0 { s.value } else { s.quantiles.map(|q| q[i - 1]) }
}

/// Rows of `windows` as a record batch of [`windows_schema`].
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in this function.
pub fn windows_batch(rows: &[WindowRow], dimensions: &[String]) -> Result<RecordBatch, ArrowError> {
    let mut c: Vec<ArrayRef> = vec![
        timestamps(rows.iter().map(|r| Some(r.start))),
        timestamps(rows.iter().map(|r| Some(r.end))),
        texts(rows.iter().map(|r| Some(&r.window))),
        texts(rows.iter().map(|r| Some(&r.segment_by))),
        texts(rows.iter().map(|r| Some(&r.segment))),
    ];
    for d in dimensions {
        c.push(texts(rows.iter().map(|r| dimension_value(&r.segment, d))));
    }
    c.push(texts(rows.iter().map(|r| Some(&r.feature))));
    c.push(texts(rows.iter().map(|r| Some(r.kind))));
    c.push(texts(rows.iter().map(|r| Some(&r.baseline))));
    c.push(texts(rows.iter().map(|r| r.baseline_id.as_ref())));
    let mut days = UInt16Builder::new();
    rows.iter().for_each(|r| days.append_value(r.baseline_days));
    c.push(Arc::new(days.finish()));
    c.push(texts(rows.iter().map(|r| r.baseline_hours.map(|h| h.to_string()))));
    c.push(counts(rows.iter().map(|r| r.now.n)));
    c.push(counts(rows.iter().map(|r| r.then.n)));
    c.push(counts(rows.iter().map(|r| r.now.sessions)));
    c.push(counts(rows.iter().map(|r| r.then.sessions)));
    for i in 0..SIDE.len() {
        c.push(numbers(rows.iter().map(|r| side(&r.now, i))));
        c.push(numbers(rows.iter().map(|r| side(&r.then, i))));
    }
    for i in 0..SCORES.len() {
        c.push(numbers(rows.iter().map(|r| score(&r.scores, i))));
    }
    c.push(numbers(rows.iter().map(|r| r.alpha)));
    c.push(texts(rows.iter().map(|r| r.verdict.map(Verdict::name))));
    let mut complete = BooleanBuilder::new();
    rows.iter().for_each(|r| complete.append_value(r.complete));
    c.push(Arc::new(complete.finish()));
    c.push(contributors(rows.iter().map(|r| r.contributors.as_slice())));
    c.push(lists(rows.iter().map(|r| r.examples.as_slice())));
    RecordBatch::try_new(windows_schema(dimensions), c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_fits_its_schema() {
        let row = WindowRow {
            start: 0,
            end: 1,
            window: "30m".into(),
            segment_by: "tenant".into(),
            segment: "tenant=birch".into(),
            identity: "tenant=birch".into(),
            feature: "latency_ms".into(),
            kind: "numeric",
            baseline: "rolling_7d".into(),
            baseline_id: None,
            baseline_days: 7,
            baseline_hours: Some(crate::baseline::BlocksOfWeek::ALL),
            now: Side { n: 3, sessions: 2, value: Some(1.0), quantiles: Some([1.0, 2.0, 3.0]) },
            then: Side::default(),
            scores: Scores { psi: Some(0.5), ..Scores::default() },
            alpha: Some(1e-6),
            verdict: Some(Verdict::Drift),
            complete: true,
            contributors: vec![Contributor {
                key: "anime".into(),
                share: 0.2,
                baseline_share: 0.1,
                contribution: 0.07,
            }],
            examples: vec!["r1".into()],
        };
        let dims = ["region".to_owned(), "tenant".to_owned()];
        let batch = windows_batch(&[row], &dims).unwrap();
        assert_eq!(batch.num_columns(), batch.schema().fields().len());
        assert!(batch.column_by_name("region").unwrap().is_null(0));
        assert!(!batch.column_by_name("tenant").unwrap().is_null(0));
    }
}
