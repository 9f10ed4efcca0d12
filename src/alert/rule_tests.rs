//! What rules may say, what they look at, and how they are refused.

use super::super::samples::{T, row};
use super::*;
use crate::config::parse;
use crate::store::rows::windows_batch;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| (*s).to_owned()).collect()
}

fn compile_with(toml: &str, pins: Option<&[String]>) -> Result<Rules, RuleError> {
    let entries = parse(toml, "job.toml", |_| None).unwrap().rules;
    let (dimensions, features) =
        (strings(&["model_version", "tenant"]), strings(&["prompt_tokens", "nsfw", "volume"]));
    let (windows, groupings) = (strings(&["30m", "24h"]), strings(&["", "tenant", "model_version,tenant"]));
    let baselines = strings(&["rolling_7d", "rolling_28d"]);
    let known = RuleNames {
        dimensions: &dimensions,
        features: &features,
        windows: &windows,
        groupings: &groupings,
        baselines: &baselines,
        pins,
    };
    Rules::compile(&entries, &known)
}

fn compile(toml: &str) -> Result<Rules, RuleError> {
    compile_with(toml, None)
}

fn rule(more: &str, when: &str) -> String {
    format!("[[rules]]\nname = \"r\"\nfeature = \"prompt_tokens\"\n{more}\nwhen = \"{when}\"\n")
}

fn judge(rules: &Rules, rows: &[WindowRow]) -> Vec<(usize, usize, RuleOutcome)> {
    let batch = windows_batch(rows, &strings(&["model_version", "tenant"])).unwrap();
    rules.evaluate(rows, &batch).unwrap().into_iter().map(|j| (j.rule, j.row, j.outcome)).collect()
}

fn refusal(more: &str, when: &str) -> String {
    let text = compile(&rule(more, when)).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

use RuleOutcome::{DoesNotHold, Holds, NotJudged};

#[test]
fn a_condition_is_judged_for_each_row_and_null_is_no() {
    let rules = compile(&rule("", "psi > 0.25 and p_value < alpha")).unwrap();
    let mut rows = vec![row("tenant=a", "prompt_tokens", T); 4];
    rows[1].scores.psi = Some(0.2);
    rows[2].scores.psi = None;
    rows[3].verdict = Some(Verdict::InsufficientData);
    assert_eq!(
        judge(&rules, &rows),
        [(0, 0, Holds), (0, 1, DoesNotHold), (0, 2, DoesNotHold), (0, 3, NotJudged)]
    );
}

#[test]
fn a_rule_looks_only_at_its_rows() {
    let more =
        "window = [\"1440m\"]\nsegment_by = \"tenant\"\nbaseline = [\"rolling_7d\", \"pinned:launch\"]";
    let rules = compile(&rule(more, "n > 0")).unwrap();
    let mut rows = vec![row("tenant=a", "prompt_tokens", T); 6];
    rows[1].feature = "nsfw".into();
    rows[2].window = "30m".into();
    rows[3].segment_by = "".into();
    rows[4].baseline = "rolling_28d".into();
    rows[5].baseline = "pinned:launch".into();
    assert_eq!(judge(&rules, &rows), [(0, 0, Holds), (0, 5, Holds)]);
}

#[test]
fn without_a_baseline_it_looks_at_all_rolling_ones_and_at_what_has_none() {
    let rules = compile(&rule("", "n > 0")).unwrap();
    let mut rows = vec![row("tenant=a", "prompt_tokens", T); 4];
    rows[1].baseline = "rolling_28d".into();
    rows[2].baseline = "pinned:launch".into();
    rows[3].baseline = "".into();
    assert_eq!(judge(&rules, &rows), [(0, 0, Holds), (0, 1, Holds), (0, 3, Holds)]);
}

#[test]
fn all_columns_can_be_named_and_functions_used() {
    for when in [
        "window = '24h' and segment like 'tenant=%' and tenant = 'a'",
        "kind = 'categorical' and baseline_days >= 5 and n > 100 and complete",
        "coalesce(value, 1.0) > 0.5 and model_version is null",
        "verdict in ('drift') and window_end > timestamp '2024-01-01T00:00:00Z'",
        "case when n < 10 then false else psi_excess / psi > 0.5 end",
        "array_length(examples) = 2 and not (kl > 9)",
    ] {
        let rules = compile(&rule("", when)).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(judge(&rules, &[row("tenant=a", "prompt_tokens", T)]), [(0, 0, Holds)], "{when}");
    }
}

#[test]
fn rows_of_other_features_can_t_make_a_condition_fail() {
    let rules = compile(&rule("", "cast(segment as int) = 7")).unwrap();
    let rows = [row("7", "prompt_tokens", T), row("tenant=a", "nsfw", T)];
    assert_eq!(judge(&rules, &rows), [(0, 0, Holds)]);
    let bad = [row("tenant=a", "prompt_tokens", T)];
    let batch = windows_batch(&bad, &strings(&["model_version", "tenant"])).unwrap();
    let e = rules.evaluate(&bad, &batch).unwrap_err().to_string();
    assert!(
        e.starts_with("rule \"r\" can't be evaluated: ") && e.contains("tenant=a") && !e.contains('\n'),
        "{e}"
    );
}

#[test]
fn several_rules_share_a_batch() {
    let text = format!("{}{}", rule("", "psi > 9"), rule("", "psi > 0").replace("\"r\"", "\"s\""));
    let rules = compile(&text).unwrap();
    let rows = vec![row("tenant=a", "prompt_tokens", T); 2];
    assert_eq!(
        judge(&rules, &rows),
        [(0, 0, DoesNotHold), (0, 1, DoesNotHold), (1, 0, Holds), (1, 1, Holds)]
    );
    let judged = rules
        .evaluate(&rows, &windows_batch(&rows, &strings(&["model_version", "tenant"])).unwrap())
        .unwrap();
    let seen = rules.observation(&judged[2], &rows[judged[2].row]);
    assert_eq!((&*seen.rule.name, seen.outcome), ("s", Holds));
    assert!(judge(&rules, &[]).is_empty());
}

#[test]
fn an_unknown_column_is_named_with_its_place_and_neighbour() {
    assert_eq!(
        refusal("", "n > 5 and psi_exces > 0.1"),
        "rule \"r\": when: no column psi_exces at character 11; did you mean \"psi_excess\"?"
    );
    assert!(refusal("", "zzz > 1").contains("columns here are \"window_start\""));
}

#[test]
fn what_is_no_condition_is_refused() {
    for (when, says) in [
        ("psi >", "expected: an expression, found: its end"),
        ("psi > 0.1 and", "found: its end"),
        ("", "found: its end"),
        ("psi > > 0.1", "found: > at character 7"),
        ("psi > 0.1 oops", "expected: end of expression, found: oops at character 11"),
        ("psi > 0.1 as oops", "\"oops\" follows the end of the expression at character 14"),
        ("psi > 0.1; drop table x", "end of expression"),
        ("psi", "is of type Float64, not a condition"),
        ("null", "not a condition"),
        ("psi > 'high'", "high"),
        ("sum(n) > 5", "the aggregate sum()"),
        ("row_number() over () > 1", "a window function"),
        ("psi > (select 1)", "a subquery"),
        ("exists (select 1)", "a subquery"),
        ("psi in (select 1)", "a subquery"),
        ("window_end < now()", "now()"),
        ("nosuch(psi) > 1", "nosuch"),
    ] {
        let text = refusal("", when);
        assert!(text.starts_with("rule \"r\": when: ") && text.contains(says), "{when:?} gives {text}");
    }
}

#[test]
fn a_condition_without_end_is_refused_before_it_is_planned() {
    let text = refusal("", &["psi > 1"; 2_000].join(" or "));
    assert!(text.contains("at most"), "{text}");
}

#[test]
fn unknown_names_are_refused_with_their_neighbour() {
    for (more, says) in [
        ("window = \"25h\"", "window: no window \"25h\"; did you mean \"24h\"?"),
        ("window = \"6h\"", "windows here are \"30m\", \"24h\""),
        ("segment_by = \"tenants\"", "segment_by: no grouping \"tenants\"; did you mean \"tenant\"?"),
        ("baseline = \"rolling_8d\"", "baseline: no baseline \"rolling_8d\"; did you mean \"rolling_"),
        ("baseline = \"pinned:\"", "no baseline \"pinned:\""),
    ] {
        let text = refusal(more, "n > 0");
        assert!(text.contains(says), "{more} gives {text}");
    }
    let e =
        compile("[[rules]]\nname = \"r\"\nfeature = \"nsfv\"\nwhen = \"n > 0\"\n").unwrap_err().to_string();
    assert_eq!(e, "rule \"r\": feature: no feature \"nsfv\"; did you mean \"nsfw\"?");
}

#[test]
fn what_no_row_can_meet_is_refused_with_what_was_meant() {
    let only = "window = \"24h\"\nsegment_by = \"tenant\"";
    for (when, says) in [
        ("verdict = 'drfit'", "verdict is never 'drfit'; did you mean 'drift'?"),
        ("verdict = 'Drift'", "did you mean 'drift'?"),
        ("n > 5 and verdict <> 'insuficient_data'", "did you mean 'insufficient_data'?"),
        ("verdict in ('drift', 'okay')", "verdict is never 'okay'"),
        ("'categoric' = kind", "did you mean 'categorical'?"),
        ("feature = 'prompt_token'", "did you mean 'prompt_tokens'?"),
        ("feature = 'nsfw'", "in this rule's rows it is one of \"prompt_tokens\""),
        ("window = '30m'", "in this rule's rows it is one of \"24h\""),
        ("segment_by = 'region'", "in this rule's rows it is one of \"tenant\""),
        ("baseline = 'rolling_9d'", "did you mean 'rolling_"),
        ("baseline = 'release:2'", "in this rule's rows it is one of"),
        ("verdict is distinct from 'drfit'", "did you mean 'drift'?"),
        ("case verdict when 'drfit' then true else n > 5 end", "did you mean 'drift'?"),
        ("segment = 'birch'", "a segment is written 'tenant=birch'"),
        ("psi = null", "never true; write psi IS NULL"),
        ("not (null <> psi)", "never true; write psi IS NULL"),
        ("psi in (0.5, null)", "never true; write psi IS NULL"),
        ("verdict = null", "write verdict IS NULL"),
        ("1 = 1", "is always true"),
        ("true", "is always true"),
        ("n = n or 1 < 2", "is always true"),
        ("1 > 2 and psi > 0.1", "is never true"),
        ("false", "is never true"),
        ("verdict = \\\"drift\\\"", "texts are written in single quotes: verdict = 'drift'"),
    ] {
        let text = refusal(only, when);
        assert!(text.starts_with("rule \"r\": when: ") && text.contains(says), "{when:?} gives {text}");
    }
    for when in [
        "n / (n - n) > 1",
        "verdict like 'dr%'",
        "verdict is null",
        "psi is distinct from null",
        "lower(verdict) = 'DRIFT'",
    ] {
        assert!(compile(&rule(only, when)).is_ok(), "{when}");
    }
}

#[test]
fn a_rule_s_pins_must_be_there_where_pins_are_known() {
    let on = |name: &str| rule(&format!("baseline = \"{name}\""), "n > 0");
    let pins = strings(&["launch", "spring"]);
    let refused =
        |name: &str, pins: Option<&[String]>| compile_with(&on(name), pins).unwrap_err().to_string();
    assert!(compile_with(&on("pinned:launch"), Some(&pins)).is_ok());
    assert!(compile_with(&on("pinned:lunch"), None).is_ok(), "pins are not known yet");
    assert!(
        refused("pinned:lunch", Some(&pins))
            .contains("no baseline \"pinned:lunch\"; did you mean \"launch\"?")
    );
    assert!(refused("pinned:x", Some(&pins)).contains("pins here are \"launch\", \"spring\""));
    assert!(refused("pinned:x", Some(&[])).contains("this output has none"));
    for pins in [None, Some(&pins[..])] {
        assert!(refused("release:M2", pins).contains("releases are no baselines"));
    }
}

#[test]
fn groupings_are_known_by_any_order_and_name() {
    let rules = compile(&rule("segment_by = [\"tenant, model.version\", \"\"]", "n > 0")).unwrap();
    let mut rows = vec![row("tenant=a", "prompt_tokens", T); 3];
    rows[1].segment_by = "model_version,tenant".into();
    rows[2].segment_by = "".into();
    assert_eq!(judge(&rules, &rows), [(0, 1, Holds), (0, 2, Holds)]);
}
