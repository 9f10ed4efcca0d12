//! A batch of events as the windows need them: no text but admitted names, values by feature, everything in shared buffers.

use crate::event::Stage;
use std::ops::Range;
use std::sync::Arc;

/// A feature's value in one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The event doesn't carry it, or its stage isn't one that the feature reads.
    Missing,
    /// The event itself (for the volume).
    Event,
    /// A number.
    Num(f64),
    /// Yes or no.
    Flag(bool),
    /// A category.
    Text(Arc<str>),
    /// Several categories: a range of [`Batch::names`].
    Names(Range<u32>),
    /// Tokens: a range of [`Batch::tokens`].
    Tokens(Range<u32>),
}

/// One event's identity and place; its values and dimensions stand in the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Event time, microseconds.
    pub time_us: i64,
    /// The stage that spoke.
    pub stage: Stage,
    /// Keyed hash of the session; the request's where the event names no session.
    pub session: u64,
    /// Keyed hash of the user, where the event names one.
    pub user: Option<u64>,
    /// Keyed hash of the request id.
    pub request: u64,
    /// The admitted request id: a range of [`Batch::ids`].
    pub request_id: Range<u32>,
    /// The user opted out.
    pub opt_out: bool,
}

/// Events in offset order. Row `i` has the values `i·F..(i+1)·F` and the dimensions `i·D..(i+1)·D`.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events.
    pub rows: Vec<Row>,
    /// Values, features per row.
    pub values: Vec<Value>,
    /// Values of the segment dimensions, dimensions per row; `None` where missing.
    pub dimensions: Vec<Option<Arc<str>>>,
    /// All tokens.
    pub tokens: Vec<u16>,
    /// All multi-valued categories.
    pub names: Vec<Arc<str>>,
    /// All request ids.
    pub ids: String,
}

impl Batch {
    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
        self.dimensions.clear();
        self.tokens.clear();
        self.names.clear();
        self.ids.clear();
    }

    /// A range of an arena as indices.
    #[must_use]
    pub fn range(r: &Range<u32>) -> Range<usize> {
        r.start as usize..r.end as usize
    }
}
