//! What the demo shows while it runs, as text: the panel on a terminal, a block for each finding, and plain lines for logs.
//!
//! Pure. Every line has 60 columns at most, so that a narrow terminal shows it whole.

use super::found::{Detection, IncidentFinding, IncidentLabel};
use super::report::{delay, moved, probability};
use crate::event::time;
use chrono::DateTime;
use indicatif::HumanCount;

/// Columns of the bar.
const BAR: usize = 30;
/// Columns before the bar: a time and two blanks.
const BEFORE_BAR: usize = 18;

/// How one injected incident stands at a moment of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentStanding {
    /// The event time evaluated has not reached its start.
    Ahead,
    /// It has begun, and no alert tells of it yet.
    Unnoticed,
    /// An alert told of it this many seconds of event time after its start.
    FoundAfter(i64),
}

/// The demo at one moment.
#[derive(Debug, Clone, Default)]
pub struct DemoMoment {
    /// Event time at which the traffic begins and ends, microseconds.
    pub from: i64,
    /// See `from`.
    pub until: i64,
    /// Event time evaluated, microseconds.
    pub reached: i64,
    /// Events taken in.
    pub events: u64,
    /// Events taken in per second, smoothed.
    pub per_second: f64,
    /// Seconds until the end, once that is more than a guess.
    pub left: Option<f64>,
    /// Rows of windows that were compared with a baseline.
    pub compared: u64,
}

impl DemoMoment {
    /// The share of the event time that is evaluated, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let whole = (self.until - self.from).max(1) as f64;
        ((self.reached - self.from) as f64 / whole).clamp(0.0, 1.0)
    }

    /// Whole days of event time evaluated.
    #[must_use]
    pub fn days_done(&self) -> i64 {
        (self.reached - self.from).max(0) / time::DAY
    }

    /// Days of event time in all.
    #[must_use]
    pub fn days(&self) -> i64 {
        (self.until - self.from) / time::DAY
    }

    /// How an incident stands; `found` is what the alerts told of it so far.
    #[must_use]
    pub fn standing(&self, label: &IncidentLabel, found: Option<&Detection>) -> IncidentStanding {
        match found {
            Some(d) => IncidentStanding::FoundAfter(d.delay_seconds),
            None if self.reached > label.start_us() => IncidentStanding::Unnoticed,
            None => IncidentStanding::Ahead,
        }
    }
}

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy)]
pub struct Ink(pub bool);

impl Ink {
    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn strong(self, text: &str) -> String {
        self.paint("1;32", text)
    }
    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
    fn alert(self, text: &str) -> String {
        self.paint("1;33", text)
    }
}

/// The panel that is redrawn at the foot of a terminal.
#[must_use]
pub fn panel(now: &DemoMoment, incidents: &[IncidentFinding], ink: Ink) -> String {
    let share = now.share();
    let full = (share * BAR as f64) as usize;
    let bar = ink.strong(&"█".repeat(full)) + &ink.faint(&"░".repeat(BAR - full));
    let mut lines = vec![String::new()];
    lines.push(format!("{}  {bar}  {:>3.0} %", day_minute(now.reached.max(now.from)), 100.0 * share));
    lines.push(marks(now, incidents));
    let day = (now.days_done() + 1).min(now.days());
    let mut pace = format!("day {day} of {}, {} events", now.days(), HumanCount(now.events));
    if now.per_second >= 1.0 {
        pace += &format!(", {} a second", HumanCount(now.per_second as u64));
    }
    if let Some(left) = now.left {
        pace += &format!(", {left:.0} s left");
    }
    lines.push(pace);
    lines.push(match now.compared {
        0 => "learning what is normal from the first days".to_owned(),
        n => format!("{} comparisons with the days before", HumanCount(n)),
    });
    lines.push(ink.faint(&format!("  {:<18}  {:<22}  found after", "incident", "in")));
    for (i, f) in incidents.iter().enumerate() {
        let row = format!("{} {:<18}  {:<22}  ", i + 1, f.incident.kind, f.incident.segment_text());
        lines.push(match now.standing(&f.incident, f.first.as_ref()) {
            IncidentStanding::Ahead => ink.faint(&format!("{row}not yet")),
            IncidentStanding::Unnoticed => row + &ink.alert("looking"),
            IncidentStanding::FoundAfter(s) => row + &ink.strong(&delay(s)),
        });
    }
    lines.join("\n")
}

/// The numbers of the incidents that have begun, below the places of the bar where they did.
fn marks(now: &DemoMoment, incidents: &[IncidentFinding]) -> String {
    let mut row = vec![' '; BAR];
    for (i, f) in incidents.iter().enumerate() {
        if now.standing(&f.incident, f.first.as_ref()) == IncidentStanding::Ahead {
            continue;
        }
        let place = DemoMoment { reached: f.incident.start_us(), ..now.clone() }.share();
        let at = ((place * BAR as f64) as usize).min(BAR - 1);
        row[at] = char::from_digit(i as u32 + 1, 10).unwrap_or('+');
    }
    let row: String = row.into_iter().collect();
    format!("{:BEFORE_BAR$}{}", "", row.trim_end())
}

/// What is printed above the panel when an incident is found.
#[must_use]
pub fn block(label: &IncidentLabel, first: &Detection, ink: Ink) -> String {
    let head = format!("FOUND {} in {}", label.kind, label.segment_text());
    let sure = first
        .p_value
        .map_or_else(String::new, |p| format!("\n  chance of this without a drift: {}", probability(p)));
    format!(
        "{}\n  began {}, found {} later\n  by {}, severity {}\n  {}{sure}",
        ink.strong(&head),
        day_minute(label.start_us()),
        delay(first.delay_seconds),
        first.rule,
        first.severity,
        moved(first),
    )
}

/// A line for a log: so many days are evaluated.
#[must_use]
pub fn progress_line(now: &DemoMoment, found: usize) -> String {
    // Events come in bursts: between them it evaluates what it has read.
    let rate = if now.per_second < 0.5 { String::new() } else { format!(" rate={:.0}", now.per_second) };
    format!(
        "progress day={} of={} evaluated_to={} events={}{rate} compared={} found={found}",
        now.days_done(),
        now.days(),
        time::text(now.reached),
        now.events,
        now.compared,
    )
}

/// A line for a log: the event time evaluated has reached an incident's start.
#[must_use]
pub fn began_line(label: &IncidentLabel) -> String {
    format!("injected incident={} segment={} began={}", label.kind, label.segment_text(), label.start)
}

/// A line for a log: an incident is found.
#[must_use]
pub fn found_line(label: &IncidentLabel, first: &Detection) -> String {
    let p =
        first.p_value.map_or_else(String::new, |p| format!(" p_value={}", probability(p).replace(' ', "")));
    format!(
        "found incident={} segment={} began={} at={} delay_s={} rule={} severity={}{p}",
        label.kind,
        label.segment_text(),
        label.start,
        first.at,
        first.delay_seconds,
        first.rule,
        first.severity,
    )
}

/// "Sat 10 Jan 13:30".
#[must_use]
pub fn day_minute(us: i64) -> String {
    DateTime::from_timestamp_micros(us).map_or_else(String::new, |t| t.format("%a %d %b %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(kind: &str, segment: (&str, &str), start: &str, found_after: Option<i64>) -> IncidentFinding {
        let incident = IncidentLabel {
            id: format!("{kind}-1"),
            kind: kind.into(),
            segment: [(segment.0.to_owned(), segment.1.to_owned())].into(),
            start: start.into(),
            end: None,
            signals: Vec::new(),
            follows: Vec::new(),
            what: String::new(),
        };
        let first = found_after.map(|delay_seconds| Detection {
            id: "a".into(),
            rule: "generation-settings".into(),
            segment: "tenant=birch".into(),
            feature: "prompt_tokens".into(),
            window: "1h".into(),
            severity: "medium",
            at: "2026-01-10T06:30:00Z".into(),
            delay_seconds,
            p_value: Some(2.6e-12),
            top: Some(("style:illustration".into(), 0.94, 0.996)),
            values: None,
            summary: String::new(),
        });
        IncidentFinding { incident, first, alerts: 1 }
    }

    fn incidents() -> Vec<IncidentFinding> {
        vec![
            incident("prompt-shift", ("tenant", "birch"), "2026-01-10T05:00:00Z", Some(5_400)),
            incident("aesthetic-drop", ("model_version", "sdxl-1.1"), "2026-01-11T02:00:00Z", None),
            incident("latency-and-errors", ("region", "ap-south"), "2026-01-13T02:00:00Z", None),
        ]
    }

    fn moment() -> DemoMoment {
        let at = |text: &str| time::parse(text).unwrap();
        DemoMoment {
            from: at("2026-01-05T00:00:00Z"),
            until: at("2026-01-15T00:00:00Z"),
            reached: at("2026-01-11T12:00:00Z"),
            events: 1_262_000,
            per_second: 121_300.4,
            left: Some(14.6),
            compared: 98_112,
        }
    }

    #[test]
    fn the_panel_says_how_far_it_is_and_how_each_incident_stands() {
        assert_eq!(
            panel(&moment(), &incidents(), Ink(false)),
            "\nSun 11 Jan 12:00  ███████████████████░░░░░░░░░░░   65 %
                                 1  2
day 7 of 10, 1,262,000 events, 121,300 a second, 15 s left
98,112 comparisons with the days before
  incident            in                      found after
1 prompt-shift        tenant=birch            1 h 30 min
2 aesthetic-drop      model_version=sdxl-1.1  looking
3 latency-and-errors  region=ap-south         not yet"
        );
        let early = DemoMoment { reached: 0, compared: 0, left: None, per_second: 0.0, ..moment() };
        let text = panel(&early, &incidents()[1..], Ink(false));
        assert!(text.contains("Mon 05 Jan 00:00  ░") && text.contains("learning what is normal"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_sixty_columns() {
        let all = incidents();
        let (shift, slow) = (&all[0], &all[2].incident);
        let first = shift.first.as_ref().unwrap();
        let texts = [panel(&moment(), &all, Ink(false)), block(slow, first, Ink(false))];
        for line in texts.iter().flat_map(|t| t.lines()) {
            assert!(line.chars().count() <= 60, "{line}");
        }
    }

    #[test]
    fn a_terminal_without_colour_and_a_log_get_no_control_characters() {
        let all = incidents();
        let (label, first) = (&all[0].incident, all[0].first.as_ref().unwrap());
        let lines = [progress_line(&moment(), 1), began_line(label), found_line(label, first)];
        for line in &lines {
            assert!(!line.chars().any(char::is_control), "{line}");
        }
        assert_eq!(
            lines[2],
            "found incident=prompt-shift segment=tenant=birch began=2026-01-10T05:00:00Z at=2026-01-10T06:30:00Z \
             delay_s=5400 rule=generation-settings severity=medium p_value=3e-12"
        );
        assert!(
            lines[0].starts_with("progress day=6 of=10 evaluated_to=2026-01-11T12:00:00Z "),
            "{}",
            lines[0]
        );
        assert!(!panel(&moment(), &all, Ink(false)).contains('\x1b'));
        assert!(panel(&moment(), &all, Ink(true)).contains("\x1b[1;32m1 h 30 min\x1b[0m"));
    }
}
