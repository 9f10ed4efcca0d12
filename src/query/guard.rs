//! Keeps SQL read-only: no statement changes the job's output, or hides its tables, views and functions.
//!
//! Every way to run a statement (`-e`, files, the shell and its `\i`) has its plan checked here before it runs. A plan is
//! looked at with all that it contains, so that `EXPLAIN ANALYZE`, `PREPARE` and subqueries hide nothing. What a statement
//! makes in memory, and files that it writes elsewhere, are the user's own.

use super::functions;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as Parsed};
use object_store::ObjectStoreScheme;
use object_store::path::Path as StorePath;
use std::path::{Path, PathBuf};
use thiserror::Error;
use url::Url;

/// A statement that would write where SQL only reads.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(String);

/// What SQL must leave as it is.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The job's tables and views.
    relations: Vec<String>,
    /// The names under which the output can be written to.
    output: Vec<Place>,
}

/// Where files may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A folder or file of this machine.
    Local(PathBuf),
    /// A place in a bucket, or on a web server.
    Store {
        /// Whose.
        provider: Provider,
        /// The bucket or host; `None` where an address does not simply say it.
        bucket: Option<String>,
        /// The path in the bucket.
        path: StorePath,
    },
}

/// Who keeps a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Provider {
    Known(ObjectStoreScheme),
    /// A scheme that stands for a store of a session's own.
    Own(String),
}

impl Guard {
    /// A guard for a session that has the job's tables and views and nothing else, over the output `dir` that the session
    /// knows as `url`.
    #[must_use]
    pub fn new(ctx: &SessionContext, dir: &str, url: &Url) -> Self {
        let schema = ctx.catalog("datafusion").and_then(|c| c.schema("public"));
        let relations = schema.map_or_else(Vec::new, |s| s.table_names());
        let mut output = places(url);
        if let Ok(given) = Url::parse(&format!("{}/", dir.trim_end_matches('/'))) {
            output.extend(places(&given));
        }
        Self { relations, output }
    }

    /// Refuses a statement that writes rows, before it is planned: some of these DataFusion can't plan, and says less.
    ///
    /// # Errors
    /// A [`Refused`] as [`DataFusionError::External`].
    pub fn check_statement(&self, statement: &DfStatement) -> Result<(), DataFusionError> {
        match writes(statement) {
            Some(what) => Err(DataFusionError::External(Box::new(Refused(only_reads(what))))),
            None => Ok(()),
        }
    }

    /// Refuses a plan that writes where SQL only reads.
    ///
    /// # Errors
    /// A [`Refused`] as [`DataFusionError::External`].
    pub fn check(&self, plan: &LogicalPlan) -> Result<(), DataFusionError> {
        let refused = |why: String| DataFusionError::External(Box::new(Refused(why)));
        plan.apply_with_subqueries(|node| match self.node(node) {
            None => Ok(TreeNodeRecursion::Continue),
            Some(why) => Err(refused(why)),
        })
        .map(|_| ())
    }

    /// Why one node of a plan must not run.
    fn node(&self, node: &LogicalPlan) -> Option<String> {
        match node {
            LogicalPlan::Dml(d) => Some(only_reads(&d.op.name().to_uppercase())),
            LogicalPlan::Copy(c) => self.copy(c),
            LogicalPlan::Ddl(d) => self.ddl(d),
            LogicalPlan::Statement(Statement::SetVariable(s))
                if s.variable.eq_ignore_ascii_case("datafusion.runtime.temp_directory")
                    && self.holds(&s.value) =>
            {
                Some("temporary files must not lie in the job's output: name a folder elsewhere".into())
            }
            _ => None,
        }
    }

    fn copy(&self, c: &CopyTo) -> Option<String> {
        let into = || {
            Some(format!(
                "COPY must not write into the job's output ({}): name a place outside of it",
                c.output_url
            ))
        };
        let Some(targets) = targets(&c.output_url) else {
            return Some(format!("COPY can't tell where {} is: write a path or a URL", c.output_url));
        };
        for target in &targets {
            if self.output.iter().any(|o| o.contains(target)) {
                return into();
            }
            // Partitions are folders within the target, one of which might be the output itself.
            if !c.partition_by.is_empty() && self.output.iter().any(|o| target.contains(o)) {
                return into();
            }
        }
        None
    }

    /// Whether a place lies in the output.
    fn holds(&self, location: &str) -> bool {
        let inside = |t: &Place| self.output.iter().any(|o| o.contains(t));
        targets(location).is_none_or(|targets| targets.iter().any(inside))
    }

    fn ddl(&self, d: &DdlStatement) -> Option<String> {
        match d {
            // Where there is one already, nothing happens.
            DdlStatement::CreateExternalTable(c) if c.if_not_exists && !c.or_replace => None,
            DdlStatement::CreateMemoryTable(c) if c.if_not_exists && !c.or_replace => None,
            DdlStatement::CreateExternalTable(c) => self.hides(&c.name),
            DdlStatement::CreateMemoryTable(c) => self.hides(&c.name),
            DdlStatement::CreateView(c) => self.hides(&c.name),
            DdlStatement::DropTable(c) => self.drops(&c.name),
            DdlStatement::DropView(c) => self.drops(&c.name),
            DdlStatement::DropCatalogSchema(_) => {
                Some("sql only reads: schemas can't be dropped; leave it, it ends with the session".into())
            }
            DdlStatement::DropFunction(f) if functions::is_ours(&f.name) => {
                Some(format!("sql only reads: the function {} is driftglass's own", f.name))
            }
            DdlStatement::CreateFunction(f) if functions::is_ours(&f.name) => {
                Some(format!("{} is driftglass's own: give your function another name", f.name))
            }
            _ => None,
        }
    }

    fn ours(&self, name: &TableReference) -> bool {
        self.relations.iter().any(|r| r == name.table())
    }

    fn hides(&self, name: &TableReference) -> Option<String> {
        self.ours(name).then(|| format!("{} is the job's: give yours another name", name.table()))
    }

    fn drops(&self, name: &TableReference) -> Option<String> {
        self.ours(name).then(|| format!("sql only reads: {} is the job's and can't be dropped", name.table()))
    }
}

/// What a statement that changes rows or columns is called, also within EXPLAIN, PREPARE and WITH.
fn writes(statement: &DfStatement) -> Option<&'static str> {
    match statement {
        DfStatement::Statement(s) => parsed_writes(s),
        DfStatement::Explain(e) => writes(&e.statement),
        _ => None,
    }
}

fn parsed_writes(statement: &Parsed) -> Option<&'static str> {
    match statement {
        Parsed::Insert(_) => Some("INSERT"),
        Parsed::Update(_) => Some("UPDATE"),
        Parsed::Delete(_) => Some("DELETE"),
        Parsed::Truncate(_) => Some("TRUNCATE"),
        Parsed::Merge(_) => Some("MERGE"),
        Parsed::AlterTable(_) | Parsed::AlterView { .. } => Some("ALTER"),
        Parsed::Explain { statement, .. } | Parsed::Prepare { statement, .. } => parsed_writes(statement),
        Parsed::Query(q) => match q.body.as_ref() {
            SetExpr::Insert(s) | SetExpr::Update(s) | SetExpr::Delete(s) | SetExpr::Merge(s) => {
                parsed_writes(s)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What to do instead of an INSERT, UPDATE, DELETE, TRUNCATE or MERGE.
fn only_reads(what: &str) -> String {
    format!(
        "sql only reads: {what} is refused; make a table of your own with CREATE TABLE … AS SELECT, or write files \
         elsewhere with COPY … TO"
    )
}

impl Place {
    /// Whether another place is this one or lies in it.
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(folder), Self::Local(path)) => local_contains(folder, path),
            (
                Self::Store { provider, bucket, path },
                Self::Store { provider: theirs, bucket: bucket2, path: path2 },
            ) => {
                let buckets_differ = matches!((bucket, bucket2), (Some(a), Some(b)) if a != b);
                provider == theirs && !buckets_differ && path2.prefix_matches(path)
            }
            _ => false,
        }
    }
}

/// Whether a path is a folder or lies in it, by any name: links are followed, and one folder under two names (another mount,
/// other letters' case) is known by its number.
fn local_contains(folder: &Path, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |p: &Path| p.metadata().ok().map(|m| (m.dev(), m.ino()));
    let wanted = id(folder);
    let resolved = resolve(path);
    resolved.starts_with(resolve(folder))
        || resolved.ancestors().any(|a| a == folder || (wanted.is_some() && id(a) == wanted))
}

/// A path without links; of one that is not there, the part that is.
fn resolve(path: &Path) -> PathBuf {
    for known in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (known.canonicalize(), path.strip_prefix(known)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// Where `COPY … TO` a location writes, as DataFusion reads it; `None` when it can't be told.
fn targets(location: &str) -> Option<Vec<Place>> {
    let url = ListingTableUrl::parse(location).ok()?;
    let found = places(url.as_ref());
    (!found.is_empty()).then_some(found)
}

/// The places that a URL may mean. An address of a store by HTTP names its bucket in one of several ways: it counts as every
/// bucket of that store.
fn places(url: &Url) -> Vec<Place> {
    if url.scheme() == "file" {
        return url.to_file_path().map(Place::Local).into_iter().collect();
    }
    let Ok(whole) = StorePath::from_url_path(url.path()) else { return Vec::new() };
    let host = url.host_str().map(str::to_owned);
    let Ok((scheme, path)) = ObjectStoreScheme::parse(url) else {
        let provider = Provider::Own(url.scheme().to_owned());
        return vec![Place::Store { provider, bucket: host, path: whole }];
    };
    let bucket = match (&scheme, url.scheme()) {
        (ObjectStoreScheme::Http, _) => {
            let port = url.port_or_known_default().unwrap_or_default();
            host.map(|h| format!("{h}:{port}"))
        }
        (_, "https" | "http") => None,
        // container@account.host; the account is in the environment where a URL does not say it.
        (ObjectStoreScheme::MicrosoftAzure, _) if !url.username().is_empty() => {
            Some(url.username().to_owned())
        }
        _ => host,
    };
    let provider = Provider::Known(scheme);
    // A session takes the whole path of an address as the path in the bucket.
    let mut all = vec![Place::Store { provider: provider.clone(), bucket: bucket.clone(), path }];
    if all.iter().all(|p| !matches!(p, Place::Store { path, .. } if *path == whole)) {
        all.push(Place::Store { provider, bucket, path: whole });
    }
    all
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
