//! A DataFusion session over a job's output: its tables, the functions over sketches, and the
//! views.

use super::error::QueryError;
use super::functions;
use super::guard::ReadOnlyGuard;
use super::tables::PublicTable;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::{ParquetFormat, transform_schema_to_view};
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, col, lit};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{ShowStatementFilter, Statement as Parsed};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// The views over the tables, in SQL that needs none of this crate's functions.
pub(super) const VIEWS: &str = include_str!("../../sql/views.sql");

/// A session whose statements only read the job's output.
pub(super) struct SqlSession {
    /// The context. Statements that run in it directly are not checked.
    pub(super) ctx: SessionContext,
    /// `None` over tables that belong to no job.
    guard: Option<ReadOnlyGuard>,
    min_users: u32,
}

impl SqlSession {
    /// A session over the tables of the job whose output is `dir` (a folder or an object-store URL).
    ///
    /// A table without files exists and is empty, with the columns that a job with these dimension
    /// columns will write. The next query sees files that appear later. A token is shown from
    /// `min_users` distinct users on.
    ///
    /// # Errors
    /// When the output does not exist, or a table's newest file can't be read.
    pub(super) async fn open(dir: &str, dimensions: &[String], min_users: u32) -> Result<Self, QueryError> {
        let (ctx, url) = context(dir, dimensions, min_users).await?;
        let guard = Some(ReadOnlyGuard::new(&ctx, dir, &url));
        Ok(Self { ctx, guard, min_users })
    }

    /// A session over no job's output.
    #[cfg(test)]
    pub(super) fn without_job(ctx: SessionContext) -> Self {
        Self { ctx, guard: None, min_users: 0 }
    }

    /// Plans a statement. `SHOW FUNCTIONS` starts with driftglass's own functions: DataFusion does
    /// not list functions that choose their argument types themselves.
    ///
    /// # Errors
    /// When it can't be planned, or is refused ([`super::RefusedStatement`]).
    pub(super) async fn plan(&self, statement: Statement) -> Result<LogicalPlan, DataFusionError> {
        self.check_statement(&statement)?;
        let pattern = show_functions_pattern(&statement);
        let plan = self.ctx.state().statement_to_plan(statement).await?;
        let Some(like) = pattern else { return Ok(plan) };
        let mut ours = self.ctx.read_batch(functions::listed(self.min_users)?)?;
        if let Some(like) = like {
            ours = ours.filter(col("function_name").like(lit(like)))?;
        }
        let theirs = DataFrame::new(self.ctx.state(), plan).with_column("ours", lit(false))?;
        let all = ours.with_column("ours", lit(true))?.union(theirs)?;
        all.sort(vec![col("ours").sort(false, false), col("function_name").sort(true, false)])?
            .drop_columns(&["ours"])
            .map(DataFrame::into_unoptimized_plan)
    }

    /// Refuses a statement that writes rows.
    ///
    /// # Errors
    /// When it is refused ([`super::RefusedStatement`]).
    pub(super) fn check_statement(&self, statement: &Statement) -> Result<(), DataFusionError> {
        self.guard.as_ref().map_or(Ok(()), |g| g.check_statement(statement))
    }

    /// Runs a plan, unless it would write into the output.
    ///
    /// # Errors
    /// When it is refused ([`super::RefusedStatement`]) or fails.
    pub(super) async fn execute(&self, plan: LogicalPlan) -> Result<DataFrame, DataFusionError> {
        if let Some(guard) = &self.guard {
            guard.check(&plan)?;
        }
        register_stores(&self.ctx, &plan)?;
        self.ctx.execute_logical_plan(plan).await
    }
}

/// Whether a statement is `SHOW FUNCTIONS`.
#[cfg(feature = "datafusion-cli")]
pub(super) fn is_show_functions(statement: &Statement) -> bool {
    show_functions_pattern(statement).is_some()
}

/// The pattern of `SHOW FUNCTIONS`, if the statement is one.
fn show_functions_pattern(statement: &Statement) -> Option<Option<String>> {
    let Statement::Statement(parsed) = statement else { return None };
    match parsed.as_ref() {
        Parsed::ShowFunctions { filter: None } => Some(None),
        Parsed::ShowFunctions { filter: Some(ShowStatementFilter::Like(like)) } => Some(Some(like.clone())),
        _ => None,
    }
}

/// The context of a session, and the URL under which it knows the output.
async fn context(
    dir: &str,
    dimensions: &[String],
    min_users: u32,
) -> Result<(SessionContext, Url), QueryError> {
    let output = JobOutput::open(dir)?;
    // DataFusion would keep a table's list of files for the life of the session: a running job's
    // new files would never appear.
    let runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0).build_arc()?;
    let config = SessionConfig::new().with_information_schema(true);
    let ctx = SessionContext::new_with_config_rt(config, runtime).enable_url_table();
    if let Some(store) = output.store {
        ctx.register_object_store(&output.url, store);
    }
    functions::register(&ctx, min_users);
    for table in PublicTable::ALL {
        register(&ctx, &output.url, table, dimensions).await?;
    }
    for statement in DFParser::parse_sql(VIEWS)? {
        let plan = ctx.state().statement_to_plan(statement).await?;
        ctx.execute_logical_plan(plan).await?;
    }
    Ok((ctx, output.url))
}

/// Registers the store of an object-store URL with a session; credentials come from the
/// environment.
///
/// # Errors
/// When the URL is of no known store.
fn register_store(ctx: &SessionContext, location: &str) -> Result<(), DataFusionError> {
    let Some(url) = Url::parse(location).ok().filter(|u| u.scheme() != "file") else { return Ok(()) };
    if ctx.runtime_env().object_store(ListingTableUrl::parse(location)?).is_err() {
        let (store, _) = object_store::parse_url_opts(&url, std::env::vars())
            .map_err(|e| DataFusionError::ObjectStore(Box::new(e)))?;
        ctx.register_object_store(&url, Arc::from(store));
    }
    Ok(())
}

/// Registers the stores that a plan names with a session.
fn register_stores(ctx: &SessionContext, plan: &LogicalPlan) -> Result<(), DataFusionError> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(c)) => {
            c.locations.iter().try_for_each(|l| register_store(ctx, l))
        }
        LogicalPlan::Copy(c) => register_store(ctx, &c.output_url),
        _ => Ok(()),
    }
}

/// Where a job's output is, as DataFusion addresses it.
struct JobOutput {
    /// With a slash at its end.
    url: Url,
    /// The store, unless DataFusion has it already.
    store: Option<Arc<dyn ObjectStore>>,
}

impl JobOutput {
    fn open(dir: &str) -> Result<Self, QueryError> {
        let bad = |message: String| QueryError::Output { dir: dir.to_owned(), message };
        let local = match dir.split_once("://") {
            None => Some(PathBuf::from(dir)),
            Some(("file", path)) => Some(PathBuf::from(path)),
            Some(_) => None,
        };
        if let Some(folder) = local {
            let folder = folder.canonicalize().map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => bad(
                    "there is no such folder; name a job's configuration (-c FILE) or its output (-o DIR), or run the job first"
                        .into(),
                ),
                _ => bad(e.to_string()),
            })?;
            if !folder.is_dir() {
                return Err(bad("it is not a folder".into()));
            }
            let url = Url::from_directory_path(&folder).map_err(|()| bad("not an absolute path".into()))?;
            return Ok(Self { url, store: None });
        }
        let given = Url::parse(&format!("{}/", dir.trim_end_matches('/'))).map_err(|e| bad(e.to_string()))?;
        let (store, prefix) =
            object_store::parse_url_opts(&given, std::env::vars()).map_err(|e| bad(e.to_string()))?;
        // DataFusion takes a URL's whole path as the prefix. Where a part of it names the bucket
        // (https://…), a URL of our own identifies the store.
        let url = if Path::from_url_path(given.path()).is_ok_and(|p| p == prefix) {
            given
        } else {
            Url::parse(&format!("driftglass://output/{prefix}/")).map_err(|e| bad(e.to_string()))?
        };
        Ok(Self { url, store: Some(Arc::from(store)) })
    }
}

async fn register(
    ctx: &SessionContext,
    root: &Url,
    table: PublicTable,
    dimensions: &[String],
) -> Result<(), DataFusionError> {
    let at = ListingTableUrl::parse(format!("{root}{}/", table.name()))?;
    let state = ctx.state();
    let store = ctx.runtime_env().object_store(&at)?;
    let format = Arc::new(ParquetFormat::default());
    let newest = at
        .list_all_files(&state, store.as_ref(), ".parquet")
        .await?
        .try_fold(None, |newest: Option<object_store::ObjectMeta>, file| async move {
            Ok(Some(match newest {
                Some(n) if n.location >= file.location => n,
                _ => file,
            }))
        })
        .await?;
    // Reads one footer, not all: a job's files differ in columns only after its dimensions changed.
    let found = match newest {
        Some(file) => Some(format.infer_schema(&state, &store, &[file]).await?),
        None => None,
    };
    let schema = union_of_columns(&transform_schema_to_view(&table.schema(dimensions)), found.as_deref());
    let options = ListingOptions::new(format)
        .with_file_extension(".parquet")
        .with_table_partition_cols(vec![("date".to_owned(), DataType::Date32)]);
    let config = ListingTableConfig::new(at).with_listing_options(options).with_schema(Arc::new(schema));
    let cache = ctx.runtime_env().cache_manager.get_file_statistic_cache();
    ctx.register_table(table.name(), Arc::new(ListingTable::try_new(config)?.with_cache(cache)))?;
    Ok(())
}

/// The columns that a job writes and those of a file, which also decides their types. All may be
/// null, since older files may lack them.
fn union_of_columns(known: &Schema, found: Option<&Schema>) -> Schema {
    let mut fields: Vec<Field> = Vec::new();
    for f in known.fields() {
        let f = found.and_then(|s| s.field_with_name(f.name()).ok()).unwrap_or(f);
        fields.push(f.clone().with_nullable(true));
    }
    for f in found.iter().flat_map(|s| s.fields()) {
        if f.name() != "date" && known.field_with_name(f.name()).is_err() {
            fields.push(f.as_ref().clone().with_nullable(true));
        }
    }
    Schema::new(fields)
}
