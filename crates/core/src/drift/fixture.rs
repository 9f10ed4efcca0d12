//! What the tests of this module share: reading reference values and comparing with them.

use serde_json::Value;

/// The number at `key`; "inf" and the like do not occur in the fixtures.
pub(super) fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {case}"))
}

/// The list of numbers at `key`.
pub(super) fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let list = case[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
    list.iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// The list of counts at `key`.
pub(super) fn counts(case: &Value, key: &str) -> Vec<u64> {
    let list = case[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
    list.iter().map(|v| v.as_u64().expect("a count")).collect()
}

/// The (value, weight) pairs at `key`.
pub(super) fn pairs(case: &Value, key: &str) -> Vec<(f64, u64)> {
    let list = case[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
    list.iter().map(|v| (v[0].as_f64().expect("a value"), v[1].as_u64().expect("a weight"))).collect()
}

/// Fails unless the two agree to 1e-9 relative.
#[track_caller]
pub(super) fn assert_agrees(got: f64, want: f64, what: &str) {
    let close = got == want || (got - want).abs() <= 1e-9 * want.abs();
    assert!(close, "{what}: got {got:e}, reference {want:e}");
}
