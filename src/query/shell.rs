//! `driftglass sql`: statements from the command line, files or standard input, or the interactive
//! DataFusion CLI.

use super::error::{QueryError, RefusedStatement};
use super::options::SqlOptions;
use super::output::{self, ResultFormat};
use super::session::SqlSession;
use arrow::util::display::FormatOptions;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use std::io::{IsTerminal, Read, Write};
use std::time::Instant;

/// Runs files, then commands, each statement in turn until one fails. Without any, runs standard
/// input if it is not a terminal, else the interactive shell.
///
/// # Errors
/// When the output can't be opened, or at the first statement that fails.
pub fn run(options: &SqlOptions, runtime: &tokio::runtime::Handle) -> Result<(), QueryError> {
    let scripts = scripts(options)?;
    runtime.block_on(async {
        let session = SqlSession::open(&options.dir, &options.dimensions, options.min_users).await?;
        if scripts.is_empty() {
            return interactive(session, options).await;
        }
        let mut out = std::io::BufWriter::new(crate::stdout::stdout());
        for s in &scripts {
            execute(&session, s, options.format, options.quiet, &mut out).await?;
        }
        Ok(())
    })
}

/// Statements and where they come from.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) origin: String,
    pub(super) text: String,
}

fn scripts(options: &SqlOptions) -> Result<Vec<Script>, QueryError> {
    let mut all = Vec::new();
    for path in &options.files {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| QueryError::File { path: origin.clone(), source })?;
        all.push(Script { origin, text });
    }
    all.extend(options.commands.iter().map(|c| Script { origin: "-e".into(), text: c.clone() }));
    if all.is_empty() && !std::io::stdin().is_terminal() {
        let mut text = String::new();
        let origin = "standard input".to_owned();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|source| QueryError::File { path: origin.clone(), source })?;
        all.push(Script { origin, text: until_quit(&text).to_owned() });
    }
    Ok(all)
}

/// What comes before a line that quits the shell, so that what is typed there can also be piped.
fn until_quit(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if matches!(line.trim().trim_end_matches(';').trim_end(), r"\q" | r"\quit") {
            break;
        }
        end += line.len();
    }
    &text[..end]
}

/// Runs a script's statements and writes their results.
pub(super) async fn execute(
    session: &SqlSession,
    script: &Script,
    format: ResultFormat,
    quiet: bool,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    // A script may start with the line that names its interpreter. It stays as a comment, so that
    // positions in errors stay correct.
    let text = match script.text.strip_prefix("#!") {
        Some(rest) => format!("--{rest}"),
        None => script.text.clone(),
    };
    let statements = DFParser::parse_sql(&text).map_err(|e| syntax(e, script))?;
    for (i, statement) in statements.into_iter().enumerate() {
        let began = Instant::now();
        let n = run_statement(session, statement, format, out)
            .await
            .map_err(|e| failed(e, &script.origin, i + 1))?;
        if let (Some(n), ResultFormat::Table, false) = (n, format, quiet) {
            let seconds = began.elapsed().as_secs_f64();
            let rows = if n == 1 { "row" } else { "rows" };
            writeln!(out, "{n} {rows} in {seconds:.3} s").map_err(QueryError::Write)?;
        }
        out.flush().map_err(QueryError::Write)?;
    }
    Ok(())
}

/// The error of a script that is not SQL.
fn syntax(e: DataFusionError, script: &Script) -> QueryError {
    let origin = script.origin.clone();
    let mut words = script.text.lines().filter_map(|line| line.split_whitespace().next());
    match words.find(|word| word.starts_with('\\')) {
        Some(command) => QueryError::ShellCommand { origin, command: command.to_owned() },
        None => QueryError::Syntax { origin, source: Box::new(e) },
    }
}

/// A statement's error, with its script and number.
fn failed(e: DataFusionError, origin: &str, number: usize) -> QueryError {
    let origin = origin.to_owned();
    match RefusedStatement::of(&e) {
        Some(source) => QueryError::Refused { origin, number, source },
        None => QueryError::Statement { origin, number, source: Box::new(e) },
    }
}

/// The number of rows, or `None` for a statement that has none.
async fn run_statement(
    session: &SqlSession,
    statement: Statement,
    format: ResultFormat,
    out: &mut dyn Write,
) -> Result<Option<usize>, DataFusionError> {
    let plan = session.plan(statement).await?;
    let result = session.execute(plan).await?;
    let state = session.ctx.state();
    let display: FormatOptions<'_> = (&state.config_options().format).try_into()?;
    let has_columns = !result.schema().fields().is_empty();
    let n = output::write(result.execute_stream().await?, format, &display, out).await?;
    Ok(has_columns.then_some(n))
}

#[cfg(not(feature = "datafusion-cli"))]
async fn interactive(_: SqlSession, _: &SqlOptions) -> Result<(), QueryError> {
    Err(QueryError::NoShell)
}

#[cfg(feature = "datafusion-cli")]
use super::repl::interactive;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sql_is_told_without_the_parsers_own_form() {
        let said = |text: &str| {
            let script = Script { origin: "-e".into(), text: text.into() };
            syntax(DFParser::parse_sql(text).unwrap_err(), &script).to_string()
        };
        assert!(
            said("\\d windows").starts_with("-e: \\d works only in the interactive shell"),
            "{}",
            said("\\d")
        );
        let said = said("SELEC 1");
        assert!(said.starts_with("-e: not valid SQL: Expected: an SQL statement, found: SELEC"), "{said}");
    }

    #[test]
    fn a_line_that_quits_ends_the_input() {
        assert_eq!(until_quit("SELECT 1;\n  \\q;\nSELECT 2;\n"), "SELECT 1;\n");
        assert_eq!(until_quit("\\quit"), "");
        let all = "SELECT '\\q';\nSELECT 2";
        assert_eq!(until_quit(all), all);
    }
}
