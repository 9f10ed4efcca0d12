//! `driftglass sql`: queries of a job's tables.

use super::common::runtime;
use super::{CliError, ConfigFile, Global};
use crate::query::{self, QueryError, ResultFormat, SqlOptions};
use crate::store::panes::dimension_columns;
use clap::Args;
use datafusion::error::DataFusionError;
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, Args)]
pub struct SqlCommand {
    #[command(flatten)]
    config: ConfigFile,
    /// Statement to run, repeatable; without -e and files: standard input, or the interactive shell
    #[arg(short = 'e', long = "execute", value_name = "QUERY")]
    commands: Vec<String>,
    /// Files of statements; they run before those of -e
    #[arg(value_name = "FILE.sql")]
    files: Vec<PathBuf>,
    /// Output format; --json is short for --format json
    #[arg(short, long, value_enum)]
    format: Option<ResultFormat>,
}

impl SqlCommand {
    /// Runs the statements.
    ///
    /// # Errors
    /// When a statement is wrong, or the output can't be read.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let config = self.config.read()?;
        let groupings = config.groupings().map_err(CliError::usage)?;
        let runtime = runtime()?;
        let options = SqlOptions {
            dir: config.output.dir.clone(),
            commands: self.commands,
            files: self.files,
            format: self.format.unwrap_or(if global.json { ResultFormat::Json } else { ResultFormat::Table }),
            quiet: global.quiet,
            min_users: config.privacy.min_users,
            dimensions: dimension_columns(&groupings),
        };
        query::run(&options, runtime.handle()).map_err(classify)
    }
}

/// What the user wrote is usage; what the tables or the disk did is a failure.
fn classify(e: QueryError) -> CliError {
    let usage = match &e {
        QueryError::Syntax { .. }
        | QueryError::ShellCommand { .. }
        | QueryError::Refused { .. }
        | QueryError::NoShell => true,
        QueryError::Statement { source, .. } => is_the_statements_fault(source),
        QueryError::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        QueryError::Output { .. } | QueryError::Session(_) | QueryError::Write(_) | QueryError::Shell(_) => {
            false
        }
    };
    if usage { CliError::usage(e) } else { CliError::failed(e) }
}

fn is_the_statements_fault(e: &DataFusionError) -> bool {
    use arrow::error::ArrowError as A;
    match e.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        // A function's argument that only turns out to be wrong on the rows.
        | DataFusionError::Execution(_) => true,
        DataFusionError::ArrowError(e, _) => matches!(
            e.as_ref(),
            A::DivideByZero | A::ArithmeticOverflow(_) | A::CastError(_) | A::ParseError(_) | A::InvalidArgumentError(_)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_statement_is_usage_and_a_broken_disk_is_not() {
        let statement =
            |source| QueryError::Statement { origin: "-e".into(), number: 1, source: Box::new(source) };
        let wrong = classify(statement(DataFusionError::Plan("table 'x' not found".into())));
        assert_eq!(wrong.code(), 2);
        let zero = DataFusionError::ArrowError(Box::new(arrow::error::ArrowError::DivideByZero), None);
        assert_eq!(classify(statement(zero)).code(), 2);
        let share =
            DataFusionError::Execution("the share of a quantile lies between 0 and 1, not at 2".into());
        let share = classify(statement(share));
        assert_eq!(share.code(), 2);
        assert_eq!(
            share.to_string(),
            "-e, statement 1: the share of a quantile lies between 0 and 1, not at 2"
        );
        let broken = DataFusionError::IoError(std::io::Error::other("disk"));
        assert_eq!(classify(statement(DataFusionError::Context("scan".into(), Box::new(broken)))).code(), 3);
    }
}
