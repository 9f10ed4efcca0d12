//! An archive that another program has rewritten, in the archive's own types: one cast per batch
//! and column.
//!
//! pandas, Polars, Spark and DuckDB keep the values and change the types: large or
//! dictionary-encoded text, other units of time, other widths of numbers, decimals for unsigned
//! numbers, floating point for whole numbers some of which are null.

use super::event_rows::{ArchiveError, schema};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::util::display::FormatOptions;
use std::sync::Arc;

/// Whole numbers up to here are exact in floating point.
const EXACT: u64 = 1 << 53;

/// The columns of an archive that a batch has, in the archive's order and types. Other columns are
/// left out.
///
/// # Errors
/// When a column's type, or a value in it, is nothing that the archive's type can be.
pub fn conform(batch: &RecordBatch) -> Result<RecordBatch, ArchiveError> {
    let own = schema();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in own.fields() {
        let Some(array) = batch.column_by_name(field.name()) else { continue };
        let array = column(array, field)?;
        // Nulls where the archive has none are found by whoever reads the rows.
        let nullable = field.is_nullable() || array.null_count() > 0;
        fields.push(field.as_ref().clone().with_nullable(nullable));
        columns.push(array);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
        .map_err(|e| ArchiveError::Batch(e.to_string()))
}

/// Checks that a file's columns can be read, before any row of it is.
///
/// # Errors
/// As [`conform`], but for values.
pub fn check_types(file: &Schema) -> Result<(), ArchiveError> {
    for field in schema().fields() {
        if let Ok(found) = file.field_with_name(field.name())
            && !readable(found.data_type(), field.data_type())
        {
            return Err(of_type(field, found.data_type()));
        }
    }
    Ok(())
}

fn of_type(field: &Field, found: &DataType) -> ArchiveError {
    let (column, expected) = (field.name().clone(), field.data_type().to_string());
    ArchiveError::Type { column, found: found.to_string(), expected }
}

/// Whether values of a type may stand for the archive's. The kernel would also make a list of any
/// single value.
fn readable(found: &DataType, wanted: &DataType) -> bool {
    use DataType::{Boolean, Dictionary, FixedSizeList, LargeList, LargeListView, List, ListView, Null};
    let found = match found {
        Dictionary(_, values) => values,
        other => other,
    };
    match wanted {
        List(_) => {
            matches!(
                found,
                List(_) | LargeList(_) | ListView(_) | LargeListView(_) | FixedSizeList(..) | Null
            ) && can_cast_types(found, wanted)
        }
        // A time that is no time: the unit would be a guess.
        DataType::Timestamp(..) => match found {
            DataType::Timestamp(..) | Null => true,
            text => text.is_string() && can_cast_types(found, wanted),
        },
        _ if found.is_temporal() || found.is_nested() => false,
        // A number of fewer bits than a hash has can't be one.
        DataType::UInt64 if matches!(found, DataType::Float16 | DataType::Float32) => false,
        _ if wanted.is_numeric() && *found == Boolean => false,
        _ => can_cast_types(found, wanted),
    }
}

fn column(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArchiveError> {
    let (found, wanted) = (array.data_type(), field.data_type());
    if found == wanted {
        return Ok(Arc::clone(array));
    }
    if !readable(found, wanted) {
        return Err(of_type(field, found));
    }
    let values = || ArchiveError::Values {
        column: field.name().clone(),
        found: found.to_string(),
        expected: wanted.to_string(),
    };
    // What can't be told must not become a null that nobody notices. The kernel's own words may
    // hold a value.
    let strict = CastOptions { safe: false, format_options: FormatOptions::default() };
    let cast = |to: &DataType| cast_with_options(array, to, &strict).map_err(|_| values());
    match (found, wanted) {
        (DataType::Dictionary(_, of), _) => column(&cast(of)?, field),
        (DataType::Timestamp(unit, _), DataType::Timestamp(..)) => {
            let times = match unit {
                TimeUnit::Second => microseconds::<TimestampSecondType>(array, |t| t.checked_mul(1_000_000)),
                TimeUnit::Millisecond => {
                    microseconds::<TimestampMillisecondType>(array, |t| t.checked_mul(1_000))
                }
                TimeUnit::Microsecond => microseconds::<TimestampMicrosecondType>(array, Some),
                TimeUnit::Nanosecond => {
                    microseconds::<TimestampNanosecondType>(array, |t| Some(t.div_euclid(1_000)))
                }
            };
            Ok(Arc::new(times.ok_or_else(values)?))
        }
        (text, DataType::Timestamp(..)) if text.is_string() => {
            let times = cast(&DataType::Timestamp(TimeUnit::Microsecond, None))?;
            Ok(Arc::new(times.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC")))
        }
        // Java has no unsigned numbers: the bits are those of the hash.
        (DataType::Int64, DataType::UInt64) => {
            Ok(Arc::new(array.as_primitive::<Int64Type>().unary::<_, UInt64Type>(|v| v as u64)))
        }
        // Not a number is how some say that there is none.
        (DataType::Float64, DataType::Int32 | DataType::Int64) => {
            let there = array.as_primitive::<Float64Type>().iter().map(|v| v.filter(|v| !v.is_nan()));
            let there: Float64Array = there.collect();
            cast_with_options(&there, wanted, &strict).map_err(|_| values())
        }
        (DataType::Float64, DataType::UInt64) => {
            Ok(Arc::new(hashes(array.as_primitive::<Float64Type>()).ok_or_else(values)?))
        }
        _ => cast(wanted),
    }
}

/// Times in microseconds of UTC. One with a zone counts from 1970 in UTC, whatever the zone; one
/// without is taken as UTC.
fn microseconds<T: ArrowTimestampType>(
    array: &ArrayRef,
    convert: impl Fn(i64) -> Option<i64>,
) -> Option<TimestampMicrosecondArray> {
    let times = array.as_primitive::<T>();
    // Where a value is null, anything may stand.
    let all = times.iter().map(|t| t.map_or(Some(None), |t| convert(t).map(Some)));
    let all: Option<Vec<Option<i64>>> = all.collect();
    Some(TimestampMicrosecondArray::from(all?).with_timezone("UTC"))
}

/// Hashes that became floating point, as pandas makes of whole numbers some of which are null. The
/// lowest of 64 bits are lost then, and with them what distinguishes users: others take their
/// place that follow from the rest.
fn hashes(array: &Float64Array) -> Option<UInt64Array> {
    array
        .iter()
        .map(|v| {
            let Some(v) = v.filter(|v| !v.is_nan()) else { return Some(None) };
            if v < 0.0 || v > u64::MAX as f64 || v.fract() != 0.0 {
                return None;
            }
            let kept = v as u64;
            let lost = (kept / EXACT).checked_ilog2().map_or(0, |bits| bits + 1);
            let others = (kept ^ kept >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53;
            Some(Some(kept ^ (others & ((1 << lost) - 1))))
        })
        .collect::<Option<Vec<_>>>()
        .map(UInt64Array::from)
}

#[cfg(test)]
#[path = "conform_tests.rs"]
mod tests;
