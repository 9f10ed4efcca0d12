//! A rule's condition: a SQL expression over a row of `windows`, planned once at start and
//! evaluated over whole batches.

use crate::config::near::{listed, near, nearest};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, SchemaError};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a condition may name.
pub(super) struct ConditionColumns<'a> {
    /// The columns of `windows`.
    pub schema: &'a SchemaRef,
    /// The values that a text column can have in the rule's rows; `None`: any.
    pub texts: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

/// A planned condition.
#[derive(Debug)]
pub(super) struct Condition {
    expr: Arc<dyn PhysicalExpr>,
    /// The columns that it names, in the order of its plan. No others are read.
    columns: SchemaRef,
}

impl Condition {
    /// Parses, checks and plans.
    ///
    /// # Errors
    /// A line about what is wrong, where, and which column is near.
    pub(super) fn plan(
        context: &SessionContext,
        when: &str,
        known: &ConditionColumns<'_>,
    ) -> Result<Self, String> {
        let schema = known.schema;
        let all = DFSchema::try_from(schema.as_ref().clone()).map_err(|e| explain(&e))?;
        let expr = context.parse_sql_expr(when, &all).map_err(|e| unparsed(&e, when, known))?;
        if let Expr::Alias(a) = &expr {
            return Err(format!("{:?} follows the end of the expression{}", a.name, place(when, &a.name)));
        }
        if let Some(what) = forbidden(&expr)? {
            return Err(format!("{what} can't be used in a condition, which reads one row"));
        }
        let names: BTreeSet<&str> = expr.column_refs().into_iter().map(|c| c.name.as_str()).collect();
        // All nullable, so that one row of nulls can be the test data below.
        let fields = schema.fields().iter().filter(|f| names.contains(f.name().as_str()));
        let columns: SchemaRef = Arc::new(Schema::new(
            fields.map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect::<Vec<_>>(),
        ));
        let few = DFSchema::try_from(columns.as_ref().clone()).map_err(|e| explain(&e))?;
        let kind = expr.get_type(&few).map_err(|e| explain(&e))?;
        if kind != DataType::Boolean {
            return Err(format!(
                "is of type {kind}, not a condition; compare it with something, for example psi_excess > 0.1"
            ));
        }
        if let Some(mistake) = mistaken(&expr, known)? {
            return Err(mistake);
        }
        // Some functions (coalesce) have no physical form and become another expression here.
        let simplifier =
            ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(few.clone())).build());
        let expr =
            simplifier.coerce(expr, &few).and_then(|e| simplifier.simplify(e)).map_err(|e| explain(&e))?;
        if let Expr::Literal(constant, _) = &expr {
            let how = if *constant == ScalarValue::Boolean(Some(true)) { "always" } else { "never" };
            return Err(format!(
                "is {how} true; write for example verdict = 'drift', or n > 0 for every window"
            ));
        }
        let condition = context.create_physical_expr(expr, &few).map_err(|e| explain(&e))?;
        // A literal that doesn't fit its column (psi > 'high') plans without error and fails on the
        // first row: make it fail now.
        let nulls = columns.fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
        evaluate(&*condition, &columns, nulls, 1)?;
        Ok(Self { expr: condition, columns })
    }

    /// Whether the condition is true in each of these rows. No other rows are evaluated: a cast may
    /// fail in rows of other features.
    pub(super) fn holds(&self, batch: &RecordBatch, rows: Vec<u32>) -> Result<Vec<bool>, String> {
        let n = rows.len();
        let rows = UInt32Array::from(rows);
        let columns = self.columns.fields().iter().map(|f| {
            let column = batch
                .column_by_name(f.name())
                .ok_or_else(|| format!("the batch has no column {}", f.name()))?;
            take(column, &rows, None).map_err(|e| one_line(&e.to_string()))
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, String>>()?;
        evaluate(&*self.expr, &self.columns, columns, n)
    }
}

fn evaluate(
    condition: &dyn PhysicalExpr,
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    n: usize,
) -> Result<Vec<bool>, String> {
    let options = RecordBatchOptions::new().with_row_count(Some(n));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| one_line(&e.to_string()))?;
    let result = condition.evaluate(&batch).and_then(|v| v.into_array(n)).map_err(|e| explain(&e))?;
    let result = result
        .as_boolean_opt()
        .ok_or_else(|| format!("the result is {}, not a boolean", result.data_type()))?;
    Ok((0..n).map(|i| result.is_valid(i) && result.value(i)).collect())
}

/// What in an expression depends on more than its row.
fn forbidden(expr: &Expr) -> Result<Option<String>, String> {
    let mut found = None;
    expr.exists(|e| {
        found = match e {
            Expr::AggregateFunction(f) => Some(format!("the aggregate {}()", f.func.name())),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
                Some("a subquery".to_owned())
            }
            Expr::Placeholder(_) | Expr::ScalarVariable(..) => Some("a parameter".to_owned()),
            // The clock or chance would make a replay disagree with the live job.
            Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable => {
                Some(format!("{}(), which returns another value each time,", f.func.name()))
            }
            _ => None,
        };
        Ok(found.is_some())
    })
    .map_err(|e| explain(&e))?;
    Ok(found)
}

/// A comparison that no row can meet: with null, or of a column with a text that it never holds.
fn mistaken(expr: &Expr, known: &ConditionColumns<'_>) -> Result<Option<String>, String> {
    let mut found = None;
    expr.exists(|e| {
        found = match e {
            Expr::BinaryExpr(b) if is_comparison(b.op) => null(&b.left, &b.right)
                .or_else(|| null(&b.right, &b.left))
                .or_else(|| text(&b.left, &b.right, known))
                .or_else(|| text(&b.right, &b.left, known)),
            Expr::BinaryExpr(b) if is_distinction(b.op) => {
                text(&b.left, &b.right, known).or_else(|| text(&b.right, &b.left, known))
            }
            Expr::InList(l) => {
                l.list.iter().find_map(|entry| null(&l.expr, entry).or_else(|| text(&l.expr, entry, known)))
            }
            Expr::Case(c) => c.expr.as_ref().and_then(|of| {
                c.when_then_expr.iter().find_map(|(when, _)| null(of, when).or_else(|| text(of, when, known)))
            }),
            _ => None,
        };
        Ok(found.is_some())
    })
    .map_err(|e| explain(&e))?;
    Ok(found)
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_distinction(op: Operator) -> bool {
    matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

fn column(e: &Expr) -> Option<&str> {
    if let Expr::Column(c) = e { Some(&c.name) } else { None }
}

/// What is wrong where something is compared with null.
fn null(left: &Expr, right: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = right else { return None };
    let what = column(left).unwrap_or("…");
    let message =
        || format!("a comparison with NULL is never true; write {what} IS NULL, or {what} IS NOT NULL");
    value.is_null().then(message)
}

/// What is wrong where a column is compared with a text that it never holds.
fn text(left: &Expr, right: &Expr, known: &ConditionColumns<'_>) -> Option<String> {
    let Expr::Literal(value, _) = right else { return None };
    let (name, text) = (column(left)?, value.try_as_str()??);
    if name == "segment" && !text.is_empty() && !text.contains('=') {
        return Some(format!(
            "segment is never '{text}'; a segment is written 'tenant=birch', the whole stream ''"
        ));
    }
    let valid = (known.texts)(name)?;
    if valid.iter().any(|v| v == text) {
        return None;
    }
    let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
    let meant = match nearest(text, valid.iter().copied()) {
        Some(v) => format!("did you mean '{v}'?"),
        None => format!("in this rule's rows it is one of {}", listed(&valid)),
    };
    Some(format!("{name} is never '{text}'; {meant}"))
}

/// A parser's or planner's error: what, where, and the nearest column.
fn unparsed(e: &DataFusionError, when: &str, known: &ConditionColumns<'_>) -> String {
    let schema = known.schema;
    if let DataFusionError::SchemaError(inner, _) = e.find_root()
        && let SchemaError::FieldNotFound { field, .. } = inner.as_ref()
    {
        let valid: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let name = field.flat_name();
        // "drift" in double quotes is a column to SQL.
        let of = |f: &Arc<Field>| (known.texts)(f.name()).is_some_and(|v| v.contains(&field.name));
        if let Some(column) = schema.fields().iter().find(|f| of(f)) {
            let (column, text) = (column.name(), &field.name);
            return format!(
                "no column {name}{}; texts are written in single quotes: {column} = '{text}'",
                place(when, text)
            );
        }
        return format!(
            "no column {name}{}; {}",
            place(when, &field.name),
            near(&field.name, "columns", &valid)
        );
    }
    explain(e)
}

/// Where a word is in a condition, in characters from 1; empty where it isn't found.
fn place(when: &str, word: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let lower = when.to_ascii_lowercase();
    let found = lower
        .match_indices(&word.to_ascii_lowercase())
        .map(|(i, w)| (i, i + w.len()))
        .find(|&(from, to)| !lower[..from].ends_with(inside) && !lower[to..].starts_with(inside));
    found.map_or_else(String::new, |(i, _)| format!(" at character {}", when[..i].chars().count() + 1))
}

fn explain(e: &DataFusionError) -> String {
    let text = one_line(&e.find_root().strip_backtrace());
    let text = [
        "SQL error: ",
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ]
    .iter()
    .fold(text.as_str(), |t, p| t.strip_prefix(p).unwrap_or(t))
    .to_owned();
    // The parser's error in its debug form: ParserError("…").
    let text = match text.split_once("ParserError(\"") {
        Some((_, t)) => t.trim_end_matches(')').trim_end_matches('"').to_owned(),
        None => text,
    };
    let text =
        text.replace(" at Line: 1, Column: ", " at character ").replace("found: EOF", "found: its end");
    let mut c = text.chars();
    match c.next() {
        Some(first) if c.as_str().starts_with(|c: char| c.is_lowercase()) => {
            first.to_lowercase().chain(c).collect()
        }
        _ => text,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
