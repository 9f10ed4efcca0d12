//! The `vectors` table: for each sampled request its image's vector, or the reason it was refused.
//!
//! Confidential like panes: a vector reveals much about its image. The table never holds a URI.

use super::error::PaneFileError;
use super::rows::{counts, texts, timestamp, timestamps};
use super::storage::Storage;
use arrow::array::{Array, AsArray, Float32Builder, Int32Builder, Int64Builder, ListBuilder, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

/// A vector, or the reason why there is none.
pub type VectorOutcome = Result<Arc<[f32]>, Arc<str>>;

/// One row of `vectors`.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorRow {
    /// Event time, microseconds.
    pub time: i64,
    /// The topic; empty for files.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; for files the line.
    pub offset: i64,
    /// Keyed hash of the request id.
    pub request: u64,
    /// The admitted request id.
    pub request_id: Arc<str>,
    /// Where the vector came from: inline, embedding_uri, image or recorded.
    pub source: &'static str,
    /// Identity of the model.
    pub model: Arc<str>,
    /// The vector or the reason.
    pub outcome: VectorOutcome,
}

/// The schema of `vectors`.
#[must_use]
pub fn vectors_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        timestamp("time", false),
        text("topic", false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("request_hash", DataType::UInt64, false),
        text("request_id", false),
        text("source", false),
        text("model", false),
        Field::new("vector", DataType::List(Arc::new(Field::new("item", DataType::Float32, true))), true),
        text("reason", true),
    ]))
}

/// Rows of `vectors` as a record batch.
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in this function.
pub fn vectors_batch(rows: &[VectorRow]) -> Result<RecordBatch, ArrowError> {
    let (mut partition, mut offset) = (Int32Builder::new(), Int64Builder::new());
    let mut vector = ListBuilder::new(Float32Builder::new());
    for r in rows {
        partition.append_value(r.partition);
        offset.append_value(r.offset);
        if let Ok(v) = &r.outcome {
            vector.values().append_slice(v);
        }
        vector.append(r.outcome.is_ok());
    }
    RecordBatch::try_new(
        vectors_schema(),
        vec![
            timestamps(rows.iter().map(|r| Some(r.time))),
            texts(rows.iter().map(|r| Some(&r.topic))),
            Arc::new(partition.finish()),
            Arc::new(offset.finish()),
            counts(rows.iter().map(|r| r.request)),
            texts(rows.iter().map(|r| Some(&r.request_id))),
            texts(rows.iter().map(|r| Some(r.source))),
            texts(rows.iter().map(|r| Some(&r.model))),
            Arc::new(vector.finish()),
            texts(rows.iter().map(|r| r.outcome.as_ref().err())),
        ],
    )
}

/// What a replay needs of a recorded row: time, request hash, model and outcome.
pub type RecordedVector = (i64, u64, Arc<str>, VectorOutcome);

/// Reads a file of the table.
///
/// # Errors
/// When it can't be read or is no file of the table.
pub fn read_vectors(storage: &Storage, path: &str) -> Result<Vec<RecordedVector>, PaneFileError> {
    let Some(bytes) = storage.get(path)? else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        rows_of(&batch?, &mut out).map_err(|column| {
            ArrowError::SchemaError(format!(
                "{path} is no vectors table: column {column} is missing or of another type"
            ))
        })?;
    }
    Ok(out)
}

fn rows_of(batch: &RecordBatch, out: &mut Vec<RecordedVector>) -> Result<(), &'static str> {
    let column = |name: &'static str| {
        let wanted = vectors_schema();
        let expected = wanted.field_with_name(name).map_err(|_| name)?.data_type();
        batch.column_by_name(name).filter(|c| c.data_type().equals_datatype(expected)).ok_or(name)
    };
    let time = column("time")?.as_primitive::<TimestampMicrosecondType>();
    let request = column("request_hash")?.as_primitive::<UInt64Type>();
    let (model, reason) = (column("model")?.as_string::<i32>(), column("reason")?.as_string::<i32>());
    let vector = column("vector")?.as_list::<i32>();
    let mut last: Arc<str> = Arc::from("");
    for i in 0..batch.num_rows() {
        if *last != *model.value(i) {
            last = Arc::from(model.value(i));
        }
        let outcome = if vector.is_valid(i) {
            Ok(Arc::from(vector.value(i).as_primitive::<Float32Type>().values().as_ref()))
        } else {
            Err(Arc::from(if reason.is_valid(i) { reason.value(i) } else { "unknown" }))
        };
        out.push((time.value(i), request.value(i), Arc::clone(&last), outcome));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parquet_file::all_to_parquet;

    #[test]
    fn what_is_written_is_read_back_bit_by_bit() {
        let row = |outcome| VectorRow {
            time: 7,
            topic: "t".into(),
            partition: 1,
            offset: 2,
            request: u64::MAX - 1,
            request_id: "r".into(),
            source: "image",
            model: "m".into(),
            outcome,
        };
        let vector: Arc<[f32]> = vec![0.1, -3.5e-8, f32::MIN_POSITIVE].into();
        let rows = [row(Ok(Arc::clone(&vector))), row(Err("too_large".into()))];
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        storage.put("v.parquet", all_to_parquet(&[&vectors_batch(&rows).unwrap()]).unwrap()).unwrap();
        let back = read_vectors(&storage, "v.parquet").unwrap();
        assert_eq!(back[0], (7, u64::MAX - 1, "m".into(), Ok(vector)));
        assert_eq!(back[1].3, Err("too_large".into()));
    }
}
