//! A DataFusion session over a job's output: its tables, the functions over sketches, and the views.

use super::guard::Guard;
use super::{QueryError, Table, functions};
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
pub const VIEWS: &str = include_str!("../../sql/views.sql");

/// A session in which the tables of the job whose output is `dir` (a folder or an object-store URL) can be queried.
///
/// A table without files is there and empty, with the columns that a job with these dimension columns will write. Files that
/// appear later are seen by the next query. `min_users` is the number of distinct users from which on a token is shown.
///
/// # Errors
/// When the output is not there, or a table's newest file can't be read.
pub async fn session(dir: &str, dimensions: &[String], min_users: u32) -> Result<SessionContext, QueryError> {
    Ok(Session::open(dir, dimensions, min_users).await?.ctx)
}

/// A session whose statements only read the job's output.
pub struct Session {
    /// The context; what is run in it past this session is not looked at.
    pub(super) ctx: SessionContext,
    /// `None` over tables that are nobody's.
    guard: Option<Guard>,
    min_users: u32,
}

impl Session {
    /// A session over the output `dir`, as [`session`] makes it.
    ///
    /// # Errors
    /// As [`session`].
    pub async fn open(dir: &str, dimensions: &[String], min_users: u32) -> Result<Self, QueryError> {
        let (ctx, url) = context(dir, dimensions, min_users).await?;
        let guard = Some(Guard::new(&ctx, dir, &url));
        Ok(Self { ctx, guard, min_users })
    }

    /// A session over no job's output.
    #[cfg(test)]
    pub(super) fn stock(ctx: SessionContext) -> Self {
        Self { ctx, guard: None, min_users: 0 }
    }

    /// Plans a statement. `SHOW FUNCTIONS` begins with driftglass's own: DataFusion leaves out functions that choose their
    /// arguments' types themselves.
    ///
    /// # Errors
    /// When it can't be planned, or is refused ([`super::Refused`]).
    pub async fn plan(&self, statement: Statement) -> Result<LogicalPlan, DataFusionError> {
        self.check_statement(&statement)?;
        let shown = shows_functions(&statement);
        let plan = self.ctx.state().statement_to_plan(statement).await?;
        let Some(like) = shown else { return Ok(plan) };
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
    /// When it is refused ([`super::Refused`]).
    pub(super) fn check_statement(&self, statement: &Statement) -> Result<(), DataFusionError> {
        self.guard.as_ref().map_or(Ok(()), |g| g.check_statement(statement))
    }

    /// Runs a plan, unless it would write into the output.
    ///
    /// # Errors
    /// When it is refused ([`super::Refused`]) or fails.
    pub async fn execute(&self, plan: LogicalPlan) -> Result<DataFrame, DataFusionError> {
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
    shows_functions(statement).is_some()
}

/// For `SHOW FUNCTIONS`, the pattern that it asks for.
fn shows_functions(statement: &Statement) -> Option<Option<String>> {
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
    let output = Output::open(dir)?;
    // DataFusion keeps the list of a table's files for the life of the session: a running job's new files would never show.
    let runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0).build_arc()?;
    let config = SessionConfig::new().with_information_schema(true);
    let ctx = SessionContext::new_with_config_rt(config, runtime).enable_url_table();
    if let Some(store) = output.store {
        ctx.register_object_store(&output.url, store);
    }
    functions::register(&ctx, min_users);
    for table in Table::ALL {
        register(&ctx, &output.url, table, dimensions).await?;
    }
    for statement in DFParser::parse_sql(VIEWS)? {
        let plan = ctx.state().statement_to_plan(statement).await?;
        ctx.execute_logical_plan(plan).await?;
    }
    Ok((ctx, output.url))
}

/// Makes the store of an object-store URL known to a session; credentials come from the environment.
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

/// Makes the stores that a plan names known to a session.
fn register_stores(ctx: &SessionContext, plan: &LogicalPlan) -> Result<(), DataFusionError> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(c)) => {
            c.locations.iter().try_for_each(|l| register_store(ctx, l))
        }
        LogicalPlan::Copy(c) => register_store(ctx, &c.output_url),
        _ => Ok(()),
    }
}

/// Where a job's output lies, as DataFusion addresses it.
struct Output {
    /// With a slash at its end.
    url: Url,
    /// The store, unless DataFusion brings it.
    store: Option<Arc<dyn ObjectStore>>,
}

impl Output {
    fn open(dir: &str) -> Result<Self, QueryError> {
        let bad = |message: String| QueryError::Output { dir: dir.to_owned(), message };
        let local = match dir.split_once("://") {
            None => Some(PathBuf::from(dir)),
            Some(("file", path)) => Some(PathBuf::from(path)),
            Some(_) => None,
        };
        if let Some(folder) = local {
            let folder =
                folder.canonicalize().map_err(|e| bad(format!("{e}; has the job run with this output?")))?;
            if !folder.is_dir() {
                return Err(bad("it is no folder".into()));
            }
            let url = Url::from_directory_path(&folder).map_err(|()| bad("not an absolute path".into()))?;
            return Ok(Self { url, store: None });
        }
        let given = Url::parse(&format!("{}/", dir.trim_end_matches('/'))).map_err(|e| bad(e.to_string()))?;
        let (store, prefix) =
            object_store::parse_url_opts(&given, std::env::vars()).map_err(|e| bad(e.to_string()))?;
        // DataFusion takes a URL's whole path as the prefix. Where a part of it names the bucket (https://…), a URL of our own
        // stands for the store.
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
    table: Table,
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
    // One footer instead of all: a job's files differ in columns only after its dimensions changed.
    let found = match newest {
        Some(file) => Some(format.infer_schema(&state, &store, &[file]).await?),
        None => None,
    };
    let schema = unite(&transform_schema_to_view(&table.schema(dimensions)), found.as_deref());
    let options = ListingOptions::new(format)
        .with_file_extension(".parquet")
        .with_table_partition_cols(vec![("date".to_owned(), DataType::Date32)]);
    let config = ListingTableConfig::new(at).with_listing_options(options).with_schema(Arc::new(schema));
    let cache = ctx.runtime_env().cache_manager.get_file_statistic_cache();
    ctx.register_table(table.name(), Arc::new(ListingTable::try_new(config)?.with_cache(cache)))?;
    Ok(())
}

/// The columns that a job writes and those of a file, which also decides their types; all may be null, since older files may lack
/// them.
fn unite(known: &Schema, found: Option<&Schema>) -> Schema {
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
