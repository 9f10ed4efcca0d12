//! How alerts begin, fire, end and go silent.

use super::super::samples::{T, info, row};
use super::*;
use crate::event::time::{HOUR, MINUTE};
use proptest::prelude::*;

const SILENT: i64 = 24 * HOUR;

/// Feeds one key with outcomes an hour apart and returns (hour, state) of each row.
fn run(hold: i64, keep: i64, outcomes: &[Option<RuleOutcome>]) -> Vec<(i64, AlertRow)> {
    let (rule, mut book, mut out) = (info("r", hold, keep), AlertBook::default(), Vec::new());
    let mut of_concern = AlertBook::default();
    for (h, outcome) in (0i64..).zip(outcomes) {
        let r = row("tenant=birch", "prompt_tokens", T + h * HOUR);
        let seen: Vec<RuleObservation> =
            outcome.iter().map(|&outcome| RuleObservation { rule: &rule, row: &r, outcome }).collect();
        let kept: Vec<RuleObservation> = seen.iter().filter(|o| of_concern.concerns(o)).cloned().collect();
        let rows = book.step(T + h * HOUR, SILENT, &seen);
        assert_eq!(
            of_concern.step(T + h * HOUR, SILENT, &kept),
            rows,
            "what does not concern changes nothing"
        );
        out.extend(rows.into_iter().map(|a| (h, a)));
    }
    out
}

fn states(rows: &[(i64, AlertRow)]) -> Vec<(i64, AlertState)> {
    rows.iter().map(|(h, a)| (*h, a.state)).collect()
}

fn open_states(book: &AlertBook) -> Vec<AlertState> {
    book.open.values().map(|o| o.row.state).collect()
}

use AlertState::{Firing, Pending, Resolved, Stale};
const YES: Option<RuleOutcome> = Some(RuleOutcome::Holds);
const NO: Option<RuleOutcome> = Some(RuleOutcome::DoesNotHold);
const DARK: Option<RuleOutcome> = Some(RuleOutcome::NotJudged);

#[test]
fn it_fires_after_for_and_is_resolved_after_keep_firing_for() {
    let rows = run(2 * HOUR, HOUR, &[NO, YES, YES, YES, NO, YES, NO, NO, NO]);
    assert_eq!(states(&rows), [(1, Pending), (3, Firing), (7, Resolved)]);
    assert!(rows.iter().all(|(_, a)| a.id == rows[0].1.id));
    let last = &rows[2].1;
    assert_eq!(
        (last.pending_since, last.firing_since, last.resolved_at),
        (T + HOUR, Some(T + 3 * HOUR), Some(T + 7 * HOUR))
    );
    assert_eq!(rows[1].1.window_end, T + 3 * HOUR, "the row at which it fired");
    assert_eq!(last.window_end, T + 7 * HOUR, "the latest row");
}

#[test]
fn without_for_it_fires_at_once_and_without_keep_it_ends_at_once() {
    let rows = run(0, 0, &[YES, NO, YES]);
    assert_eq!(states(&rows), [(0, Firing), (1, Resolved), (2, Firing)]);
    assert_ne!(rows[0].1.id, rows[2].1.id, "a new alert");
}

#[test]
fn a_pending_that_ends_is_written_and_not_told() {
    let rows = run(2 * HOUR, HOUR, &[YES, NO, YES, YES, YES]);
    assert_eq!(states(&rows), [(0, Pending), (1, Resolved), (2, Pending), (4, Firing)]);
    assert_eq!(rows.iter().map(|(_, a)| a.notifies()).collect::<Vec<_>>(), [false, false, false, true]);
}

#[test]
fn missing_data_never_resolves() {
    for missing in [None, DARK] {
        let mut outcomes = vec![YES];
        outcomes.extend([missing; 23]);
        outcomes.extend([NO, NO]);
        assert_eq!(states(&run(0, HOUR, &outcomes)), [(0, Firing), (25, Resolved)]);
    }
}

#[test]
fn silence_makes_it_stale_and_data_brings_it_back_with_its_id() {
    let mut outcomes = vec![YES];
    outcomes.extend([DARK; 30]);
    outcomes.extend([YES, NO]);
    let rows = run(0, 0, &outcomes);
    assert_eq!(states(&rows), [(0, Firing), (24, Stale), (31, Firing), (32, Resolved)]);
    assert!(rows.iter().all(|(_, a)| a.id == rows[0].1.id && a.firing_since == Some(T) && a.notifies()));
    assert!(rows[1].1.summary.contains("too little data"));
    assert_eq!(rows[1].1.window_end, T, "what is known is the window at which it fired");
}

#[test]
fn a_stale_one_is_resolved_by_quiet_data_and_a_silent_pending_ends() {
    let mut outcomes = vec![YES];
    outcomes.extend([None; 30]);
    outcomes.extend([NO, NO]);
    assert_eq!(states(&run(0, HOUR, &outcomes)), [(0, Firing), (24, Stale), (32, Resolved)]);
    let rows = run(2 * HOUR, 0, &outcomes);
    assert_eq!(states(&rows), [(0, Pending), (24, Stale)]);
    assert!(!rows[1].1.notifies());
}

#[test]
fn the_book_forgets_segments_that_never_come_back() {
    let (rule, r, mut book) = (info("r", 0, 0), row("tenant=birch", "nsfw", T), AlertBook::default());
    book.step(T, SILENT, &[RuleObservation { rule: &rule, row: &r, outcome: RuleOutcome::Holds }]);
    assert_eq!(book.step(T + 27 * DAY, SILENT, &[]).len(), 1);
    assert_eq!(open_states(&book), [Stale]);
    assert!(book.step(T + 28 * DAY, SILENT, &[]).is_empty());
    assert_eq!(book, AlertBook { at: Some(T + 28 * DAY), ..AlertBook::default() });
}

#[test]
fn time_does_not_go_back_and_rows_come_ordered() {
    let (rule, mut book) = (info("r", 0, 0), AlertBook::default());
    let (a, b) = (row("tenant=birch", "nsfw", T), row("tenant=alder", "nsfw", T));
    let holds = |row| RuleObservation { rule: &rule, row, outcome: RuleOutcome::Holds };
    let rows = book.step(T, SILENT, &[holds(&a), holds(&b)]);
    assert_eq!(rows.iter().map(|r| r.segment.as_str()).collect::<Vec<_>>(), ["tenant=alder", "tenant=birch"]);
    let before = book.clone();
    assert!(
        book.step(T - 1, SILENT, &[RuleObservation { outcome: RuleOutcome::DoesNotHold, ..holds(&a) }])
            .is_empty()
    );
    assert_eq!(book, before);
}

/// Steps of 20 minutes to 15 hours; each says for some of six keys what was found.
fn history() -> impl Strategy<Value = Vec<(i64, Vec<(usize, RuleOutcome)>)>> {
    let outcome = prop_oneof![3 => Just(RuleOutcome::Holds), 3 => Just(RuleOutcome::DoesNotHold), 2 => Just(RuleOutcome::NotJudged)];
    prop::collection::vec((1i64..45, prop::collection::vec((0usize..6, outcome), 0..6)), 1..60)
}

fn feed(book: &mut AlertBook, at: i64, seen: &[(usize, RuleOutcome)]) -> Vec<AlertRow> {
    let rules = [info("now", 0, 0), info("later", HOUR, 2 * HOUR)];
    let mut rows =
        [row("tenant=birch", "nsfw", at), row("tenant=cedar", "nsfw", at), row("", "prompt_tokens", at)];
    rows[0].scores.psi = Some((at as f64).sqrt() / 3.0);
    rows[1].scores.p_value = Some(1.0 / at as f64);
    // A key has one row per evaluation time.
    let seen: BTreeMap<usize, RuleOutcome> = seen.iter().copied().collect();
    let seen: Vec<RuleObservation> = seen
        .into_iter()
        .map(|(k, outcome)| RuleObservation { rule: &rules[k % 2], row: &rows[k / 2], outcome })
        .collect();
    book.step(at, 6 * HOUR, &seen)
}

proptest! {
    #[test]
    fn a_book_read_back_at_any_point_goes_on_the_same(steps in history(), restarts in prop::collection::vec(any::<bool>(), 60)) {
        let (mut steady, mut restarted, mut at) = (AlertBook::default(), AlertBook::default(), T);
        for ((wait, seen), restart) in steps.iter().zip(restarts) {
            at += wait * 20 * MINUTE;
            if restart {
                restarted = serde_json::from_slice(&serde_json::to_vec(&restarted).unwrap()).unwrap();
            }
            prop_assert_eq!(feed(&mut steady, at, seen), feed(&mut restarted, at, seen));
            prop_assert_eq!(&steady, &restarted);
        }
    }

    #[test]
    fn every_alert_lives_by_the_diagram(steps in history()) {
        let (mut book, mut at) = (AlertBook::default(), T);
        let mut last: BTreeMap<String, AlertRow> = BTreeMap::new();
        for (wait, seen) in &steps {
            at += wait * 20 * MINUTE;
            for a in feed(&mut book, at, seen) {
                let before = last.insert(a.id.clone(), a.clone());
                let allowed = match before.as_ref().map(|b| b.state) {
                    None => a.state == Pending || (a.state == Firing && a.rule == "now"),
                    Some(Pending) => (a.state == Firing && a.at - a.pending_since >= HOUR) || (a.firing_since.is_none() && a.state != Pending),
                    Some(Firing) => matches!(a.state, Resolved | Stale),
                    Some(Stale) => matches!(a.state, Firing | Resolved) && a.firing_since.is_some(),
                    Some(Resolved) => false,
                };
                prop_assert!(allowed, "{:?} → {:?}", before, a);
                prop_assert_eq!(a.resolved_at.is_some(), a.state == Resolved);
            }
        }
        // The table's last rows say the same as the book.
        let open = last.values().filter(|a| a.state != Resolved && (a.state != Stale || a.firing_since.is_some())).count();
        prop_assert_eq!(open, book.open.len());
    }
}
