//! Rules: what each looks at, and its outcome for every row it looks at.

use super::condition::{Condition, ConditionColumns};
use super::error::{RuleError, RuleEvaluationError};
use super::observation::{RuleInfo, RuleObservation, RuleOutcome};
use crate::baseline::{BaselineName, BaselineNameError};
use crate::config::near::near;
use crate::config::{OneOrMany, RuleEntry, units::Span};
use crate::event::{column, dimension};
use crate::store::rows::{Verdict, WindowRow, windows_schema};
use arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use std::collections::{BTreeSet, HashMap};

/// The longest condition in bytes: planning takes time that grows with the square of its terms,
/// seconds for thousands of them.
const LONGEST_WHEN: usize = 4_000;

/// One rule's outcome for one row, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleJudgement {
    /// Index into [`Rules::all`].
    pub rule: usize,
    /// Index of the row.
    pub row: usize,
    /// What it found.
    pub outcome: RuleOutcome,
}

/// The names that this job's rules may use.
#[derive(Debug, Clone, Copy)]
pub struct RuleNames<'a> {
    /// The dimension columns, as [`windows_schema`] takes them.
    pub dimensions: &'a [String],
    /// Names of features.
    pub features: &'a [String],
    /// Names of rolling windows, "30m".
    pub windows: &'a [String],
    /// `segment_by` of the groupings; "" is the whole stream.
    pub groupings: &'a [String],
    /// Names of the rolling baselines.
    pub baselines: &'a [String],
    /// Names of the output's pins, where they are known: `pinned:NAME` is valid beside the rolling
    /// ones for each of them, or for any.
    pub pins: Option<&'a [String]>,
}

/// Which baselines a rule reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BaselineFilter {
    /// Every rolling baseline, and rows without a baseline because nothing is compared (volumes).
    Rolling,
    /// These only.
    Named(BTreeSet<String>),
}

/// A rule that is ready to be evaluated.
#[derive(Debug)]
pub struct CompiledRule {
    /// What alerts need of it.
    pub info: RuleInfo,
    windows: BTreeSet<String>,
    groupings: Option<BTreeSet<String>>,
    baselines: BaselineFilter,
    condition: Condition,
}

/// All rules of a job.
#[derive(Debug)]
pub struct Rules {
    all: Vec<CompiledRule>,
    by_feature: HashMap<String, Vec<usize>>,
}

impl Rules {
    /// Checks and plans rules.
    ///
    /// # Errors
    /// For the first rule that names something unknown, whose condition isn't a boolean SQL
    /// expression over the columns of `windows`, or whose condition depends on more than its row
    /// (aggregates, window functions, subqueries, the clock).
    pub fn compile(entries: &[RuleEntry], known: &RuleNames<'_>) -> Result<Self, RuleError> {
        let context = SessionContext::new();
        let schema = windows_schema(known.dimensions);
        let mut rules = Self { all: Vec::new(), by_feature: HashMap::new() };
        for (i, e) in entries.iter().enumerate() {
            let wrong = |key, message| RuleError { rule: e.name.clone(), key, message };
            if entries[..i].iter().any(|o| o.name == e.name) {
                return Err(wrong("name", "another rule has this name".into()));
            }
            let features = names(&e.feature, "feature", known.features, str::to_owned)
                .map_err(|m| wrong("feature", m))?;
            if features.is_empty() {
                return Err(wrong("feature", "names no feature".into()));
            }
            let windows =
                names(&e.window, "window", known.windows, window_name).map_err(|m| wrong("window", m))?;
            let groupings = e
                .segment_by
                .as_ref()
                .map(|g| match g.0.as_slice() {
                    [] => Err("names no grouping; leave it out for all of them, \"\" is the whole stream"
                        .to_owned()),
                    _ => names(g, "grouping", known.groupings, grouping_name),
                })
                .transpose()
                .map_err(|m| wrong("segment_by", m))?;
            let baselines = baselines(&e.baseline, known).map_err(|m| wrong("baseline", m))?;
            if e.when.len() > LONGEST_WHEN {
                let message = format!("is {} characters long, {LONGEST_WHEN} at most", e.when.len());
                return Err(wrong("when", message));
            }
            let columns = ConditionColumns {
                schema: &schema,
                texts: &|column| texts(column, &features, &windows, groupings.as_ref(), &baselines, known),
            };
            let condition = Condition::plan(&context, &e.when, &columns).map_err(|m| wrong("when", m))?;
            for f in features {
                rules.by_feature.entry(f).or_default().push(i);
            }
            let span = |s: Option<Span>| s.map_or(0, |s| s.0);
            let info = RuleInfo {
                name: e.name.as_str().into(),
                severity: e.severity,
                hold: span(e.hold),
                keep_firing_for: span(e.keep_firing_for),
                runbook: e.runbook.clone(),
            };
            rules.all.push(CompiledRule { info, windows, groupings, baselines, condition });
        }
        Ok(rules)
    }

    /// The rules, in the order of their entries.
    #[must_use]
    pub fn all(&self) -> &[CompiledRule] {
        &self.all
    }

    /// Judges every row that a rule looks at, ordered by rule, then row. `batch` holds the same
    /// rows as `rows` ([`crate::store::rows::windows_batch`]).
    ///
    /// # Errors
    /// When a condition fails on data or the batch isn't one of `windows`.
    pub fn evaluate(
        &self,
        rows: &[WindowRow],
        batch: &RecordBatch,
    ) -> Result<Vec<RuleJudgement>, RuleEvaluationError> {
        let mut rows_of_rule: Vec<Vec<u32>> = vec![Vec::new(); self.all.len()];
        for (row, r) in (0u32..).zip(rows) {
            for &i in self.by_feature.get(&*r.feature).map_or(&[][..], Vec::as_slice) {
                if self.all[i].looks_at(r) {
                    rows_of_rule[i].push(row);
                }
            }
        }
        let mut out = Vec::with_capacity(rows_of_rule.iter().map(Vec::len).sum());
        let with_rows = rows_of_rule.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        for (rule, its_rows) in with_rows {
            let insufficient = |row: u32| rows[row as usize].verdict == Some(Verdict::InsufficientData);
            let judged: Vec<u32> = its_rows.iter().copied().filter(|&r| !insufficient(r)).collect();
            let mut holds = self.all[rule]
                .condition
                .holds(batch, judged)
                .map_err(|message| RuleEvaluationError {
                    rule: self.all[rule].info.name.to_string(),
                    message,
                })?
                .into_iter();
            out.extend(its_rows.iter().map(|&row| RuleJudgement {
                rule,
                row: row as usize,
                outcome: match insufficient(row) {
                    true => RuleOutcome::NotJudged,
                    false if holds.next().unwrap_or(false) => RuleOutcome::Holds,
                    false => RuleOutcome::DoesNotHold,
                },
            }));
        }
        Ok(out)
    }

    /// A judgement with the row that it is about, as [`super::AlertBook::step`] takes it.
    #[must_use]
    pub fn observation<'a>(&'a self, judgement: &RuleJudgement, row: &'a WindowRow) -> RuleObservation<'a> {
        RuleObservation { rule: &self.all[judgement.rule].info, row, outcome: judgement.outcome }
    }
}

impl CompiledRule {
    fn looks_at(&self, r: &WindowRow) -> bool {
        (self.windows.is_empty() || self.windows.contains(&*r.window))
            && self.groupings.as_ref().is_none_or(|g| g.contains(&*r.segment_by))
            && match &self.baselines {
                BaselineFilter::Rolling => r.baseline.is_empty() || BaselineName::is_rolling(&r.baseline),
                BaselineFilter::Named(names) => names.contains(&*r.baseline),
            }
    }
}

/// Names in the job's own form. Each must be known.
fn names(
    given: &OneOrMany,
    what: &str,
    known: &[String],
    form: fn(&str) -> String,
) -> Result<BTreeSet<String>, String> {
    given
        .0
        .iter()
        .map(|name| {
            let formed = form(name);
            known.contains(&formed).then_some(formed).ok_or_else(|| {
                let valid: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("no {what} {name:?}; {}", near(name, &format!("{what}s"), &valid))
            })
        })
        .collect()
}

fn baselines(given: &OneOrMany, known: &RuleNames<'_>) -> Result<BaselineFilter, String> {
    if given.0.is_empty() {
        return Ok(BaselineFilter::Rolling);
    }
    let mut all = BTreeSet::new();
    for name in &given.0 {
        match name.parse::<BaselineName>() {
            Ok(BaselineName::Pinned(pin)) => {
                all.insert(pinned(&pin, known.pins)?);
            }
            Err(e @ BaselineNameError::NotMade(_)) => return Err(e.to_string()),
            Ok(_) | Err(BaselineNameError::Unknown(_)) => {
                let one = OneOrMany(vec![name.clone()]);
                all.extend(names(&one, "baseline", known.baselines, str::to_owned)?);
            }
        }
    }
    Ok(BaselineFilter::Named(all))
}

/// A pin's baseline, which must exist where pins are known.
fn pinned(pin: &str, pins: Option<&[String]>) -> Result<String, String> {
    let name = BaselineName::Pinned(pin.into()).to_string();
    let Some(pins) = pins.filter(|p| !p.iter().any(|p| p == pin)) else { return Ok(name) };
    let there = match pins {
        [] => "this output has none".to_owned(),
        some => {
            let valid: Vec<&str> = some.iter().map(String::as_str).collect();
            near(pin, "pins", &valid)
        }
    };
    Err(format!(
        "no baseline {name:?}; {there} (driftglass baseline pin {pin} --from … --to … makes it; until then leave the rule out)"
    ))
}

/// The values that a text column can have in a rule's rows; `None`: any.
fn texts(
    column: &str,
    features: &BTreeSet<String>,
    windows: &BTreeSet<String>,
    groupings: Option<&BTreeSet<String>>,
    baselines: &BaselineFilter,
    known: &RuleNames<'_>,
) -> Option<Vec<String>> {
    let all = |some: &BTreeSet<String>| some.iter().cloned().collect::<Vec<_>>();
    Some(match column {
        "verdict" => Verdict::ALL.map(|v| v.name().to_owned()).to_vec(),
        "kind" => ["categorical", "numeric", "rate", "volume", "embedding"].map(str::to_owned).to_vec(),
        "feature" => all(features),
        "window" if windows.is_empty() => known.windows.to_vec(),
        "window" => all(windows),
        "segment_by" => groupings.map_or_else(|| known.groupings.to_vec(), all),
        "baseline" => match baselines {
            // Where nothing is compared (volumes) the name is empty.
            BaselineFilter::Rolling => [known.baselines, &[String::new()]].concat(),
            BaselineFilter::Named(names) => all(names),
        },
        _ => return None,
    })
}

/// "1440m" is the window that the job calls "24h".
fn window_name(name: &str) -> String {
    name.parse::<Span>().map_or_else(|_| name.to_owned(), |s| s.to_string())
}

/// Dimensions by any of their names and in any order, in the form of the job's `segment_by`.
fn grouping_name(name: &str) -> String {
    let mut parts: Vec<String> = name
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|p| dimension(p).map_or_else(|| p.to_owned(), |d| column(d.path())))
        .collect();
    parts.sort();
    parts.join(",")
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
