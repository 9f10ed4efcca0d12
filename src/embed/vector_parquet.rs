//! Reads vectors from an untrusted Parquet file.

use super::error::{FetchError, RowError};
use crate::store::parquet_check::{CheckedPages, is_footer_valid};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::column::page::PageReader;
use parquet::errors::ParquetError;
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// Maximum decoded size of a file's vectors, in bytes.
const DECODED_BYTES: u64 = 128 * 1024 * 1024;
/// Maximum decompressed size of a page, in bytes; writers aim at 1 MiB.
const PAGE_BYTES: i64 = 32 * 1024 * 1024;
/// Rows decoded at a time.
const BATCH: usize = 1024;

/// All vectors of the column `vector` or `embedding`, concatenated. A null row or value becomes
/// NaN, so that only reading that row fails.
pub fn decode(file: &Bytes, dimension: usize) -> Result<Arc<[f32]>, RowError> {
    let wrong = |_: ParquetError| RowError::NotAVectorFile;
    if !is_footer_valid(file) {
        return Err(RowError::NotAVectorFile);
    }
    // Ignoring the embedded Arrow schema, every kind of list reads as the same type.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(file, options).map_err(wrong)?;
    let named = |name: &str| matches!(name, "vector" | "embedding");
    let mut columns = metadata.schema().fields().iter();
    let column = columns.position(|f| named(f.name()) && of_floats(f.data_type()));
    let column = column.ok_or(RowError::NotAVectorFile)?;
    let mut rows = metadata.metadata().row_groups().iter().map(|g| u64::try_from(g.num_rows()).ok());
    let rows = rows.try_fold(0_u64, |sum, n| sum.checked_add(n?)).ok_or(RowError::NotAVectorFile)?;
    let size = rows.checked_mul(dimension as u64).and_then(|n| n.checked_mul(4));
    if size.is_none_or(|n| n > DECODED_BYTES) {
        return Err(FetchError::TooLarge.into());
    }
    let pages = CheckedPages::new(file.clone(), PAGE_BYTES);
    check_levels(&pages, &metadata, column, dimension)?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata.clone())
        .with_projection(ProjectionMask::roots(metadata.parquet_schema(), [column]))
        .with_batch_size(BATCH)
        .build()
        .map_err(wrong)?;
    let mut out = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|_| RowError::NotAVectorFile)?;
        let lists = batch.columns().first().and_then(|c| c.as_list_opt::<i32>());
        for list in lists.ok_or(RowError::NotAVectorFile)?.iter() {
            let before = out.len();
            match list {
                Some(values) => push(&mut out, &values),
                None => out.resize(before + dimension, f32::NAN),
            }
            if out.len() - before != dimension {
                return Err(RowError::WrongDimension);
            }
        }
    }
    Ok(out.into())
}

fn of_floats(column: &DataType) -> bool {
    match column {
        DataType::List(f) => matches!(f.data_type(), DataType::Float32 | DataType::Float64),
        _ => false,
    }
}

fn push(out: &mut Vec<f32>, values: &ArrayRef) {
    if let Some(values) = values.as_primitive_opt::<Float32Type>() {
        out.extend(values.iter().map(|v| v.unwrap_or(f32::NAN)));
    } else if let Some(values) = values.as_primitive_opt::<Float64Type>() {
        // Values too large for an f32 become infinite, which is refused.
        #[allow(clippy::cast_possible_truncation)]
        out.extend(values.iter().map(|v| v.map_or(f32::NAN, |v| v as f32)));
    }
}

/// Refuses pages with more values than the rows can have: a few bytes of run-length encoding can
/// expand to billions.
fn check_levels(
    pages: &CheckedPages,
    metadata: &ArrowReaderMetadata,
    column: usize,
    dimension: usize,
) -> Result<(), RowError> {
    let wrong = |_: ParquetError| RowError::NotAVectorFile;
    let schema = metadata.parquet_schema();
    let leaf = (0..schema.num_columns()).find(|&l| schema.get_column_root_idx(l) == column);
    let leaf = leaf.ok_or(RowError::NotAVectorFile)?;
    for group in metadata.metadata().row_groups() {
        let chunk = group.columns().get(leaf).ok_or(RowError::NotAVectorFile)?;
        let rows = usize::try_from(group.num_rows()).map_err(|_| RowError::NotAVectorFile)?;
        // An empty or missing list has one level too.
        let mut left = rows.saturating_mul(dimension.max(1));
        let mut reader =
            SerializedPageReader::new(Arc::new(pages.clone()), chunk, rows, None).map_err(wrong)?;
        while let Some(page) = reader.peek_next_page().map_err(wrong)? {
            let levels = page.num_levels.unwrap_or_default();
            left = left.checked_sub(levels).ok_or(RowError::WrongDimension)?;
            reader.skip_next_page().map_err(wrong)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "vector_parquet_tests.rs"]
pub(crate) mod tests;
