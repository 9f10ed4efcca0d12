//! `driftglass sql`: statements from the command line, files or standard input, or the interactive DataFusion CLI.

use super::output::{self, Format};
use super::session::{register_store, session};
use super::{QueryError, functions};
use arrow::util::display::FormatOptions;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
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
/// When the output can't be opened, or at the first statement that fails. A reader that closes the pipe early is no error.
pub fn run(options: &SqlOptions, runtime: &tokio::runtime::Handle) -> Result<(), QueryError> {
    let scripts = scripts(options)?;
    runtime.block_on(async {
        let ctx = session(&options.dir, &options.dimensions, options.min_users).await?;
        if scripts.is_empty() {
            return interactive(ctx, options).await;
        }
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for s in &scripts {
            match execute(&ctx, s, options.format, options.quiet, &mut out).await {
                Err(e) if is_closed_pipe(&e) => return Ok(()),
                done => done?,
            }
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
    ctx: &SessionContext,
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
        let n = one(ctx, statement, format, out).await.map_err(|e| QueryError::Statement {
            origin: script.origin.clone(),
            number: i + 1,
            source: Box::new(e),
        })?;
        if let (Some(n), Format::Table, false) = (n, format, quiet) {
            let seconds = began.elapsed().as_secs_f64();
            let rows = if n == 1 { "row" } else { "rows" };
            writeln!(out, "{n} {rows} in {seconds:.3} s").map_err(QueryError::Write)?;
        }
        out.flush().map_err(QueryError::Write)?;
    }
    Ok(())
}

/// The number of rows, or `None` for a statement that has none.
async fn one(
    ctx: &SessionContext,
    statement: Statement,
    format: Format,
    out: &mut dyn Write,
) -> Result<Option<usize>, DataFusionError> {
    let plan = ctx.state().statement_to_plan(statement).await?;
    match &plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(c)) => {
            c.locations.iter().try_for_each(|l| register_store(ctx, l))?;
        }
        LogicalPlan::Copy(c) => register_store(ctx, &c.output_url)?,
        _ => {}
    }
    let result = ctx.execute_logical_plan(plan).await?;
    let state = ctx.state();
    let display: FormatOptions<'_> = (&state.config_options().format).try_into()?;
    let has_columns = !result.schema().fields().is_empty();
    let n = output::write(result.execute_stream().await?, format, &display, out).await?;
    Ok(has_columns.then_some(n))
}

/// Whether an error is that of a reader such as `head` that has read enough.
fn is_closed_pipe(e: &QueryError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::BrokenPipe
        {
            return true;
        }
        cause = c.source();
    }
    false
}

/// What the interactive shell says first.
#[cfg_attr(
    not(feature = "datafusion-cli"),
    expect(dead_code, reason = "only the interactive shell welcomes")
)]
fn welcome(ctx: &SessionContext, dir: &str) -> String {
    let schema = ctx.catalog("datafusion").and_then(|c| c.schema("public"));
    let mut views = schema.map_or_else(Vec::new, |s| s.table_names());
    let tables = super::Table::ALL.map(super::Table::name);
    views.retain(|v| !tables.contains(&v.as_str()));
    views.sort();
    format!(
        "driftglass sql over {dir}\ntables: {}\nviews: {}\nfunctions: {}\n\
         SHOW FUNCTIONS LIKE 'psi' explains one; \\d lists tables, \\q leaves",
        tables.join(", "),
        views.join(", "),
        functions::NAMES.join(", "),
    )
}

#[cfg(not(feature = "datafusion-cli"))]
async fn interactive(_: SessionContext, _: &SqlOptions) -> Result<(), QueryError> {
    Err(QueryError::NoShell)
}

#[cfg(feature = "datafusion-cli")]
async fn interactive(ctx: SessionContext, options: &SqlOptions) -> Result<(), QueryError> {
    use datafusion_cli::catalog::DynamicObjectStoreCatalog;
    use datafusion_cli::functions::ParquetMetadataFunc;
    use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
    use datafusion_cli::print_format::PrintFormat;
    use datafusion_cli::print_options::{MaxRows, PrintOptions};
    use std::sync::Arc;

    if !options.quiet {
        println!("{}", welcome(&ctx, &options.dir));
    }
    // As the CLI itself sets its session up: quoted URLs are tables.
    let catalogs = Arc::clone(ctx.state().catalog_list());
    ctx.register_catalog_list(Arc::new(DynamicObjectStoreCatalog::new(catalogs, ctx.state_weak_ref())));
    ctx.register_udtf("parquet_metadata", Arc::new(ParquetMetadataFunc {}));
    let mut print = PrintOptions {
        format: match options.format {
            Format::Table => PrintFormat::Table,
            Format::Csv => PrintFormat::Csv,
            Format::Tsv => PrintFormat::Tsv,
            Format::Json => PrintFormat::Json,
            Format::NdJson => PrintFormat::NdJson,
        },
        quiet: options.quiet,
        maxrows: MaxRows::Limited(40),
        color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        instrumented_registry: Arc::new(InstrumentedObjectStoreRegistry::new()),
    };
    datafusion_cli::exec::exec_from_repl(&ctx, &mut print).await.map_err(|e| QueryError::Shell(e.to_string()))
}
