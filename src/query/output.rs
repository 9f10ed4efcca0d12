//! Results as text: a table for people; CSV, TSV and JSON for programs, written batch by batch.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder as JsonBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use std::io::Write;
use std::sync::Arc;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ResultFormat {
    /// A table drawn with lines.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// One JSON array.
    Json,
    /// One JSON object per line.
    NdJson,
}

/// Writes a result and returns its number of rows. A result without columns (of `CREATE VIEW`)
/// prints nothing.
///
/// # Errors
/// The query's, or the writer's (as [`DataFusionError::IoError`] or within an [`ArrowError`]).
pub(super) async fn write(
    mut rows: SendableRecordBatchStream,
    format: ResultFormat,
    options: &FormatOptions<'_>,
    out: &mut dyn Write,
) -> Result<usize, DataFusionError> {
    let schema = rows.schema();
    let mut n = 0;
    if schema.fields().is_empty() {
        while let Some(batch) = rows.next().await {
            n += batch?.num_rows();
        }
        return Ok(n);
    }
    match format {
        ResultFormat::Table => {
            let mut batches = vec![RecordBatch::new_empty(schema)];
            while let Some(batch) = rows.next().await {
                batches.push(batch?);
            }
            n = batches.iter().map(RecordBatch::num_rows).sum();
            writeln!(out, "{}", pretty_format_batches_with_options(&batches, options)?)?;
        }
        ResultFormat::Csv | ResultFormat::Tsv => {
            let delimiter = if format == ResultFormat::Csv { b',' } else { b'\t' };
            let mut w = CsvBuilder::new().with_header(true).with_delimiter(delimiter).build(out);
            w.write(&flat(&RecordBatch::new_empty(schema), options)?)?;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                n += batch.num_rows();
                w.write(&flat(&batch, options)?)?;
            }
        }
        ResultFormat::Json => {
            let mut w = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut *out);
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                n += batch.num_rows();
                w.write(&batch)?;
            }
            w.finish()?;
            drop(w);
            writeln!(out)?;
        }
        ResultFormat::NdJson => {
            let mut w = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                n += batch.num_rows();
                w.write(&batch)?;
            }
            w.finish()?;
        }
    }
    Ok(n)
}

/// A batch with lists and structs as text, since CSV has neither.
fn flat(batch: &RecordBatch, options: &FormatOptions<'_>) -> Result<RecordBatch, ArrowError> {
    let schema: SchemaRef = batch.schema();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            let text = ArrayFormatter::try_new(column, options)?;
            let values: StringArray =
                (0..column.len()).map(|i| column.is_valid(i).then(|| text.value(i).to_string())).collect();
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(values));
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
