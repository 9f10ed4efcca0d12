//! The errors of this room.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use thiserror::Error;

/// A statement that would write where SQL only reads. The text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RefusedStatement(pub(super) String);

impl RefusedStatement {
    /// Why a statement was refused, if that is its error.
    pub(super) fn of(error: &DataFusionError) -> Option<Self> {
        match error.find_root() {
            DataFusionError::External(e) => e.downcast_ref::<Self>().cloned(),
            _ => None,
        }
    }
}

/// Why a query could not be answered.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The job's output does not exist, or its URL names no known store.
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
    /// A script is not valid SQL; none of its statements ran.
    #[error("{origin}: {}", not_sql(.source))]
    Syntax {
        /// The file, or `-e`.
        origin: String,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// A script has a command of the shell; none of its statements ran.
    #[error(
        "{origin}: {command} works only in the interactive shell; SHOW TABLES lists the tables, and a line \\q ends standard input"
    )]
    ShellCommand {
        /// The file, or `-e`.
        origin: String,
        /// The command, without its arguments.
        command: String,
    },
    /// A statement failed; the statements before it ran.
    #[error("{origin}, statement {number}: {}", plain(.source))]
    Statement {
        /// The file, or `-e`.
        origin: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// A statement would have written into the output; the statements before it ran.
    #[error("{origin}, statement {number}: {source}")]
    Refused {
        /// The file, or `-e`.
        origin: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        source: RefusedStatement,
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

/// The parser's own message; its errors display in debug form.
fn not_sql(e: &DataFusionError) -> String {
    match e.find_root() {
        DataFusionError::SQL(e, _) => match e.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                format!("not valid SQL: {text}")
            }
            e @ ParserError::RecursionLimitExceeded => format!("not valid SQL: {e}"),
        },
        e => e.to_string(),
    }
}

/// A statement's error without DataFusion's prefixes and its list of functions that don't fit.
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
