//! The settings of the evaluator, which stay the same while a job runs.

use crate::alert::Rules;
use crate::baseline::Pin;
use crate::config::Config;
use crate::config::features::Feature;
use crate::config::segments::Groupings;
use crate::store::panes::TableNames;
use std::sync::Arc;

/// Settings of the evaluator.
#[derive(Debug)]
pub struct EvaluationSettings {
    /// The whole configuration.
    pub config: Config,
    /// The features.
    pub features: Vec<Feature>,
    /// The groupings.
    pub groupings: Arc<Groupings>,
    /// Names for tables.
    pub names: TableNames,
    /// The rules.
    pub rules: Rules,
    /// The pins.
    pub pins: Vec<Pin>,
    /// The named styles, as unit vectors, which explain a drift of embeddings.
    pub styles: Vec<(Arc<str>, Vec<f64>)>,
}
