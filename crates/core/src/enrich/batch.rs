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
    /// A vector: its number in [`Batch::units`] and [`Batch::projections`].
    Vector(u32),
    /// Which of the watched fields the event lacks.
    Lacking {
        /// The events that it is compared with: [`crate::config::watched::group`].
        group: u8,
        /// The fields, as bits in the order of [`crate::config::watched::Watched::at`].
        fields: u64,
    },
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
    /// Rows whose image is to be looked at.
    pub candidates: Vec<Candidate>,
    /// The candidates' URIs and vectors as they came. Never written; empty before anything else leaves the batch.
    pub addresses: String,
    /// Vectors in [`Batch::units`] and [`Batch::projections`].
    pub vectors: u32,
    /// All vectors, l2-normalised, one after the other.
    pub units: Vec<f64>,
    /// The projections of all vectors, one after the other.
    pub projections: Vec<f64>,
}

/// Where a candidate's vector comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The event carries it: a range of [`Batch::addresses`].
    Inline(Range<u32>),
    /// A file of vectors: the range of its URI.
    VectorFile(Range<u32>),
    /// An image: the range of its URI.
    Image(Range<u32>),
    /// From what an earlier run has recorded, if anything.
    Recorded,
    /// The event says it in a form that can't be read.
    Unreadable,
}

impl ImageSource {
    /// Its name in the `vectors` table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inline(_) => "inline",
            Self::VectorFile(_) => "embedding_uri",
            Self::Image(_) => "image",
            Self::Recorded => "recorded",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A row whose image is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The row.
    pub row: u32,
    /// Where its vector comes from.
    pub source: ImageSource,
    /// Its style collection, for the distance from the style of that name.
    pub collection: Option<Arc<str>>,
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
        self.candidates.clear();
        self.addresses.clear();
        self.vectors = 0;
        self.units.clear();
        self.projections.clear();
    }

    /// A vector's unit form and its projection. All vectors of a batch are of one model.
    #[must_use]
    pub fn vector(&self, number: u32) -> (&[f64], &[f64]) {
        let of = |all: &[f64]| {
            let length = all.len() / (self.vectors.max(1) as usize);
            let from = number as usize * length;
            from..from + length
        };
        (&self.units[of(&self.units)], &self.projections[of(&self.projections)])
    }

    /// A range of an arena as indices.
    #[must_use]
    pub fn range(r: &Range<u32>) -> Range<usize> {
        r.start as usize..r.end as usize
    }
}
