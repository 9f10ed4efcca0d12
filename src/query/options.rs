//! The arguments of `driftglass sql`.

use super::output::ResultFormat;
use std::path::PathBuf;

/// The arguments of `driftglass sql`.
#[derive(Debug, Clone, Default)]
pub struct SqlOptions {
    /// The job's output: a folder or an object-store URL.
    pub dir: String,
    /// Statements of `-e`, after the files.
    pub commands: Vec<String>,
    /// Files of statements.
    pub files: Vec<PathBuf>,
    /// How results are printed.
    pub format: ResultFormat,
    /// Leaves out the welcome and the number of rows.
    pub quiet: bool,
    /// The number of distinct users from which a token is shown.
    pub min_users: u32,
    /// The job's dimension columns ([`crate::store::panes::dimension_columns`]).
    pub dimensions: Vec<String>,
}
