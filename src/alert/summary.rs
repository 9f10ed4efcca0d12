//! The summary of an alert, one sentence: what changed where, by how much, how certain that is, and
//! because of what.

use super::row::{AlertRow, AlertState};
use crate::config::watched::MISSING;
use crate::event::time;
use crate::store::rows::{Contributor, Verdict, WindowRow};
use std::fmt::Write;

/// Contributors that fit a sentence.
const NAMED: usize = 3;

/// The summary of a row about window `r`.
pub(super) fn about_window(a: &AlertRow, r: &WindowRow) -> String {
    let (place, feature) = (place(&a.segment), &a.feature);
    let window = format!("the {} window ending {}", a.window, time::text(a.window_end));
    let what = match (a.state, a.firing_since) {
        (AlertState::Resolved, Some(since)) => {
            format!(
                "{feature} no longer meets {} in {window}, after firing since {}",
                a.rule,
                time::text(since)
            )
        }
        (AlertState::Resolved, None) => {
            format!("{feature} no longer meets {} in {window} and never fired", a.rule)
        }
        _ if a.verdict == Some(Verdict::Drift) && is_of_fields(a, r) => {
            let lost = a.contributors.first().is_none_or(|c| c.contribution > 0.0);
            format!(
                "fields {} in {window}",
                if lost { "went missing" } else { "that were missing have come" }
            )
        }
        _ if a.verdict == Some(Verdict::Drift) => format!("{feature} drifted in {window}"),
        _ => format!("{feature} meets {} in {window}", a.rule),
    };
    let mut text = format!("{place}: {what}: {}", figures(a, r));
    if is_of_fields(a, r) && a.state != AlertState::Resolved && !a.contributors.is_empty() {
        let most: Vec<String> = a.contributors.iter().take(NAMED).map(field).collect();
        text = format!("{place}: {what}: {}; {}", most.join("; "), figures(a, r));
        return text + incomplete(a);
    }
    let towards: Vec<String> = a.contributors.iter().filter(|c| c.contribution > 0.0).map(style).collect();
    if r.kind == "embedding" {
        if let Some(first) = towards.first().filter(|_| a.state != AlertState::Resolved) {
            let _ = write!(text, "; towards {first}");
        }
    } else if a.state != AlertState::Resolved && !a.contributors.is_empty() {
        let of = if matches!(r.kind, "numeric" | "rate") { range } else { contributor };
        let most: Vec<String> = a.contributors.iter().take(NAMED).map(of).collect();
        let _ = write!(text, "; most by {}", most.join(", "));
    }
    text + incomplete(a)
}

fn incomplete(a: &AlertRow) -> &'static str {
    if a.complete { "" } else { " (some partitions had not reached the window's end)" }
}

/// Whether a row is about fields that events lack.
fn is_of_fields(a: &AlertRow, r: &WindowRow) -> bool {
    a.feature == MISSING && r.kind == "categorical"
}

/// A field that events lack: the key names the events, and last the field.
fn field(c: &Contributor) -> String {
    let (now, then) = (percent(c.share), percent(c.baseline_share));
    match c.key.rsplit_once(' ') {
        Some((events, field)) => format!("{field} from {now} of {events} events, was {then}"),
        None => contributor(c),
    }
}

/// The summary of an alert whose segment has gone silent.
pub(super) fn about_silence(a: &AlertRow, last_judged: i64) -> String {
    let was = match a.firing_since {
        Some(since) => format!("firing since {}", time::text(since)),
        None => format!("pending since {}", time::text(a.pending_since)),
    };
    let (place, feature, rule) = (place(&a.segment), &a.feature, &a.rule);
    format!("{place}: too little data to judge {feature} since {}; {rule} was {was}", time::text(last_judged))
}

fn place(segment: &str) -> &str {
    if segment.is_empty() { "all traffic" } else { segment }
}

fn figures(a: &AlertRow, r: &WindowRow) -> String {
    let rate = r.kind == "rate";
    let show = |x: f64| if rate { percent(x) } else { number(x) };
    let mean = match r.kind {
        "rate" => "",
        _ if is_of_fields(a, r) => "fields that an event lacks ",
        _ => "mean ",
    };
    let mut parts = Vec::new();
    match (a.value, a.baseline_value) {
        (Some(v), Some(b)) => {
            parts.push(format!("{mean}{}, was {}", show(v), show(b)));
        }
        (Some(v), None) => parts.push(format!("{mean}{}", show(v))),
        _ => {}
    }
    if let (Some(now), Some(then)) = (r.now.quantiles, r.then.quantiles) {
        parts.push(format!("p95 {}, was {}", number(now[1]), number(then[1])));
    }
    if let Some(psi) = a.psi {
        let excess = a.psi_excess.map_or_else(String::new, |e| format!(" (excess {})", number(e)));
        parts.push(format!("psi {}{excess}", number(psi)));
    }
    if let Some(d) = r.scores.centroid_cosine {
        parts.push(format!("centroid distance {}", number(d)));
    }
    if let Some(p) = a.p_value {
        parts.push(if p < 1e-300 { "p below 1e-300".to_owned() } else { format!("p {}", number(p)) });
    }
    parts.push(format!("{} events", a.n));
    parts.join(", ")
}

fn contributor(c: &Contributor) -> String {
    // A category is what a producer wrote: it must not break the line.
    let key: String = c.key.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect();
    format!("{key} {} → {}", percent(c.baseline_share), percent(c.share))
}

/// A range of numbers as a contributor.
fn range(c: &Contributor) -> String {
    match range_in_words(&c.key) {
        Some(words) => format!("values {words}: {} → {}", percent(c.baseline_share), percent(c.share)),
        None => contributor(c),
    }
}

/// The label of a bin of numbers in plain words, with three digits: "≤ 5.10938" is "at most 5.11".
/// `None` for what is no such label.
pub(crate) fn range_in_words(label: &str) -> Option<String> {
    let parsed = |text: &str| text.trim().parse::<f64>().ok();
    for (sign, words) in [("≤", "at most"), ("<", "below"), ("≥", "at least"), (">", "above")] {
        if let Some(rest) = label.strip_prefix(sign).filter(|rest| !rest.contains(" – ")) {
            return Some(format!("{words} {}", number(parsed(rest)?)));
        }
    }
    let (from, to) = label.split_once(" – ")?;
    let (from, to) = (from.trim_start_matches('≥'), to.trim_start_matches('<'));
    let (low, high) = (number(parsed(from)?), number(parsed(to)?));
    // Rounding must not make an empty range of a narrow one.
    Some(if low == high { format!("{from} to {to}") } else { format!("{low} to {high}") })
}

/// A named style that the centroid has moved towards.
fn style(c: &Contributor) -> String {
    let name = c.key.strip_prefix("style:").unwrap_or(&c.key);
    format!("{name} (cosine {} → {})", number(c.baseline_share), number(c.share))
}

pub(crate) fn percent(x: f64) -> String {
    format!("{} %", number(100.0 * x))
}

/// A number with three significant digits.
pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 {
        return "0".to_owned();
    }
    if !x.is_finite() {
        return x.to_string();
    }
    if size < 1e-3 {
        return format!("{x:.0e}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{x:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{T, info, row};
    use super::*;
    use crate::store::rows::{Scores, Side};

    fn alert(state: AlertState, r: &WindowRow) -> AlertRow {
        AlertRow::new(&info("prompt-drift", 0, 0), state, r, T, T)
    }

    #[test]
    fn a_drift_of_tokens_reads_in_one_sentence() {
        let r = row("tenant=birch", "prompt_tokens", T);
        assert_eq!(
            about_window(&alert(AlertState::Firing, &r), &r),
            "tenant=birch: prompt_tokens drifted in the 24h window ending 2024-11-15T10:00:00Z: psi 0.61 (excess 0.55), p 3e-9, \
             5000 events; most by anime 1 % → 5.1 %, girl 2 % → 4 %"
        );
    }

    #[test]
    fn a_rate_reads_in_percent_and_a_number_with_its_tail() {
        let mut r = row("", "nsfw", T);
        r.kind = "rate";
        r.contributors.clear();
        r.scores = Scores { p_value: Some(0.0), ..Scores::default() };
        r.now.value = Some(0.034);
        r.then.value = Some(0.012);
        let text = about_window(&alert(AlertState::Firing, &r), &r);
        assert!(
            text.starts_with("all traffic: nsfw drifted")
                && text.contains(": 3.4 %, was 1.2 %, p below 1e-300"),
            "{text}"
        );
        r.kind = "numeric";
        r.now = Side { n: 9, sessions: 9, value: Some(1240.4), quantiles: Some([1.0, 3000.0, 4.0]) };
        r.then = Side { n: 9, sessions: 9, value: Some(812.2), quantiles: Some([1.0, 1500.0, 4.0]) };
        r.complete = false;
        let text = about_window(&alert(AlertState::Firing, &r), &r);
        assert!(
            text.contains("mean 1240, was 812, p95 3000, was 1500") && text.contains("some partitions"),
            "{text}"
        );
    }

    #[test]
    fn fields_that_went_missing_are_named_with_the_events_that_lack_them() {
        let mut r = row("", "missing", T);
        (r.now.value, r.then.value) = (Some(2.04), Some(1.1));
        let lost = |key: &str, baseline_share, share, contribution| Contributor {
            key: key.into(),
            share,
            baseline_share,
            contribution,
        };
        r.contributors = vec![
            lost("generate quality.aesthetic", 0.02, 1.0, 9.1),
            lost("failed generate error.code", 0.0, 0.3, 0.4),
        ];
        let text = about_window(&alert(AlertState::Firing, &r), &r);
        assert_eq!(
            text,
            "all traffic: fields went missing in the 24h window ending 2024-11-15T10:00:00Z: quality.aesthetic from 100 % of \
             generate events, was 2 %; error.code from 30 % of failed generate events, was 0 %; fields that an event lacks 2.04, \
             was 1.1, psi 0.61 (excess 0.55), p 3e-9, 5000 events"
        );
        r.contributors = vec![lost("generate quality.aesthetic", 1.0, 0.02, -9.1)];
        let text = about_window(&alert(AlertState::Firing, &r), &r);
        assert!(text.contains("fields that were missing have come in the 24h window"), "{text}");
    }

    #[test]
    fn resolved_and_silent_say_since_when_it_fired() {
        let r = row("tenant=birch", "prompt_tokens", T);
        let mut a = alert(AlertState::Resolved, &r);
        assert!(about_window(&a, &r).contains("never fired"));
        a.firing_since = Some(T - 1_000_000);
        assert!(about_window(&a, &r).contains("after firing since 2024-11-15T09:59:59Z"));
        assert!(
            about_silence(&a, T)
                .contains("too little data to judge prompt_tokens since 2024-11-15T10:00:00Z")
        );
    }

    #[test]
    fn a_contributor_stays_on_the_line() {
        let c = Contributor { key: "a\nb".into(), share: 0.1, baseline_share: 0.0, contribution: 1.0 };
        assert_eq!(contributor(&c), "a b 0 % → 10 %");
    }

    #[test]
    fn ranges_are_told_in_words() {
        for (label, words) in [
            ("≤ 5.10938", Some("at most 5.11")),
            ("< 0.5", Some("below 0.5")),
            ("> 4812.33", Some("above 4812")),
            ("≥ 90", Some("at least 90")),
            ("12.5031 – 14", Some("12.5 to 14")),
            ("≥14 – <90", Some("14 to 90")),
            ("5.10938 – 5.11412", Some("5.10938 to 5.11412")),
            ("any value", None),
            ("30", None),
        ] {
            assert_eq!(range_in_words(label).as_deref(), words, "{label}");
        }
        let mut r = row("", "aesthetic", T);
        r.kind = "numeric";
        r.contributors = vec![Contributor {
            key: "≤ 5.10938".into(),
            share: 0.395,
            baseline_share: 0.101,
            contribution: 0.4,
        }];
        let text = about_window(&alert(AlertState::Firing, &r), &r);
        assert!(text.ends_with("; most by values at most 5.11: 10.1 % → 39.5 %"), "{text}");
    }

    #[test]
    fn numbers_have_three_digits() {
        for (x, want) in [
            (0.0, "0"),
            (0.123_456, "0.123"),
            (12.0, "12"),
            (99.99, "100"),
            (1e5, "100000"),
            (-0.5, "-0.5"),
            (3e-9, "3e-9"),
        ] {
            assert_eq!(number(x), want);
        }
    }
}
