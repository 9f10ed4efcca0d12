//! Names that turn a job's segments and features into the text of table columns and back.

use crate::config::features::Feature;
use crate::config::segments::{Grouping, Groupings};
use crate::enrich::Shown;
use crate::window::{Definitions, Segment};
use std::sync::Arc;

/// Names that turn segments and features into text and back.
#[derive(Debug, Clone)]
pub struct TableNames {
    /// The groupings.
    pub groupings: Arc<Groupings>,
    /// The features' names, by index.
    pub features: Vec<Arc<str>>,
    /// The dimension columns.
    pub dimensions: Vec<String>,
    /// The current definitions of the features' sketches. Rows of a file that another definition
    /// made are skipped when it is read: with another hashing key or definition a feature's history
    /// starts again. Without any definitions, all rows are read.
    pub definitions: Definitions,
    /// Which parts of segments and values are text where others than the job may look.
    pub shown: Shown,
}

impl TableNames {
    /// Names of a job.
    #[must_use]
    pub fn new(groupings: Arc<Groupings>, features: &[Feature]) -> Self {
        let dimensions = dimension_columns(&groupings);
        Self {
            groupings,
            features: features.iter().map(|f| Arc::from(f.name.as_str())).collect(),
            dimensions,
            definitions: Arc::default(),
            shown: Shown::default(),
        }
    }

    /// The grouping of a segment.
    #[must_use]
    pub fn grouping(&self, segment: &Segment) -> &Grouping {
        &self.groupings.all[segment.grouping as usize]
    }

    /// The segment by its identity, as exclusions know it: see [`Shown::identity`].
    #[must_use]
    pub fn identity(&self, segment: &Segment) -> Segment {
        let name = self.shown.identity(self.grouping(segment), &segment.name);
        Segment { name, ..segment.clone() }
    }

    /// The same names for these definitions of sketches.
    #[must_use]
    pub fn with_definitions(self, definitions: &Definitions) -> Self {
        Self { definitions: Arc::clone(definitions), ..self }
    }
}

/// The dimension columns of a job's tables: those of its groupings, and always the three that
/// readers can rely on.
#[must_use]
pub fn dimension_columns(groupings: &Groupings) -> Vec<String> {
    let of_groupings = groupings.dimensions.iter().map(|d| crate::event::column(d.path()));
    let mut columns: Vec<String> = of_groupings.collect();
    columns.extend(["model_version", "region", "tenant"].map(String::from));
    columns.sort();
    columns.dedup();
    columns
}
