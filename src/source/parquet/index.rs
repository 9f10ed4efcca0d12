//! Indexes archive files: per partition its row groups in offset order, from statistics if
//! available.

use super::fetch::OpenArchive;
use crate::source::error::SourceError;
use crate::store::event_rows::{KEY_ID, REQUIRED, VERSION, VERSION_KEY};
use crate::store::{check_types, conform};
use ::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use futures::StreamExt;
use std::collections::BTreeMap;
use tokio::runtime::Handle;

/// The rows of one partition in a row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroupPart {
    /// Number of the file.
    pub file: usize,
    /// Number of the row group within it.
    pub row_group: usize,
    /// First and last offset.
    pub offsets: (i64, i64),
    /// Earliest and latest event time.
    pub times: (i64, i64),
    /// The row group has no other partition.
    pub alone: bool,
    /// Stored size of the row group in bytes.
    pub bytes: u64,
    /// Rows of the row group.
    pub rows: u64,
    /// Rows of the file before the row group.
    pub before: u64,
}

/// What to do about rows in the wrong order.
pub const ORDER: &str = "write it sorted by partition and offset, each row once";

fn archive(name: &str, message: impl Into<String>) -> SourceError {
    SourceError::Archive { name: name.to_owned(), message: message.into() }
}

/// Lists the row groups of every partition in offset order.
///
/// # Errors
/// When a file is not an archive, was hashed under another key, has another topic, or has offsets
/// that another file has too.
pub fn index(
    files: &[OpenArchive],
    key_id: Option<u64>,
    handle: &Handle,
) -> Result<BTreeMap<i32, Vec<RowGroupPart>>, SourceError> {
    let mut all: BTreeMap<i32, Vec<RowGroupPart>> = BTreeMap::new();
    let mut topic: Option<(String, &str)> = None;
    for (number, file) in files.iter().enumerate() {
        check(file, key_id)?;
        let mut before = 0;
        for group in 0..file.metadata.metadata().num_row_groups() {
            let meta = file.metadata.metadata().row_group(group);
            for name in topics(meta) {
                match &topic {
                    Some((known, other)) if *known != name => {
                        return Err(archive(
                            &file.name,
                            format!(
                                "has topic {name}, but {other} has topic {known}; read one topic at a time"
                            ),
                        ));
                    }
                    Some(_) => {}
                    None => topic = Some((name, &file.name)),
                }
            }
            for (partition, piece) in pieces(file, (number, group, before), handle)? {
                all.entry(partition).or_default().push(piece);
            }
            before += meta.num_rows().unsigned_abs();
        }
    }
    for (partition, pieces) in &mut all {
        pieces.sort_by_key(|p| (p.offsets, p.file, p.row_group));
        if let Some(w) = pieces.windows(2).find(|w| w[1].offsets.0 <= w[0].offsets.1) {
            let (a, b) = (&files[w[0].file].name, &files[w[1].file].name);
            if w[0].file == w[1].file {
                let (before, at) = (w[0].before.min(w[1].before), w[0].before.max(w[1].before));
                return Err(archive(
                    b,
                    format!(
                        "its rows are not in the order of their offsets: the row groups from rows {before} and {at} on share offsets \
                         of partition {partition}; {ORDER}"
                    ),
                ));
            }
            return Err(archive(
                b,
                format!(
                    "has offsets of partition {partition} that {a} has too ({}–{} and {}–{}); give each part of an archive once",
                    w[1].offsets.0, w[1].offsets.1, w[0].offsets.0, w[0].offsets.1
                ),
            ));
        }
    }
    Ok(all)
}

fn check(file: &OpenArchive, key_id: Option<u64>) -> Result<(), SourceError> {
    let schema = file.metadata.schema();
    if let Some(missing) = REQUIRED.iter().find(|c| schema.field_with_name(c).is_err()) {
        return Err(archive(
            &file.name,
            format!(
                "not an archive of events: column {missing} is missing; write archives with driftglass archive"
            ),
        ));
    }
    check_types(schema).map_err(|source| SourceError::Columns { name: file.name.clone(), source })?;
    let pairs = file.metadata.metadata().file_metadata().key_value_metadata();
    let value =
        |key: &str| pairs.and_then(|p| p.iter().find(|kv| kv.key == key)).and_then(|kv| kv.value.clone());
    if let Some(version) = value(VERSION_KEY).filter(|v| v != VERSION) {
        return Err(archive(
            &file.name,
            format!("is an archive of version {version}, and this program reads version {VERSION}"),
        ));
    }
    if let (Some(have), Some(want)) = (value(KEY_ID), key_id.map(|k| format!("{k:016x}")))
        && have != want
    {
        return Err(archive(
            &file.name,
            format!(
                "its ids were hashed under another key (id {have}, privacy.key has {want}); set privacy.key to the key that it was written with"
            ),
        ));
    }
    Ok(())
}

/// Warns once of hashes that another program rounded.
pub fn warn_of_rounded_hashes(files: &[OpenArchive]) {
    let floating = |f: &&OpenArchive| {
        let schema = f.metadata.schema();
        let of = |c: &&str| schema.field_with_name(c).is_ok_and(|f| f.data_type().is_floating());
        ["request_hash", "session_hash", "user_hash"].iter().any(of)
    };
    if let Some(first) = files.iter().find(floating) {
        tracing::warn!(
            file = %first.name,
            files = files.iter().filter(floating).count(),
            "hashes were written as floating point and have lost their last digits, so they are no longer those of other \
             files; write request_hash, session_hash and user_hash as unsigned 64-bit integers"
        );
    }
}

fn statistics<'m>(meta: &'m RowGroupMetaData, column: &str) -> Option<&'m Statistics> {
    meta.columns().iter().find(|c| c.column_path().parts() == [column])?.statistics()
}

/// The topics in exact statistics.
fn topics(meta: &RowGroupMetaData) -> Vec<String> {
    let Some(Statistics::ByteArray(s)) = statistics(meta, "topic") else { return Vec::new() };
    let min = s.min_opt().filter(|_| s.min_is_exact());
    let max = s.max_opt().filter(|_| s.max_is_exact());
    [min, max].into_iter().flatten().map(|v| String::from_utf8_lossy(v.data()).into_owned()).collect()
}

/// The smallest and largest stored value of a column of signed numbers. For other types, statistics
/// mean something else.
fn signed(file: &OpenArchive, meta: &RowGroupMetaData, column: &str) -> Option<(i64, i64)> {
    let field = file.metadata.schema().field_with_name(column).ok()?;
    if !(field.data_type().is_signed_integer() || matches!(field.data_type(), DataType::Timestamp(..))) {
        return None;
    }
    match statistics(meta, column)? {
        Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
        Statistics::Int32(s) => Some((i64::from(*s.min_opt()?), i64::from(*s.max_opt()?))),
        _ => None,
    }
}

/// The earliest and latest event time in microseconds, for any unit of the file.
fn times(file: &OpenArchive, meta: &RowGroupMetaData) -> Option<(i64, i64)> {
    let (min, max) = signed(file, meta, "timestamp")?;
    let field = file.metadata.schema().field_with_name("timestamp").ok()?;
    let us = |t: i64| match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => t.checked_mul(1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => t.checked_mul(1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(t),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(t.div_euclid(1_000)),
        _ => None,
    };
    Some((us(min)?, us(max)?))
}

/// The partitions of one row group. Without sufficient statistics, reads the three columns.
fn pieces(
    file: &OpenArchive,
    (number, row_group, before): (usize, usize, u64),
    handle: &Handle,
) -> Result<Vec<(i32, RowGroupPart)>, SourceError> {
    let meta = file.metadata.metadata().row_group(row_group);
    let piece = |offsets, times, alone| RowGroupPart {
        file: number,
        row_group,
        offsets,
        times,
        alone,
        bytes: meta.compressed_size().unsigned_abs(),
        rows: meta.num_rows().unsigned_abs(),
        before,
    };
    if meta.num_rows() == 0 {
        return Ok(Vec::new());
    }
    if let Some((min, max)) = signed(file, meta, "partition")
        && min == max
        && let Ok(partition) = i32::try_from(min)
        && let (Some(offsets), Some(times)) = (signed(file, meta, "offset"), times(file, meta))
    {
        return Ok(vec![(partition, piece(offsets, times, true))]);
    }
    let parquet = |source| SourceError::Parquet { name: file.name.clone(), source };
    let columns =
        ProjectionMask::columns(file.metadata.parquet_schema(), ["partition", "offset", "timestamp"]);
    let mut stream =
        ParquetRecordBatchStreamBuilder::new_with_metadata(file.fetch.clone(), file.metadata.clone())
            .with_row_groups(vec![row_group])
            .with_projection(columns)
            .build()
            .map_err(parquet)?;
    let mut found: BTreeMap<i32, RowGroupPart> = BTreeMap::new();
    while let Some(batch) = handle.block_on(stream.next()) {
        let batch = conform(&batch.map_err(parquet)?)
            .map_err(|source| SourceError::Columns { name: file.name.clone(), source })?;
        let mistyped = || {
            archive(&file.name, "not an archive of events: partition, offset or timestamp has another type")
        };
        let column = |name| batch.column_by_name(name).ok_or_else(mistyped);
        let partitions = column("partition")?.as_primitive_opt::<Int32Type>().ok_or_else(mistyped)?;
        let offsets = column("offset")?.as_primitive_opt::<Int64Type>().ok_or_else(mistyped)?;
        let times =
            column("timestamp")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(mistyped)?;
        for row in 0..batch.num_rows() {
            let (offset, time) = (offsets.value(row), times.value(row));
            let p = found
                .entry(partitions.value(row))
                .or_insert_with(|| piece((offset, offset), (time, time), false));
            p.offsets = (p.offsets.0.min(offset), p.offsets.1.max(offset));
            p.times = (p.times.0.min(time), p.times.1.max(time));
        }
    }
    Ok(found.into_iter().collect())
}
