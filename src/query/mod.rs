//! SQL over a job's tables: a DataFusion session with the tables, the functions over sketches and the views of `sql/views.sql`,
//! and the shell of `driftglass sql`.

pub mod functions;
mod guard;
mod output;
#[cfg(feature = "datafusion-cli")]
mod repl;
mod session;
mod shell;
mod tables;

pub use guard::Refused;
pub use output::Format;
pub use session::{Session, VIEWS, session};
pub use shell::{SqlOptions, run};
pub use tables::Table;

use datafusion::error::DataFusionError;
use thiserror::Error;

/// Why a query could not be answered.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The job's output is not there, or its URL means no store.
    #[error("can't open output {dir}: {message}")]
    Output {
        /// As configured.
        dir: String,
        /// Why.
        message: String,
    },
    /// The session, a table or a view could not be set up.
    #[error("can't set up the tables: {0}")]
    Session(Box<DataFusionError>),
    /// A file of statements could not be read.
    #[error("can't read {path}: {source}")]
    File {
        /// The file; `standard input`.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A script is no SQL; none of its statements ran.
    #[error("{origin}: {source}")]
    Syntax {
        /// The file, or `-e`.
        origin: String,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// A statement failed; the ones before it ran.
    #[error("{origin}, statement {number}: {}", plain(.source))]
    Statement {
        /// The file, or `-e`.
        origin: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// A statement would have written into the output; the ones before it ran.
    #[error("{origin}, statement {number}: {source}")]
    Refused {
        /// The file, or `-e`.
        origin: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        source: Refused,
    },
    /// The result could not be written.
    #[error("can't write the result: {0}")]
    Write(#[source] std::io::Error),
    /// The terminal failed.
    #[error("the interactive shell failed: {0}")]
    Shell(String),
    /// The build lacks the cargo feature `datafusion-cli`.
    #[error(
        "this build has no interactive shell (cargo feature datafusion-cli): pass -e QUERY, a file, or SQL on standard input"
    )]
    NoShell,
}

/// What a statement's error says, without the layers that it came through and the list of functions that don't fit.
fn plain(e: &DataFusionError) -> String {
    let mut text = e.to_string();
    if let Some(at) = text.rfind("user-defined coercion failed with: ") {
        text.drain(..at + "user-defined coercion failed with: ".len());
        text.truncate(text.find(". No function matches").unwrap_or(text.len()));
    }
    for layer in ["Error during planning: ", "Execution error: "] {
        if let Some(rest) = text.strip_prefix(layer) {
            text = rest.to_owned();
        }
    }
    text
}

impl From<DataFusionError> for QueryError {
    fn from(e: DataFusionError) -> Self {
        Self::Session(Box::new(e))
    }
}

#[cfg(test)]
mod tests;
