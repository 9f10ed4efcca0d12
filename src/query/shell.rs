//! `driftglass sql`: statements from the command line, files or standard input, or the interactive DataFusion CLI.

use super::output::{self, Format};
use super::session::Session;
use super::{QueryError, Refused, functions};
use arrow::util::display::FormatOptions;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What `driftglass sql` was asked to do.
#[derive(Debug, Clone, Default)]
pub struct SqlOptions {
    /// The job's output: a folder or an object-store URL.
    pub dir: String,
    /// Statements of `-e`, after the files.
    pub commands: Vec<String>,
    /// Files of statements.
    pub files: Vec<PathBuf>,
    /// How results are printed.
    pub format: Format,
    /// Without the welcome and the number of rows.
    pub quiet: bool,
    /// Distinct users from which on a token is shown.
    pub min_users: u32,
    /// The job's dimension columns ([`crate::store::panes::dimension_columns`]).
    pub dimensions: Vec<String>,
}

/// Runs what was asked: files, then commands, each statement in turn until one fails; without any, standard input if it is no
/// terminal, else the interactive shell.
///
/// # Errors
/// When the output can't be opened, or at the first statement that fails.
pub fn run(options: &SqlOptions, runtime: &tokio::runtime::Handle) -> Result<(), QueryError> {
    let scripts = scripts(options)?;
    runtime.block_on(async {
        let session = Session::open(&options.dir, &options.dimensions, options.min_users).await?;
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

/// Statements with where they come from.
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
        all.push(Script { origin, text });
    }
    Ok(all)
}

/// Runs a script's statements and writes their results.
pub(super) async fn execute(
    session: &Session,
    script: &Script,
    format: Format,
    quiet: bool,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    // A script may begin with the line that names its interpreter; it stays as a comment, so that positions stay true.
    let text = match script.text.strip_prefix("#!") {
        Some(rest) => format!("--{rest}"),
        None => script.text.clone(),
    };
    let statements = DFParser::parse_sql(&text)
        .map_err(|e| QueryError::Syntax { origin: script.origin.clone(), source: Box::new(e) })?;
    for (i, statement) in statements.into_iter().enumerate() {
        let began = Instant::now();
        let n = one(session, statement, format, out).await.map_err(|e| failed(e, &script.origin, i + 1))?;
        if let (Some(n), Format::Table, false) = (n, format, quiet) {
            let seconds = began.elapsed().as_secs_f64();
            let rows = if n == 1 { "row" } else { "rows" };
            writeln!(out, "{n} {rows} in {seconds:.3} s").map_err(QueryError::Write)?;
        }
        out.flush().map_err(QueryError::Write)?;
    }
    Ok(())
}

/// A statement's error, with where it stands.
fn failed(e: DataFusionError, origin: &str, number: usize) -> QueryError {
    let origin = origin.to_owned();
    match refused(&e) {
        Some(source) => QueryError::Refused { origin, number, source },
        None => QueryError::Statement { origin, number, source: Box::new(e) },
    }
}

/// Why a statement was refused, if that is its error.
pub(super) fn refused(e: &DataFusionError) -> Option<Refused> {
    match e.find_root() {
        DataFusionError::External(e) => e.downcast_ref::<Refused>().cloned(),
        _ => None,
    }
}

/// The number of rows, or `None` for a statement that has none.
async fn one(
    session: &Session,
    statement: Statement,
    format: Format,
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

/// What the interactive shell says first.
#[cfg_attr(
    not(feature = "datafusion-cli"),
    expect(dead_code, reason = "only the interactive shell welcomes")
)]
pub(super) fn welcome(ctx: &SessionContext, dir: &str) -> String {
    let schema = ctx.catalog("datafusion").and_then(|c| c.schema("public"));
    let mut views = schema.map_or_else(Vec::new, |s| s.table_names());
    let tables = super::Table::ALL.map(super::Table::name);
    views.retain(|v| !tables.contains(&v.as_str()));
    views.sort();
    format!(
        "driftglass sql over {dir}, which it only reads\ntables: {}\nviews: {}\nfunctions: {}\n\
         a statement ends with ;  SHOW FUNCTIONS LIKE 'psi'; explains one  \\d lists tables, \\? commands, \\q leaves",
        tables.join(", "),
        views.join(", "),
        functions::NAMES.join(", "),
    )
}

#[cfg(not(feature = "datafusion-cli"))]
async fn interactive(_: Session, _: &SqlOptions) -> Result<(), QueryError> {
    Err(QueryError::NoShell)
}

#[cfg(feature = "datafusion-cli")]
use super::repl::interactive;
