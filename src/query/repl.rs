//! The interactive shell: DataFusion's, but an empty line is no error, `\q` quits anywhere, and
//! statements only read.

use super::error::{QueryError, RefusedStatement};
use super::functions;
use super::options::SqlOptions;
use super::output::ResultFormat;
use super::session::{SqlSession, is_show_functions};
use super::tables::PublicTable;
use arrow::record_batch::RecordBatch;
use datafusion::common::instant::Instant;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParser;
use datafusion_cli::catalog::DynamicObjectStoreCatalog;
use datafusion_cli::cli_context::CliSessionContext;
use datafusion_cli::command::{Command, OutputFormat};
use datafusion_cli::exec::exec_from_commands;
use datafusion_cli::functions::ParquetMetadataFunc;
use datafusion_cli::helper::CliHelper;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use object_store::ObjectStore;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, Helper};
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Rows of a result that are shown.
const MAX_ROWS: usize = 40;

/// One input, up to the Enter that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ShellInput<'a> {
    /// Nothing.
    Empty,
    /// A request to quit.
    Quit,
    /// A command, without its backslash.
    Command(&'a str),
    /// SQL, perhaps incomplete.
    Sql,
}

impl<'a> ShellInput<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim();
        // Also in the middle of a statement: whoever types it there wants to quit.
        let last = text.lines().next_back().unwrap_or_default().trim().trim_end_matches(';');
        let quits = matches!(last.trim_end(), r"\q" | r"\quit");
        if quits || matches!(text.trim_end_matches(';').trim_end(), "quit" | "exit") {
            return Self::Quit;
        }
        match text.strip_prefix('\\') {
            Some(command) => Self::Command(command.trim_end_matches(';').trim_end()),
            None if text.is_empty() => Self::Empty,
            None => Self::Sql,
        }
    }
}

/// DataFusion's helper, with other rules for what ends an input.
struct ShellHelper(CliHelper);

impl Validator for ShellHelper {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        match ShellInput::of(ctx.input()) {
            // An invalid statement is run for its error: kept in the editor, it would block the
            // next input.
            ShellInput::Sql => Ok(match self.0.validate(ctx)? {
                ValidationResult::Invalid(_) => ValidationResult::Valid(None),
                other => other,
            }),
            ShellInput::Empty | ShellInput::Quit | ShellInput::Command(_) => {
                self.0.reset_hint();
                Ok(ValidationResult::Valid(None))
            }
        }
    }
}

impl Highlighter for ShellHelper {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.0.highlight(line, pos)
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.0.highlight_char(line, pos, kind)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.0.highlight_hint(hint)
    }
}

impl Hinter for ShellHelper {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.0.hint(line, pos, ctx)
    }
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        ctx: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        self.0.complete(line, pos, ctx)
    }
}

impl Helper for ShellHelper {}

#[async_trait::async_trait]
impl CliSessionContext for SqlSession {
    fn task_ctx(&self) -> Arc<TaskContext> {
        self.ctx.task_ctx()
    }

    fn session_state(&self) -> SessionState {
        self.ctx.state()
    }

    fn register_object_store(
        &self,
        url: &Url,
        object_store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore + 'static>> {
        self.ctx.register_object_store(url, object_store)
    }

    fn register_table_options_extension_from_scheme(&self, scheme: &str) {
        CliSessionContext::register_table_options_extension_from_scheme(&self.ctx, scheme);
    }

    async fn execute_logical_plan(&self, plan: LogicalPlan) -> Result<DataFrame, DataFusionError> {
        self.execute(plan).await
    }
}

/// Reads and runs statements and commands until the user quits.
///
/// # Errors
/// When the terminal fails.
pub(super) async fn interactive(session: SqlSession, options: &SqlOptions) -> Result<(), QueryError> {
    if !options.quiet {
        let text = welcome(&session.ctx, &options.dir);
        writeln!(crate::stdout::stdout(), "{text}").map_err(QueryError::Write)?;
    }
    // The CLI sets its own session up like this: quoted URLs are tables.
    let catalogs = Arc::clone(session.ctx.state().catalog_list());
    let catalogs = DynamicObjectStoreCatalog::new(catalogs, session.ctx.state_weak_ref());
    session.ctx.register_catalog_list(Arc::new(catalogs));
    session.ctx.register_udtf("parquet_metadata", Arc::new(ParquetMetadataFunc {}));
    let mut print = PrintOptions {
        format: match options.format {
            ResultFormat::Table => PrintFormat::Table,
            ResultFormat::Csv => PrintFormat::Csv,
            ResultFormat::Tsv => PrintFormat::Tsv,
            ResultFormat::Json => PrintFormat::Json,
            ResultFormat::NdJson => PrintFormat::NdJson,
        },
        quiet: options.quiet,
        maxrows: MaxRows::Limited(MAX_ROWS),
        color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        instrumented_registry: Arc::new(InstrumentedObjectStoreRegistry::new()),
    };
    read_all(&session, &mut print).await.map_err(|e| QueryError::Shell(e.to_string()))
}

/// The shell's first lines.
fn welcome(ctx: &SessionContext, dir: &str) -> String {
    let schema = ctx.catalog("datafusion").and_then(|c| c.schema("public"));
    let mut views = schema.map_or_else(Vec::new, |s| s.table_names());
    let tables = PublicTable::ALL.map(PublicTable::name);
    views.retain(|v| !tables.contains(&v.as_str()));
    views.sort();
    format!(
        "driftglass sql over {dir}, which it only reads\ntables: {}\nviews: {}\nfunctions: {}\n\
         a statement ends with ;  SHOW FUNCTIONS LIKE 'psi'; explains one  \\d lists tables, \\? commands, \\q quits",
        tables.join(", "),
        views.join(", "),
        functions::NAMES.join(", "),
    )
}

/// The file of earlier inputs: beside the user's other settings, never in the current folder.
fn history() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".driftglass_history"))
}

async fn read_all(session: &SqlSession, print: &mut PrintOptions) -> rustyline::Result<()> {
    let mut editor: Editor<ShellHelper, _> = Editor::new()?;
    let dialect = session.ctx.state().config_options().sql_parser.dialect;
    editor.set_helper(Some(ShellHelper(CliHelper::new(&dialect, print.color))));
    let history = history();
    if let Some(path) = &history {
        editor.load_history(path).ok();
    }
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                let typed = ShellInput::of(&line);
                if typed != ShellInput::Empty {
                    editor.add_history_entry(line.trim())?;
                }
                match typed {
                    ShellInput::Empty => {}
                    ShellInput::Quit => break,
                    ShellInput::Command(text) => command(session, text, print).await,
                    ShellInput::Sql => {
                        tokio::select! {
                            done = sql(session, &line, print) => {
                                if let Err(e) = done { print_error(&e) }
                            }
                            _ = tokio::signal::ctrl_c() => println!("^C"),
                        }
                        // SET may have changed it.
                        let dialect = session.ctx.state().config_options().sql_parser.dialect;
                        if let Some(help) = editor.helper_mut() {
                            help.0.set_dialect(&dialect);
                        }
                    }
                }
            }
            Err(ReadlineError::Interrupted) => {
                println!("^C");
                if let Some(help) = editor.helper() {
                    help.0.reset_hint();
                }
            }
            Err(ReadlineError::Eof) => {
                println!();
                break;
            }
            Err(e) => {
                eprintln!("the terminal can't be read: {e}");
                break;
            }
        }
    }
    if let Some(path) = &history {
        editor.save_history(path).ok();
    }
    Ok(())
}

async fn command(session: &SqlSession, text: &str, print: &mut PrintOptions) {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let unknown = || eprintln!("\\{words} is not a command; \\? lists them");
    match words.parse::<Command>() {
        Err(()) => unknown(),
        // The CLI would list the functions of its documentation.
        Ok(Command::ListFunctions) => {
            if let Err(e) = sql(session, "SHOW FUNCTIONS", print).await {
                print_error(&e);
            }
        }
        Ok(Command::SearchFunctions(name)) if functions::is_ours(&name) => {
            if let Err(e) = sql(session, &format!("SHOW FUNCTIONS LIKE '{name}'"), print).await {
                print_error(&e);
            }
        }
        Ok(Command::OutputFormat(None)) => println!("Output format is {:?}.", print.format),
        Ok(Command::OutputFormat(Some(wanted))) => match wanted.parse::<OutputFormat>() {
            Ok(wanted) => {
                if let Err(e) = wanted.execute(print) {
                    print_error(&e);
                }
            }
            Err(()) => unknown(),
        },
        Ok(other) => {
            if let Err(e) = other.execute(session, print).await {
                print_error(&e);
            }
        }
    }
}

async fn sql(session: &SqlSession, text: &str, print: &PrintOptions) -> Result<(), DataFusionError> {
    let mut parsed = DFParser::parse_sql(text).unwrap_or_default();
    parsed.iter().try_for_each(|s| session.check_statement(s))?;
    if parsed.len() != 1 || !parsed.front().is_some_and(is_show_functions) {
        return exec_from_commands(session, vec![text.to_owned()], print).await;
    }
    let Some(statement) = parsed.pop_front() else { return Ok(()) };
    let began = Instant::now();
    let result = session.execute(session.plan(statement).await?).await?;
    let schema = Arc::clone(result.schema().inner());
    let batches = result.collect().await?;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let state = session.ctx.state();
    print.print_batches(schema, &batches, began, rows, &state.config_options().format)
}

fn print_error(e: &DataFusionError) {
    match RefusedStatement::of(e) {
        Some(why) => eprintln!("{why}"),
        None => eprintln!("{e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_an_input_of_its_own_and_quitting_works_everywhere() {
        for empty in ["", "\n", "  \n\t"] {
            assert_eq!(ShellInput::of(empty), ShellInput::Empty);
        }
        for quit in [r"\q", "\n\\q", r"  \q ", r"\q;", "select 1\n\\q", "quit", "exit;", "\nquit ;"] {
            assert_eq!(ShellInput::of(quit), ShellInput::Quit, "{quit:?}");
        }
        assert_eq!(ShellInput::of("\n \\d windows;\n"), ShellInput::Command("d windows"));
        for sql in ["select 1", "select '\\q'", "select quit from t;", "select 1\n"] {
            assert_eq!(ShellInput::of(sql), ShellInput::Sql, "{sql:?}");
        }
    }
}
