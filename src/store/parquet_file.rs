//! Record batches as Parquet files, all with the same properties.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::borrow::Borrow;
use std::sync::Arc;

/// The properties of all Parquet files that a job writes.
#[must_use]
pub fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(64 * 1024))
        // No two sketches are alike: a dictionary, minima and maxima of them would only cost.
        .set_column_dictionary_enabled(ColumnPath::from("sketches"), false)
        .set_column_dictionary_enabled(ColumnPath::from("sketch"), false)
        .set_column_statistics_enabled(ColumnPath::from("sketches"), EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("sketch"), EnabledStatistics::None)
        .build()
}

/// A record batch as a Parquet file.
///
/// # Errors
/// Parquet's.
pub fn to_parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    all_to_parquet(std::slice::from_ref(batch))
}

/// Record batches of one schema as a Parquet file; without any, an empty file without columns.
///
/// # Errors
/// Parquet's.
pub fn all_to_parquet<B: Borrow<RecordBatch>>(batches: &[B]) -> Result<Vec<u8>, ParquetError> {
    let first = batches.first();
    let schema = first.map_or_else(|| Arc::new(Schema::empty()), |b| b.borrow().schema());
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, schema, Some(writer_properties()))?;
    batches.iter().try_for_each(|b| writer.write(b.borrow()))?;
    writer.close()?;
    Ok(out)
}
