//! The `alerts` table: its schema, and rows to Arrow and back.

use super::row::{AlertRow, AlertState, verdict_from_name};
use crate::config::Severity;
use crate::store::panes::PaneFileError;
use crate::store::rows::{
    Contributor, Verdict, contributors, contributors_type, counts, lists, numbers, texts, timestamp,
    timestamps,
};
use crate::store::tables::batches_by_date;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The schema of `alerts`.
#[must_use]
pub fn alerts_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::UInt64, false);
    let mut f: Vec<Field> =
        ["id", "rule", "severity", "state", "segment_by", "segment", "feature", "window", "baseline"]
            .map(|name| text(name, false))
            .into();
    f.extend([timestamp("at", false), timestamp("pending_since", false), timestamp("firing_since", true)]);
    f.extend([
        timestamp("resolved_at", true),
        timestamp("window_start", false),
        timestamp("window_end", false),
    ]);
    f.extend([number("value"), number("baseline_value"), count("n"), count("baseline_n")]);
    f.extend(["psi", "psi_excess", "kl", "p_value", "alpha"].map(number));
    f.extend([text("verdict", true), Field::new("complete", DataType::Boolean, false)]);
    f.push(Field::new("contributors", contributors_type(), true));
    f.push(Field::new("examples", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true));
    f.extend([text("runbook", true), text("summary", false)]);
    Arc::new(Schema::new(f))
}

/// Rows of `alerts` as a record batch of [`alerts_schema`].
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in this function.
pub fn alerts_batch(rows: &[AlertRow]) -> Result<RecordBatch, ArrowError> {
    let text = |get: fn(&AlertRow) -> &str| texts(rows.iter().map(|r| Some(get(r))));
    let time = |get: fn(&AlertRow) -> Option<i64>| timestamps(rows.iter().map(get));
    let number = |get: fn(&AlertRow) -> Option<f64>| numbers(rows.iter().map(get));
    let columns: Vec<ArrayRef> = vec![
        text(|r| &r.id),
        text(|r| &r.rule),
        text(|r| r.severity.name()),
        text(|r| r.state.name()),
        text(|r| &r.segment_by),
        text(|r| &r.segment),
        text(|r| &r.feature),
        text(|r| &r.window),
        text(|r| &r.baseline),
        time(|r| Some(r.at)),
        time(|r| Some(r.pending_since)),
        time(|r| r.firing_since),
        time(|r| r.resolved_at),
        time(|r| Some(r.window_start)),
        time(|r| Some(r.window_end)),
        number(|r| r.value),
        number(|r| r.baseline_value),
        counts(rows.iter().map(|r| r.n)),
        counts(rows.iter().map(|r| r.baseline_n)),
        number(|r| r.psi),
        number(|r| r.psi_excess),
        number(|r| r.kl),
        number(|r| r.p_value),
        number(|r| r.alpha),
        texts(rows.iter().map(|r| r.verdict.map(Verdict::name))),
        Arc::new(rows.iter().map(|r| Some(r.complete)).collect::<BooleanArray>()),
        contributors(rows.iter().map(|r| r.contributors.as_slice())),
        lists(rows.iter().map(|r| r.examples.as_slice())),
        texts(rows.iter().map(|r| r.runbook.as_ref())),
        text(|r| &r.summary),
    ];
    RecordBatch::try_new(alerts_schema(), columns)
}

/// Rows of `alerts`, a batch per date with the date's start, as [`crate::store::tables::Stager`]
/// takes them.
///
/// # Errors
/// Those of [`alerts_batch`].
pub fn alerts_by_date(rows: &[AlertRow]) -> Result<Vec<(i64, RecordBatch)>, PaneFileError> {
    batches_by_date(rows, |r| r.at, alerts_batch)
}

/// Rows from a batch of [`alerts_schema`], for delivery after a restart. Columns outside the schema
/// are ignored.
///
/// # Errors
/// When a column is missing or of another type, or a severity, state or verdict is unknown.
pub fn alerts_from_batch(batch: &RecordBatch) -> Result<Vec<AlertRow>, ArrowError> {
    let c = AlertColumns(batch);
    (0..batch.num_rows())
        .map(|i| {
            let (severity, state) =
                (c.required(c.text("severity", i)?, "severity")?, c.required(c.text("state", i)?, "state")?);
            let verdict = c.text("verdict", i)?;
            let segment = c.required(c.text("segment", i)?, "segment")?;
            Ok(AlertRow {
                id: c.required(c.text("id", i)?, "id")?,
                rule: c.required(c.text("rule", i)?, "rule")?,
                severity: severity_from_name(&severity).ok_or_else(|| unknown("severity", &severity))?,
                state: AlertState::from_name(&state).ok_or_else(|| unknown("state", &state))?,
                segment_by: c.required(c.text("segment_by", i)?, "segment_by")?,
                identity: segment.clone(),
                segment,
                feature: c.required(c.text("feature", i)?, "feature")?,
                window: c.required(c.text("window", i)?, "window")?,
                baseline: c.required(c.text("baseline", i)?, "baseline")?,
                at: c.required(c.time("at", i)?, "at")?,
                pending_since: c.required(c.time("pending_since", i)?, "pending_since")?,
                firing_since: c.time("firing_since", i)?,
                resolved_at: c.time("resolved_at", i)?,
                window_start: c.required(c.time("window_start", i)?, "window_start")?,
                window_end: c.required(c.time("window_end", i)?, "window_end")?,
                value: c.number("value", i)?,
                baseline_value: c.number("baseline_value", i)?,
                n: c.required(c.primitive::<UInt64Type>("n", i)?, "n")?,
                baseline_n: c.required(c.primitive::<UInt64Type>("baseline_n", i)?, "baseline_n")?,
                psi: c.number("psi", i)?,
                psi_excess: c.number("psi_excess", i)?,
                kl: c.number("kl", i)?,
                p_value: c.number("p_value", i)?,
                alpha: c.number("alpha", i)?,
                verdict: verdict
                    .map(|v| verdict_from_name(&v).ok_or_else(|| unknown("verdict", &v)))
                    .transpose()?,
                complete: c.required(c.flag("complete", i)?, "complete")?,
                contributors: c.contributors(i)?,
                examples: c.examples(i)?,
                runbook: c.text("runbook", i)?,
                summary: c.required(c.text("summary", i)?, "summary")?,
            })
        })
        .collect()
}

fn severity_from_name(name: &str) -> Option<Severity> {
    [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
        .into_iter()
        .find(|s| s.name() == name)
}

fn unknown(column: &str, value: &str) -> ArrowError {
    ArrowError::SchemaError(format!("alerts.{column}: {value:?} is no {column}"))
}

fn mistyped(column: &str) -> ArrowError {
    ArrowError::SchemaError(format!("alerts.{column} is missing or of another type"))
}

/// Typed access to the columns of a batch, with null as `None`.
struct AlertColumns<'a>(&'a RecordBatch);

impl AlertColumns<'_> {
    fn column(&self, name: &str) -> Result<&ArrayRef, ArrowError> {
        self.0.column_by_name(name).ok_or_else(|| mistyped(name))
    }

    fn required<T>(&self, value: Option<T>, name: &str) -> Result<T, ArrowError> {
        value.ok_or_else(|| ArrowError::SchemaError(format!("alerts.{name} is null")))
    }

    fn text(&self, name: &str, i: usize) -> Result<Option<String>, ArrowError> {
        let a = self.column(name)?.as_string_opt::<i32>().ok_or_else(|| mistyped(name))?;
        Ok(a.is_valid(i).then(|| a.value(i).to_owned()))
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        name: &str,
        i: usize,
    ) -> Result<Option<T::Native>, ArrowError> {
        let a = self.column(name)?.as_primitive_opt::<T>().ok_or_else(|| mistyped(name))?;
        Ok(a.is_valid(i).then(|| a.value(i)))
    }

    fn time(&self, name: &str, i: usize) -> Result<Option<i64>, ArrowError> {
        self.primitive::<TimestampMicrosecondType>(name, i)
    }

    fn number(&self, name: &str, i: usize) -> Result<Option<f64>, ArrowError> {
        self.primitive::<Float64Type>(name, i)
    }

    fn flag(&self, name: &str, i: usize) -> Result<Option<bool>, ArrowError> {
        let a = self.column(name)?.as_boolean_opt().ok_or_else(|| mistyped(name))?;
        Ok(a.is_valid(i).then(|| a.value(i)))
    }

    fn list(&self, name: &str, i: usize) -> Result<Option<ArrayRef>, ArrowError> {
        let a = self.column(name)?.as_list_opt::<i32>().ok_or_else(|| mistyped(name))?;
        Ok(a.is_valid(i).then(|| a.value(i)))
    }

    fn examples(&self, i: usize) -> Result<Vec<Arc<str>>, ArrowError> {
        let Some(list) = self.list("examples", i)? else { return Ok(Vec::new()) };
        let list = list.as_string_opt::<i32>().ok_or_else(|| mistyped("examples"))?;
        Ok(list.iter().flatten().map(Into::into).collect())
    }

    fn contributors(&self, i: usize) -> Result<Vec<Contributor>, ArrowError> {
        let wrong = || mistyped("contributors");
        let Some(list) = self.list("contributors", i)? else { return Ok(Vec::new()) };
        let list = list.as_struct_opt().ok_or_else(wrong)?;
        let keys = list.column_by_name("key").and_then(|c| c.as_string_opt::<i32>()).ok_or_else(wrong)?;
        let number = |name: &str| {
            list.column_by_name(name).and_then(|c| c.as_primitive_opt::<Float64Type>()).ok_or_else(wrong)
        };
        let (share, then, by) = (number("share")?, number("baseline_share")?, number("contribution")?);
        let one = |k: usize| Contributor {
            key: keys.value(k).to_owned(),
            share: share.value(k),
            baseline_share: then.value(k),
            contribution: by.value(k),
        };
        Ok((0..list.len()).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{T, info, row};
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rule = info("prompt-drift", 0, 0);
        let mut fired =
            AlertRow::new(&rule, AlertState::Firing, &row("tenant=birch", "prompt_tokens", T), T, T - 5);
        fired.firing_since = Some(T);
        let mut bare = AlertRow::new(&rule, AlertState::Resolved, &row("", "volume", T), T, T - 5);
        (bare.psi, bare.verdict, bare.runbook, bare.resolved_at) = (None, None, None, Some(T));
        bare.contributors.clear();
        bare.examples.clear();
        let rows = [fired, bare];
        let batch = alerts_batch(&rows).unwrap();
        assert_eq!(batch.schema(), alerts_schema());
        assert_eq!(alerts_from_batch(&batch).unwrap(), rows);
        assert_eq!(alerts_from_batch(&batch.slice(1, 1)).unwrap(), rows[1..]);
    }

    #[test]
    fn a_batch_of_another_table_is_refused_by_the_column_s_name() {
        let batch =
            alerts_batch(&[AlertRow::new(&info("r", 0, 0), AlertState::Firing, &row("", "nsfw", T), T, T)])
                .unwrap();
        let without = batch.project(&(1..batch.num_columns()).collect::<Vec<_>>()).unwrap();
        assert!(alerts_from_batch(&without).unwrap_err().to_string().contains("alerts.id"));
    }

    #[test]
    fn no_rows_are_an_empty_batch() {
        assert_eq!(alerts_from_batch(&alerts_batch(&[]).unwrap()).unwrap(), []);
    }
}
