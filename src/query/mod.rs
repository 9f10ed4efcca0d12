//! SQL over a job's tables: a DataFusion session with the tables, the functions over sketches and
//! the views of `sql/views.sql`, and the shell of `driftglass sql`.

mod error;
mod functions;
mod guard;
mod options;
mod output;
#[cfg(feature = "datafusion-cli")]
mod repl;
mod session;
mod shell;
mod tables;

pub use error::{QueryError, RefusedStatement};
pub use options::SqlOptions;
pub use output::ResultFormat;
pub use shell::run;

#[cfg(test)]
mod tests;
