//! The public tables as queries see them: their names, and their columns before the first file is
//! written.

use crate::alert::alerts_schema;
use crate::store::exclusions::exclusions_schema;
use crate::store::panes;
use crate::store::rejects::rejects_schema;
use crate::store::rows::windows_schema;
use crate::store::vectors::vectors_schema;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use std::sync::Arc;

/// A public table; its files are in the folder of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicTable {
    /// Sketches per segment, feature and hour.
    Panes,
    /// Scores per segment, feature, rolling window and baseline.
    Windows,
    /// Alerts, a row per change of state.
    Alerts,
    /// Messages and fields that were refused.
    Rejects,
    /// Days that were excluded from later baselines.
    Exclusions,
    /// Vectors of images, or the reasons why there are none.
    Vectors,
}

impl PublicTable {
    /// All of them, in the order in which they are listed.
    pub(super) const ALL: [Self; 6] =
        [Self::Panes, Self::Windows, Self::Alerts, Self::Rejects, Self::Exclusions, Self::Vectors];

    /// The table's name and folder.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Panes => "panes",
            Self::Windows => "windows",
            Self::Alerts => "alerts",
            Self::Rejects => "rejects",
            Self::Exclusions => "exclusions",
            Self::Vectors => "vectors",
        }
    }

    /// The columns of its files, for a job with these dimension columns. All may be null: a file of
    /// an earlier version lacks some.
    #[must_use]
    pub(super) fn schema(self, dimensions: &[String]) -> SchemaRef {
        let written = match self {
            Self::Panes => panes::schema(dimensions),
            Self::Windows => windows_schema(dimensions),
            Self::Alerts => alerts_schema(),
            Self::Rejects => rejects_schema(),
            Self::Exclusions => exclusions_schema(),
            Self::Vectors => vectors_schema(),
        };
        let nullable = |f: &FieldRef| f.as_ref().clone().with_nullable(true);
        Arc::new(Schema::new(written.fields().iter().map(nullable).collect::<Vec<_>>()))
    }
}
