//! Keeps SQL read-only: no statement changes the job's output, or hides its tables, views and
//! functions.
//!
//! Every way to run a statement (`-e`, files, the shell and its `\i`) has its plan checked here
//! before it runs. The check covers every node of a plan, so that `EXPLAIN ANALYZE`, `PREPARE` and
//! subqueries hide nothing. Tables in memory and files elsewhere are the user's own and not
//! restricted.

use super::error::RefusedStatement;
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
use url::Url;

/// Refuses statements that would change the job's output or hide its relations.
#[derive(Debug, Clone)]
pub(super) struct ReadOnlyGuard {
    /// The job's tables and views.
    relations: Vec<String>,
    /// The addresses under which the output can be written to.
    output: Vec<Location>,
}

/// Where a file or folder can be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    /// A folder or file of this machine.
    Local(PathBuf),
    /// A path in a bucket, or on a web server.
    Store {
        /// Which store.
        kind: StoreKind,
        /// The bucket or host; `None` where the address does not plainly name it.
        bucket: Option<String>,
        /// The path in the bucket.
        path: StorePath,
    },
}

/// Which store keeps a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoreKind {
    Known(ObjectStoreScheme),
    /// A scheme that a session registered for a store of its own.
    Registered(String),
}

impl ReadOnlyGuard {
    /// A guard for a session that has only the job's tables and views, over the output `dir` that
    /// the session knows as `url`.
    #[must_use]
    pub(super) fn new(ctx: &SessionContext, dir: &str, url: &Url) -> Self {
        let schema = ctx.catalog("datafusion").and_then(|c| c.schema("public"));
        let relations = schema.map_or_else(Vec::new, |s| s.table_names());
        let mut output = locations(url);
        if let Ok(given) = Url::parse(&format!("{}/", dir.trim_end_matches('/'))) {
            output.extend(locations(&given));
        }
        Self { relations, output }
    }

    /// Refuses a statement that writes rows, before it is planned: DataFusion can't plan some of
    /// these, and its error says less.
    ///
    /// # Errors
    /// A [`RefusedStatement`] as [`DataFusionError::External`].
    pub(super) fn check_statement(&self, statement: &DfStatement) -> Result<(), DataFusionError> {
        match writing_statement(statement) {
            Some(what) => Err(DataFusionError::External(Box::new(RefusedStatement(only_reads(what))))),
            None => Ok(()),
        }
    }

    /// Refuses a plan that writes where SQL only reads.
    ///
    /// # Errors
    /// A [`RefusedStatement`] as [`DataFusionError::External`].
    pub(super) fn check(&self, plan: &LogicalPlan) -> Result<(), DataFusionError> {
        let refuse = |why: String| DataFusionError::External(Box::new(RefusedStatement(why)));
        plan.apply_with_subqueries(|node| match self.check_node(node) {
            None => Ok(TreeNodeRecursion::Continue),
            Some(why) => Err(refuse(why)),
        })
        .map(|_| ())
    }

    /// Why one node of a plan must not run.
    fn check_node(&self, node: &LogicalPlan) -> Option<String> {
        match node {
            LogicalPlan::Dml(d) => Some(only_reads(&d.op.name().to_uppercase())),
            LogicalPlan::Copy(c) => self.check_copy(c),
            LogicalPlan::Ddl(d) => self.check_ddl(d),
            LogicalPlan::Statement(Statement::SetVariable(s))
                if s.variable.eq_ignore_ascii_case("datafusion.runtime.temp_directory")
                    && self.output_contains(&s.value) =>
            {
                Some("temporary files must not lie in the job's output: name a folder elsewhere".into())
            }
            _ => None,
        }
    }

    fn check_copy(&self, c: &CopyTo) -> Option<String> {
        let into = || {
            Some(format!(
                "COPY must not write into the job's output ({}): name a place outside of it",
                c.output_url
            ))
        };
        let Some(targets) = targets(&c.output_url) else {
            return Some(format!("COPY can't resolve {}: write a path or a URL", c.output_url));
        };
        for target in &targets {
            if self.output.iter().any(|o| o.contains(target)) {
                return into();
            }
            // Partitions are folders within the target. One of them might be the output itself.
            if !c.partition_by.is_empty() && self.output.iter().any(|o| target.contains(o)) {
                return into();
            }
        }
        None
    }

    /// Whether a location is in the output, or can't be resolved.
    fn output_contains(&self, location: &str) -> bool {
        let inside = |t: &Location| self.output.iter().any(|o| o.contains(t));
        targets(location).is_none_or(|targets| targets.iter().any(inside))
    }

    fn check_ddl(&self, d: &DdlStatement) -> Option<String> {
        match d {
            // Where the table exists already, nothing happens.
            DdlStatement::CreateExternalTable(c) if c.if_not_exists && !c.or_replace => None,
            DdlStatement::CreateMemoryTable(c) if c.if_not_exists && !c.or_replace => None,
            DdlStatement::CreateExternalTable(c) => self.check_create(&c.name),
            DdlStatement::CreateMemoryTable(c) => self.check_create(&c.name),
            DdlStatement::CreateView(c) => self.check_create(&c.name),
            DdlStatement::DropTable(c) => self.check_drop(&c.name),
            DdlStatement::DropView(c) => self.check_drop(&c.name),
            DdlStatement::DropCatalogSchema(_) => {
                Some("sql only reads: schemas can't be dropped; this one ends with the session".into())
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

    fn is_ours(&self, name: &TableReference) -> bool {
        self.relations.iter().any(|r| r == name.table())
    }

    fn check_create(&self, name: &TableReference) -> Option<String> {
        self.is_ours(name).then(|| format!("{} is the job's: give yours another name", name.table()))
    }

    fn check_drop(&self, name: &TableReference) -> Option<String> {
        self.is_ours(name)
            .then(|| format!("sql only reads: {} is the job's and can't be dropped", name.table()))
    }
}

/// The name of a statement that changes rows or columns, also within EXPLAIN, PREPARE and WITH.
fn writing_statement(statement: &DfStatement) -> Option<&'static str> {
    match statement {
        DfStatement::Statement(s) => parsed_writing_statement(s),
        DfStatement::Explain(e) => writing_statement(&e.statement),
        _ => None,
    }
}

fn parsed_writing_statement(statement: &Parsed) -> Option<&'static str> {
    match statement {
        Parsed::Insert(_) => Some("INSERT"),
        Parsed::Update(_) => Some("UPDATE"),
        Parsed::Delete(_) => Some("DELETE"),
        Parsed::Truncate(_) => Some("TRUNCATE"),
        Parsed::Merge(_) => Some("MERGE"),
        Parsed::AlterTable(_) | Parsed::AlterView { .. } => Some("ALTER"),
        Parsed::Explain { statement, .. } | Parsed::Prepare { statement, .. } => {
            parsed_writing_statement(statement)
        }
        Parsed::Query(q) => match q.body.as_ref() {
            SetExpr::Insert(s) | SetExpr::Update(s) | SetExpr::Delete(s) | SetExpr::Merge(s) => {
                parsed_writing_statement(s)
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

impl Location {
    /// Whether another location is this one or inside it.
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(folder), Self::Local(path)) => local_contains(folder, path),
            (
                Self::Store { kind, bucket, path },
                Self::Store { kind: other_kind, bucket: other_bucket, path: other_path },
            ) => {
                let buckets_differ = matches!((bucket, other_bucket), (Some(a), Some(b)) if a != b);
                kind == other_kind && !buckets_differ && other_path.prefix_matches(path)
            }
            _ => false,
        }
    }
}

/// Whether a path is a folder or inside it, under any name: links are followed, and a folder that
/// has two names (another mount, other letter case) is recognized by its inode.
fn local_contains(folder: &Path, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |p: &Path| p.metadata().ok().map(|m| (m.dev(), m.ino()));
    let wanted = id(folder);
    let resolved = resolve(path);
    resolved.starts_with(resolve(folder))
        || resolved.ancestors().any(|a| a == folder || (wanted.is_some() && id(a) == wanted))
}

/// A path without links; for one that does not exist, its existing part is resolved.
fn resolve(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// Where `COPY … TO` a location writes, as DataFusion reads it; `None` when it can't be resolved.
fn targets(location: &str) -> Option<Vec<Location>> {
    let url = ListingTableUrl::parse(location).ok()?;
    let found = locations(url.as_ref());
    (!found.is_empty()).then_some(found)
}

/// The locations that a URL may mean. A store's address by HTTP names its bucket in one of several
/// ways: it counts as every bucket of that store.
fn locations(url: &Url) -> Vec<Location> {
    if url.scheme() == "file" {
        return url.to_file_path().map(Location::Local).into_iter().collect();
    }
    let Ok(whole) = StorePath::from_url_path(url.path()) else { return Vec::new() };
    let host = url.host_str().map(str::to_owned);
    let Ok((scheme, path)) = ObjectStoreScheme::parse(url) else {
        let kind = StoreKind::Registered(url.scheme().to_owned());
        return vec![Location::Store { kind, bucket: host, path: whole }];
    };
    let bucket = match (&scheme, url.scheme()) {
        (ObjectStoreScheme::Http, _) => {
            let port = url.port_or_known_default().unwrap_or_default();
            host.map(|h| format!("{h}:{port}"))
        }
        (_, "https" | "http") => None,
        // container@account.host; without an account in the URL, the environment names it.
        (ObjectStoreScheme::MicrosoftAzure, _) if !url.username().is_empty() => {
            Some(url.username().to_owned())
        }
        _ => host,
    };
    let kind = StoreKind::Known(scheme);
    // A session takes the whole path of an address as the path in the bucket.
    let mut all = vec![Location::Store { kind: kind.clone(), bucket: bucket.clone(), path }];
    if all.iter().all(|p| !matches!(p, Location::Store { path, .. } if *path == whole)) {
        all.push(Location::Store { kind, bucket, path: whole });
    }
    all
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
