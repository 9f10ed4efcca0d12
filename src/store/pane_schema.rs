//! What the writer and the reader of pane files agree on: columns, metadata keys, the page limit.

use super::rows::timestamp;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The largest page of a pane file in bytes: a page ends only after a thousand rows, and a
/// segment's sketches may take a megabyte.
pub(super) const PAGE_BYTES: i64 = 1 << 30;

/// The key of the packed features' names in a file's metadata.
pub(super) const FEATURES: &str = "driftglass.features";

/// The key of the definitions of features, as JSON, in the metadata of a file whose rows may hold
/// events: each row is what [`crate::window::SegmentSum::write`] wrote.
pub(super) const DEFINITIONS: &str = "driftglass.definitions";

/// The key that says, in a file's metadata, that each of its rows lies within a block of the day
/// ([`crate::baseline::BLOCK`]); without it a row of `_days` is a whole day.
pub(super) const IN_BLOCKS: &str = "driftglass.in_blocks";

/// The schema of `panes` for a job with these dimension columns.
#[must_use]
pub fn schema(dimensions: &[String]) -> SchemaRef {
    let mut f = vec![
        timestamp("start", false),
        timestamp("end", false),
        timestamp("as_of", false),
        Field::new("segment_by", DataType::Utf8, false),
        Field::new("segment", DataType::Utf8, false),
    ];
    f.extend(dimensions.iter().map(|d| Field::new(d, DataType::Utf8, true)));
    f.extend([
        Field::new("feature", DataType::Utf8, false),
        Field::new("n", DataType::UInt64, false),
        Field::new("sketch_id", DataType::Utf8, false),
        Field::new("sketch", DataType::Binary, false),
    ]);
    Arc::new(Schema::new(f))
}
