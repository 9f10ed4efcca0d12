//! The public tables as queries see them: their names, and the columns they have before the first file is written.

use crate::store::panes;
use crate::store::rows::{contributors_type, timestamp, windows_schema};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// A public table; its files lie in the folder of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Sketches per segment, feature and hour.
    Panes,
    /// Scores per segment, feature, rolling window and baseline.
    Windows,
    /// Alerts, a row per change of state.
    Alerts,
    /// Messages and fields that were refused.
    Rejects,
    /// Days judged, with those that left later baselines.
    Exclusions,
}

impl Table {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Panes, Self::Windows, Self::Alerts, Self::Rejects, Self::Exclusions];

    /// The table's name and folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panes => "panes",
            Self::Windows => "windows",
            Self::Alerts => "alerts",
            Self::Rejects => "rejects",
            Self::Exclusions => "exclusions",
        }
    }

    /// The columns of its files, for a job with these dimension columns.
    #[must_use]
    pub fn schema(self, dimensions: &[String]) -> SchemaRef {
        match self {
            Self::Panes => panes::schema(dimensions),
            Self::Windows => windows_schema(dimensions),
            Self::Alerts => alerts_schema(),
            Self::Rejects => rejects_schema(),
            Self::Exclusions => exclusions_schema(),
        }
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

fn count(name: &str) -> Field {
    Field::new(name, DataType::UInt64, true)
}

/// The columns of `alerts`.
#[must_use]
pub fn alerts_schema() -> SchemaRef {
    let mut f: Vec<Field> =
        ["id", "rule", "severity", "state", "segment_by", "segment", "feature", "window", "baseline"]
            .map(text)
            .into();
    f.extend(
        ["at", "pending_since", "firing_since", "resolved_at", "window_start", "window_end"]
            .map(|name| timestamp(name, true)),
    );
    f.extend(["value", "baseline_value"].map(number));
    f.extend(["n", "baseline_n"].map(count));
    f.extend(["psi", "psi_excess", "kl", "p_value", "alpha"].map(number));
    f.extend([text("verdict"), Field::new("complete", DataType::Boolean, true)]);
    f.push(Field::new("contributors", contributors_type(), true));
    f.push(Field::new("examples", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true));
    f.extend(["runbook", "summary"].map(text));
    Arc::new(Schema::new(f))
}

/// The columns of `rejects`.
#[must_use]
pub fn rejects_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("time", true),
        text("topic"),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        text("reason"),
        text("field"),
        Field::new("fatal", DataType::Boolean, true),
    ]))
}

/// The columns of `exclusions`.
#[must_use]
pub fn exclusions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("day", true),
        text("segment_by"),
        text("segment"),
        text("feature"),
        count("judged"),
        count("drifted"),
        timestamp("decided_at", true),
    ]))
}
