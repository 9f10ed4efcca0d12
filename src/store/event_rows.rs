//! The archive of events: their Arrow form without prompt text or raw ids, and the way back to [`Event`].
//!
//! The order of a prompt's tokens is dropped on purpose, since the sequence could tell the prompt. Of an event whose user opted out
//! only identity-free volume is kept: when, at which stage, on which part of the service. A replay of the archive fills the same
//! panes as the messages did.

use crate::enrich::Clean;
use crate::event::text::admit_request_id;
use crate::event::{Event, Flag, Id, Num, Prompt, Stage, Text};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBuilder, Float64Array, Float64Builder,
    Int32Array, Int32Builder, Int64Array, Int64Builder, ListArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt16Array, UInt16Builder,
    UInt64Array, UInt64Builder,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType, UInt16Type, UInt64Type,
};
use arrow::error::ArrowError;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use thiserror::Error;

/// Parquet metadata key: the hashing key's id, 16 hex digits.
pub const KEY_ID: &str = "driftglass.key_id";
/// Parquet metadata key: the version of the archive's schema.
pub const VERSION_KEY: &str = "driftglass.archive_version";
/// The version of the archive's schema.
pub const VERSION: &str = "1";

/// Columns that a reader can't do without, in any projection.
pub const REQUIRED: [&str; 7] =
    ["partition", "offset", "request_id", "request_hash", "timestamp", "pipeline_stage", "opt_out"];

/// What to write as a Parquet file's key-value metadata.
#[must_use]
pub fn metadata(key_id: u64) -> [(&'static str, String); 2] {
    [(KEY_ID, format!("{key_id:016x}")), (VERSION_KEY, VERSION.to_owned())]
}

/// The columns.
#[must_use]
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = |t| DataType::List(Arc::new(Field::new_list_field(t, true)));
        let mut fields = vec![
            Field::new("topic", DataType::Utf8, false),
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("record_time", time(), true),
            Field::new("request_id", DataType::Utf8, false),
            Field::new("request_hash", DataType::UInt64, false),
            Field::new("timestamp", time(), false),
            Field::new("pipeline_stage", DataType::Utf8, false),
            Field::new("session_hash", DataType::UInt64, true),
            Field::new("user_hash", DataType::UInt64, true),
            Field::new("opt_out", DataType::Boolean, false),
            Field::new("failed", DataType::Boolean, false),
            Field::new("prompt_tokens", list(DataType::UInt16), true),
            Field::new("loras", list(DataType::Utf8), true),
            Field::new("seed", DataType::Int64, true),
        ];
        fields.extend(Num::ALL.iter().map(|f| Field::new(f.column(), DataType::Float64, true)));
        fields.extend(Flag::ALL.iter().map(|f| Field::new(f.column(), DataType::Boolean, true)));
        fields.extend(Text::ALL.iter().map(|f| Field::new(f.column(), DataType::Utf8, true)));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// Where a record stands in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The topic; for files a name of the input.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's own time, microseconds since 1970.
    pub record_time_us: Option<i64>,
}

/// Gathers events into a record batch of [`schema`].
#[derive(Debug)]
pub struct ArchiveBuilder {
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    record_time: TimestampMicrosecondBuilder,
    request_id: StringBuilder,
    request_hash: UInt64Builder,
    timestamp: TimestampMicrosecondBuilder,
    stage: StringBuilder,
    session: UInt64Builder,
    user: UInt64Builder,
    opt_out: BooleanBuilder,
    failed: BooleanBuilder,
    tokens: ListBuilder<UInt16Builder>,
    loras: ListBuilder<StringBuilder>,
    seed: Int64Builder,
    nums: Vec<Float64Builder>,
    flags: Vec<BooleanBuilder>,
    texts: Vec<StringBuilder>,
    sorted: Vec<u16>,
    rows: usize,
}

impl Default for ArchiveBuilder {
    fn default() -> Self {
        Self {
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            record_time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            request_id: StringBuilder::new(),
            request_hash: UInt64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            stage: StringBuilder::new(),
            session: UInt64Builder::new(),
            user: UInt64Builder::new(),
            opt_out: BooleanBuilder::new(),
            failed: BooleanBuilder::new(),
            tokens: ListBuilder::new(UInt16Builder::new()),
            loras: ListBuilder::new(StringBuilder::new()),
            seed: Int64Builder::new(),
            nums: Num::ALL.iter().map(|_| Float64Builder::new()).collect(),
            flags: Flag::ALL.iter().map(|_| BooleanBuilder::new()).collect(),
            texts: Text::ALL.iter().map(|_| StringBuilder::new()).collect(),
            sorted: Vec::new(),
            rows: 0,
        }
    }
}

impl ArchiveBuilder {
    /// Rows gathered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nothing was gathered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends an event. `clean` is what the enricher made of it.
    pub fn push(&mut self, event: &Event<'_>, clean: &Clean, place: Place<'_>) {
        let kept = !event.opt_out;
        self.rows += 1;
        self.topic.append_value(place.topic);
        self.partition.append_value(place.partition);
        self.offset.append_value(place.offset);
        self.record_time.append_option(place.record_time_us);
        self.request_id.append_value(admit_request_id(&event.request_id, clean.ids.request));
        self.request_hash.append_value(clean.ids.request);
        self.timestamp.append_value(event.time_us);
        self.stage.append_value(event.stage.name());
        self.session.append_option(clean.ids.session.filter(|_| kept));
        self.user.append_option(clean.ids.user.filter(|_| kept));
        self.opt_out.append_value(event.opt_out);
        self.failed.append_value(event.failed && kept);
        self.push_tokens(event, clean);
        if let Some(loras) = &clean.loras {
            loras.iter().for_each(|l| self.loras.values().append_value(l));
        }
        self.loras.append(clean.loras.is_some());
        self.seed.append_option(event.seed.filter(|_| kept));
        for (&field, column) in Num::ALL.iter().zip(&mut self.nums) {
            let mut value = event.nums[field as usize];
            // Numbers stay as they came, whatever their range: a replay checks them, perhaps against another one. But
            // the length that a replay would compute from the text has to be here.
            let read = clean.ids.read.as_ref();
            if field == Num::PromptLength && !field.range().contains(value) && read.is_some() {
                value = read.map_or(f64::NAN, |r| f64::from(r.length));
            }
            column.append_option(Some(value).filter(|v| kept && !v.is_nan()));
        }
        for (&field, column) in Flag::ALL.iter().zip(&mut self.flags) {
            column.append_option(event.flags[field as usize].filter(|_| kept));
        }
        for (name, column) in clean.texts.iter().zip(&mut self.texts) {
            column.append_option(name.as_deref());
        }
    }

    fn push_tokens(&mut self, event: &Event<'_>, clean: &Clean) {
        let tokens: Option<&[u16]> = match (&clean.ids.read, &event.prompt) {
            _ if event.opt_out => None,
            (Some(read), _) => Some(&read.tokens),
            (None, Prompt::Tokens(tokens)) => Some(tokens),
            (None, Prompt::Text(_) | Prompt::Missing) => None,
        };
        if let Some(tokens) = tokens {
            self.sorted.clear();
            self.sorted.extend_from_slice(tokens);
            self.sorted.sort_unstable();
            self.tokens.values().append_slice(&self.sorted);
        }
        self.tokens.append(tokens.is_some());
    }

    /// The rows gathered so far; the builder starts anew.
    ///
    /// # Errors
    /// When Arrow finds the columns inconsistent.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.record_time.finish()),
            Arc::new(self.request_id.finish()),
            Arc::new(self.request_hash.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.stage.finish()),
            Arc::new(self.session.finish()),
            Arc::new(self.user.finish()),
            Arc::new(self.opt_out.finish()),
            Arc::new(self.failed.finish()),
            Arc::new(self.tokens.finish()),
            Arc::new(self.loras.finish()),
            Arc::new(self.seed.finish()),
        ];
        columns.extend(self.nums.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.extend(self.flags.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.extend(self.texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        RecordBatch::try_new(schema(), columns)
    }
}

/// Why rows are not those of an archive.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ArchiveError {
    /// A column is not there.
    #[error("not an archive of events: column {0} is missing; write archives with driftglass archive")]
    Missing(&'static str),
    /// A column has another type.
    #[error("not an archive of events: column {column} is {found}, not {expected}; write it as {expected}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The archive's type.
        expected: String,
    },
    /// A column holds values that its type here can't be.
    #[error("column {column} is {found} and holds values that are no {expected}; write it as {expected}")]
    Values {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The archive's type.
        expected: String,
    },
    /// Columns that don't go together.
    #[error("the columns don't fit together: {0}")]
    Batch(String),
    /// A required value is null.
    #[error("row {row} has no {column}")]
    Null {
        /// The column.
        column: &'static str,
        /// The row within its batch.
        row: usize,
    },
    /// A stage that does not exist.
    #[error("row {row} has pipeline_stage {stage:?}, which is not a stage")]
    Stage {
        /// What stands there.
        stage: String,
        /// The row within its batch.
        row: usize,
    },
}

/// Reads rows of an archive as events. Columns left out by a projection count as missing in every event.
#[derive(Debug)]
pub struct ArchiveReader<'b> {
    rows: usize,
    stages: Vec<Stage>,
    partition: &'b Int32Array,
    offset: &'b Int64Array,
    request_id: &'b StringArray,
    request_hash: &'b UInt64Array,
    timestamp: &'b TimestampMicrosecondArray,
    opt_out: &'b BooleanArray,
    record_time: Option<&'b TimestampMicrosecondArray>,
    session: Option<&'b UInt64Array>,
    user: Option<&'b UInt64Array>,
    failed: Option<&'b BooleanArray>,
    tokens: Option<(&'b ListArray, &'b UInt16Array)>,
    loras: Option<(&'b ListArray, &'b StringArray)>,
    seed: Option<&'b Int64Array>,
    nums: Vec<Option<&'b Float64Array>>,
    flags: Vec<Option<&'b BooleanArray>>,
    texts: Vec<Option<&'b StringArray>>,
}

/// A column by its name, checked against the archive's type.
fn typed<'b>(batch: &'b RecordBatch, name: &str) -> Result<Option<&'b ArrayRef>, ArchiveError> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    let schema = schema();
    let expected = schema.field_with_name(name).map_or(DataType::Null, |f| f.data_type().clone());
    if array.data_type().equals_datatype(&expected) {
        return Ok(Some(array));
    }
    let (found, expected) = (array.data_type().to_string(), expected.to_string());
    Err(ArchiveError::Type { column: name.to_owned(), found, expected })
}

fn required<'b>(batch: &'b RecordBatch, name: &'static str) -> Result<&'b ArrayRef, ArchiveError> {
    let array = typed(batch, name)?.ok_or(ArchiveError::Missing(name))?;
    match (0..array.len()).find(|r| array.is_null(*r)) {
        Some(row) if array.null_count() > 0 => Err(ArchiveError::Null { column: name, row }),
        _ => Ok(array),
    }
}

fn value<T: ArrowPrimitiveType>(
    array: Option<&arrow::array::PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    array.filter(|a| a.is_valid(row)).map(|a| a.value(row))
}

fn flag(array: Option<&BooleanArray>, row: usize) -> Option<bool> {
    array.filter(|a| a.is_valid(row)).map(|a| a.value(row))
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

impl<'b> ArchiveReader<'b> {
    /// A reader of a batch.
    ///
    /// # Errors
    /// When a required column is missing or null, a column has another type, or a stage does not exist.
    pub fn new(batch: &'b RecordBatch) -> Result<Self, ArchiveError> {
        let stages = required(batch, "pipeline_stage")?.as_string::<i32>();
        let stages = (0..batch.num_rows()).map(|row| {
            Stage::from_name(stages.value(row))
                .ok_or_else(|| ArchiveError::Stage { stage: stages.value(row).to_owned(), row })
        });
        let u64s = |name| Ok(typed(batch, name)?.map(|a| a.as_primitive::<UInt64Type>()));
        let list = |name| Ok(typed(batch, name)?.map(|a| a.as_list::<i32>()));
        Ok(Self {
            rows: batch.num_rows(),
            stages: stages.collect::<Result<_, _>>()?,
            partition: required(batch, "partition")?.as_primitive::<Int32Type>(),
            offset: required(batch, "offset")?.as_primitive::<Int64Type>(),
            request_id: required(batch, "request_id")?.as_string(),
            request_hash: required(batch, "request_hash")?.as_primitive::<UInt64Type>(),
            timestamp: required(batch, "timestamp")?.as_primitive::<TimestampMicrosecondType>(),
            opt_out: required(batch, "opt_out")?.as_boolean(),
            record_time: typed(batch, "record_time")?.map(|a| a.as_primitive()),
            session: u64s("session_hash")?,
            user: u64s("user_hash")?,
            failed: typed(batch, "failed")?.map(|a| a.as_boolean()),
            tokens: list("prompt_tokens")?.map(|l| (l, l.values().as_primitive::<UInt16Type>())),
            loras: list("loras")?.map(|l| (l, l.values().as_string())),
            seed: typed(batch, "seed")?.map(|a| a.as_primitive()),
            nums: Num::ALL
                .iter()
                .map(|f| Ok(typed(batch, f.column())?.map(|a| a.as_primitive::<Float64Type>())))
                .collect::<Result<_, _>>()?,
            flags: Flag::ALL
                .iter()
                .map(|f| Ok(typed(batch, f.column())?.map(|a| a.as_boolean())))
                .collect::<Result<_, _>>()?,
            texts: Text::ALL
                .iter()
                .map(|f| Ok(typed(batch, f.column())?.map(|a| a.as_string())))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// A row's partition.
    #[must_use]
    pub fn partition(&self, row: usize) -> i32 {
        self.partition.value(row)
    }

    /// A row's offset.
    #[must_use]
    pub fn offset(&self, row: usize) -> i64 {
        self.offset.value(row)
    }

    /// The time of the record that a row was made of, microseconds since 1970.
    #[must_use]
    pub fn record_time_us(&self, row: usize) -> Option<i64> {
        value(self.record_time, row)
    }

    /// A row as an event that borrows from the batch.
    #[must_use]
    pub fn event(&self, row: usize) -> Event<'b> {
        let id = |column| value(column, row).map_or(Id::Missing, Id::Hashed);
        let mut event = Event::new(
            Cow::Borrowed(self.request_id.value(row)),
            self.timestamp.value(row),
            self.stages[row],
        );
        event.archived = true;
        event.request_hash = Some(self.request_hash.value(row));
        event.session = id(self.session);
        event.user = id(self.user);
        event.opt_out = self.opt_out.value(row);
        event.failed = flag(self.failed, row).unwrap_or(false);
        event.seed = value(self.seed, row);
        if let Some((list, values)) = self.tokens.filter(|(l, _)| l.is_valid(row)) {
            event.prompt = Prompt::Tokens(Cow::Borrowed(&values.values()[range(list, row)]));
        }
        if let Some((list, values)) = self.loras.filter(|(l, _)| l.is_valid(row)) {
            event.loras = Some(range(list, row).map(|i| Cow::Borrowed(values.value(i))).collect());
        }
        for (slot, column) in event.nums.iter_mut().zip(&self.nums) {
            // Not a number, and beyond all numbers, is what a rewritten archive may say of what is
            // missing.
            *slot = value(*column, row).filter(|v| v.is_finite()).unwrap_or(f64::NAN);
        }
        for (slot, column) in event.flags.iter_mut().zip(&self.flags) {
            *slot = flag(*column, row);
        }
        for (slot, column) in event.texts.iter_mut().zip(&self.texts) {
            *slot = column.filter(|c| c.is_valid(row)).map(|c| Cow::Borrowed(c.value(row)));
        }
        event
    }
}

#[cfg(test)]
#[path = "event_rows_tests.rs"]
mod tests;
