//! Progress of a running job: a bar on a terminal, a line a minute otherwise, nothing where nobody looks.
//!
//! What is shown of a job that evaluates is the event time evaluated: reading runs ahead of it and ends long before.

use super::Global;
use super::common::tell;
use crate::engine::{FeaturesLackingDays, FiredAlert, JobCounts, Progress};
use crate::event::time;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shows a job's progress until it is dropped.
pub struct ProgressDisplay {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Time between plain lines.
const LINE: Duration = Duration::from_secs(60);
/// Event time between what was read and what is evaluated that is usual: a window waits for its end.
const CAUGHT_UP: i64 = time::HOUR;
/// Groupings of which a terminal says what can't be judged yet.
const GROUPINGS: usize = 2;

impl ProgressDisplay {
    /// Starts showing.
    #[must_use]
    pub fn start(progress: Arc<Progress>, global: &Global) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (quiet, flag) = (global.quiet, Arc::clone(&done));
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
            if !quiet {
                show(&progress, &flag);
            }
        });
        Self { done, thread: thread.ok() }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn show(progress: &Progress, done: &AtomicBool) {
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(
        None,
        if terminal { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() },
    );
    let spin = ProgressStyle::with_template("{spinner} {msg}");
    let full = ProgressStyle::with_template("{bar:24} {percent:>3} % {msg}");
    if let Ok(style) = spin {
        bar.set_style(style);
    }
    let mut pace = Pace::default();
    let (mut at, mut line) = (Instant::now(), Instant::now());
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        let look = Look::of(progress);
        let share = look.share();
        pace.step(at.elapsed().as_secs_f64(), look.counts.events, share);
        at = Instant::now();
        if let (Some(share), Ok(style)) = (share, &full) {
            bar.set_style(style.clone());
            bar.set_length(1000);
            bar.set_position((1000.0 * share) as u64);
        }
        if terminal {
            bar.set_message(look.text(&pace));
            bar.tick();
        } else if line.elapsed() >= LINE {
            line = Instant::now();
            tell(look.line(&pace));
        }
    }
    bar.finish_and_clear();
}

/// How fast it goes, smoothed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    seconds: f64,
    events: u64,
    pub(super) per_second: f64,
    share: Option<f64>,
    /// Share of the whole per second.
    speed: f64,
}

impl Pace {
    /// Takes what was reached so many seconds after the last time.
    pub(super) fn step(&mut self, seconds: f64, events: u64, share: Option<f64>) {
        let seconds = seconds.max(1e-3);
        self.seconds += seconds;
        let now = events.saturating_sub(self.events) as f64 / seconds;
        self.per_second = if self.per_second == 0.0 { now } else { 0.8 * self.per_second + 0.2 * now };
        self.events = events;
        if let (Some(before), Some(share)) = (self.share, share) {
            // Ticks come in steps: smoothed over some ten seconds, and from the beginning over all there was.
            let weight = (seconds / self.seconds.min(10.0)).min(1.0);
            self.speed += weight * ((share - before) / seconds - self.speed);
        }
        self.share = share;
    }

    /// Seconds that are left; none while that would be a guess.
    pub(super) fn left(&self) -> Option<f64> {
        let share = self.share?;
        let known = self.seconds >= 3.0 && share >= 0.01 && self.speed > 1e-9;
        known.then(|| (1.0 - share) / self.speed)
    }
}

/// A job's progress at one time.
#[derive(Debug, Clone, Default)]
struct Look {
    counts: JobCounts,
    lag: u64,
    /// Bytes of the input read, and all of them.
    read: Option<(u64, u64)>,
    /// Bytes of messages polled: reading runs ahead of what is taken in.
    polled: u64,
    all_read: bool,
    evaluates: bool,
    /// Event time: where the evaluation began, where it is, and what was taken in; 0 where not known.
    from: i64,
    to: i64,
    taken: i64,
    waiting: Vec<FeaturesLackingDays>,
    fired: Option<FiredAlert>,
}

impl Look {
    fn of(p: &Progress) -> Self {
        let standing = p.standing.lock().clone();
        Self {
            counts: p.counts(),
            lag: p.lag.load(Ordering::Relaxed),
            read: *p.input.lock(),
            polled: p.polled.load(Ordering::Relaxed),
            all_read: p.all_read.load(Ordering::Relaxed),
            evaluates: p.evaluates.load(Ordering::Relaxed) == 1,
            from: p.evaluated_from.load(Ordering::Relaxed),
            to: p.evaluated_to.load(Ordering::Relaxed),
            taken: p.taken_to.load(Ordering::Relaxed),
            waiting: standing.waiting,
            fired: standing.fired,
        }
    }

    /// Whether nothing is read at the moment, while the evaluation is still behind what was.
    fn only_evaluates(&self, pace: &Pace) -> bool {
        let nothing_to_read =
            self.all_read || (self.read.is_none() && self.lag == 0 && pace.per_second < 0.5);
        self.evaluates && nothing_to_read && self.taken > self.to.saturating_add(CAUGHT_UP)
    }

    /// The share of the input taken in, where all of it is known.
    fn share_read(&self) -> Option<f64> {
        if self.all_read {
            return Some(1.0);
        }
        let (read, total) = self.read?;
        let taken = if self.polled == 0 { 1.0 } else { self.counts.bytes as f64 / self.polled as f64 };
        let share = read as f64 / total.max(1) as f64 * taken.min(1.0);
        Some(share.clamp(0.0, 1.0))
    }

    /// The last event time of the input: known once all is read, before that guessed from the share that is.
    fn end(&self) -> Option<i64> {
        let read = self.share_read()?;
        let known = self.from != 0 && self.taken > self.from && read > 0.0;
        known.then(|| self.from.saturating_add(((self.taken - self.from) as f64 / read) as i64))
    }

    /// The share of the work that is done: of the event time evaluated, or read where nothing is evaluated.
    fn share(&self) -> Option<f64> {
        let read = self.share_read()?;
        if !self.evaluates {
            return Some(read);
        }
        let done =
            self.end().map(|end| (self.to.max(self.from) - self.from) as f64 / (end - self.from) as f64);
        Some(done.unwrap_or(0.0).clamp(0.0, 1.0))
    }

    /// For a terminal: what it does, what fired last, and what can't be judged yet.
    fn text(&self, pace: &Pace) -> String {
        let c = &self.counts;
        let mut parts = Vec::new();
        if self.to != 0 {
            let of = self.end().map_or_else(String::new, |end| format!(" of {}", minute(end)));
            parts.push(format!("evaluated to {}{of}", minute(self.to)));
        }
        parts.extend(pace.left().map(|s| format!("{} left", span(s))));
        if self.all_read {
            parts.push(format!("all {} events read", HumanCount(c.events)));
        } else if self.only_evaluates(pace) {
            parts.push(format!("{} events read, evaluating them", HumanCount(c.events)));
        } else {
            parts.push(format!("{} events, {}/s", HumanCount(c.events), HumanCount(pace.per_second as u64)));
            parts.push(HumanBytes(c.bytes).to_string());
        }
        if self.lag > 0 {
            parts.push(format!("{} behind", HumanCount(self.lag)));
        }
        if c.rejected > 0 {
            parts.push(format!("{} rejected", HumanCount(c.rejected)));
        }
        // What only reads (`archive`) has neither.
        if self.to != 0 {
            parts.push(format!("{} windows, {} alerts", HumanCount(c.windows), HumanCount(c.alerts_fired)));
        }
        let mut text = parts.join(", ");
        if let Some(f) = &self.fired {
            text += &format!("\n  fired last: {} on {}, {}", f.rule, all_or(&f.segment), minute(f.at));
        }
        if let Some(waits) = waits(&self.waiting) {
            text += &format!("\n  not judged yet: {waits}");
        }
        text
    }

    /// For a log: one line of fields.
    fn line(&self, pace: &Pace) -> String {
        let c = &self.counts;
        let mut text = format!("progress events={}", c.events);
        let percent = |share: f64| format!("{:.0}%", 100.0 * share);
        let mut field = |name: &str, value: String| text += &format!(" {name}={value}");
        if self.only_evaluates(pace) {
            field("phase", "evaluating".to_owned());
        } else if !self.all_read {
            field("rate", format!("{:.0}", pace.per_second));
        }
        if let Some(read) = self.share_read() {
            field("read", percent(read));
        }
        if self.evaluates {
            if let Some(share) = self.share() {
                field("evaluated", percent(share));
            }
            if self.to != 0 {
                field("evaluated_to", time::text(self.to));
            }
        }
        if let Some(left) = pace.left() {
            field("left_s", format!("{left:.0}"));
        }
        if self.read.is_none() {
            field("lag", self.lag.to_string());
        }
        if c.rejected > 0 {
            field("rejected", c.rejected.to_string());
        }
        if self.evaluates {
            field("windows", c.windows.to_string());
            field("judged", c.judged.to_string());
            field("fired", c.alerts_fired.to_string());
        }
        text
    }
}

/// What can't be judged yet, the groupings with most of it first.
fn waits(waiting: &[FeaturesLackingDays]) -> Option<String> {
    let mut all: Vec<&FeaturesLackingDays> = waiting.iter().collect();
    all.sort_by_key(|w| std::cmp::Reverse(w.features));
    let of = |w: &&FeaturesLackingDays| {
        let days = if w.days == 1 { "1 more day".to_owned() } else { format!("{} more days", w.days) };
        let need = if w.features == 1 { "needs" } else { "need" };
        format!("{} of {} features in {} {need} {days} of baseline", w.features, w.of, all_or(&w.grouping))
    };
    let mut text = all.iter().take(GROUPINGS).map(of).collect::<Vec<_>>().join("; ");
    if all.len() > GROUPINGS {
        text += &format!("; and {} more", all.len() - GROUPINGS);
    }
    (!all.is_empty()).then_some(text)
}

fn all_or(name: &str) -> &str {
    if name.is_empty() { "all traffic" } else { name }
}

/// "2026-01-17 14:00".
fn minute(t: i64) -> String {
    let text = time::text(t);
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// "40 s", "12 min", "1 h 20 min".
fn span(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match (s / 3600, s % 3600 / 60) {
        (0, 0) => format!("{s} s"),
        (0, m) => format!("{m} min"),
        (h, m) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::{DAY, HOUR};

    /// 2026-01-01.
    const BEGIN: i64 = 1_767_225_600_000_000;

    fn look() -> Look {
        let counts = JobCounts {
            events: 1_200_000,
            windows: 500,
            judged: 400,
            alerts_fired: 3,
            ..JobCounts::default()
        };
        Look {
            counts,
            read: Some((50, 100)),
            evaluates: true,
            from: BEGIN,
            to: BEGIN + 2 * DAY,
            taken: BEGIN + 10 * DAY,
            ..Look::default()
        }
    }

    #[test]
    fn the_share_is_that_of_the_event_time_evaluated() {
        let at = |change: fn(&mut Look)| {
            let mut l = look();
            change(&mut l);
            l.share()
        };
        assert_eq!(at(|_| {}), Some(0.1), "half is read and spans ten days, so that twenty will come");
        assert_eq!(at(|l| l.all_read = true), Some(0.2));
        assert_eq!(at(|l| (l.all_read, l.to) = (true, BEGIN + 11 * DAY)), Some(1.0));
        assert_eq!(at(|l| (l.from, l.to) = (0, 0)), Some(0.0), "reading alone is nothing yet");
        assert_eq!(at(|l| l.evaluates = false), Some(0.5), "what only reads");
        assert_eq!(at(|l| l.read = None), None, "a topic has no end");
        assert_eq!(at(|l| (l.read, l.all_read) = (None, true)), Some(0.2), "unless it is read up to one");
    }

    #[test]
    fn what_is_left_is_told_once_it_can_be_known() {
        let mut pace = Pace::default();
        pace.step(1.0, 0, Some(0.0));
        pace.step(1.0, 1000, Some(0.05));
        assert_eq!(pace.left(), None, "too early");
        for s in 2..11 {
            pace.step(1.0, 1000, Some(0.05 * f64::from(s)));
        }
        let left = pace.left().unwrap();
        assert!((8.0..16.0).contains(&left), "half in some ten seconds: {left}");
        let mut stands = Pace::default();
        (0..20).for_each(|_| stands.step(1.0, 0, Some(0.5)));
        assert_eq!(stands.left(), None, "it does not move");
    }

    #[test]
    fn a_terminal_shows_what_is_done_what_fired_and_what_waits() {
        let pace = Pace { per_second: 9_000.0, ..Pace::default() };
        assert_eq!(
            look().text(&pace),
            "evaluated to 2026-01-03 00:00 of 2026-01-21 00:00, 1,200,000 events, 9,000/s, 0 B, 500 windows, 3 alerts"
        );
        let fired =
            FiredAlert { rule: "prompt-drift".into(), segment: "tenant=birch".into(), at: BEGIN + HOUR };
        let waiting = |grouping: &str, features, days| FeaturesLackingDays {
            grouping: grouping.into(),
            features,
            of: 40,
            days,
        };
        let run = Look {
            read: None,
            lag: 70,
            fired: Some(fired),
            waiting: vec![waiting("", 1, 1), waiting("tenant", 12, 3), waiting("region", 1, 1)],
            ..look()
        };
        assert_eq!(
            run.text(&pace),
            "evaluated to 2026-01-03 00:00, 1,200,000 events, 9,000/s, 0 B, 70 behind, 500 windows, 3 alerts\n  \
             fired last: prompt-drift on tenant=birch, 2026-01-01 01:00\n  \
             not judged yet: 12 of 40 features in tenant need 3 more days of baseline; \
             1 of 40 features in all traffic needs 1 more day of baseline; and 1 more"
        );
        let read = Look { all_read: true, ..look() };
        let left = Pace { seconds: 60.0, share: Some(0.2), speed: 0.01, ..Pace::default() };
        assert_eq!(
            read.text(&left),
            "evaluated to 2026-01-03 00:00 of 2026-01-11 00:00, 1 min left, all 1,200,000 events read, 500 windows, 3 alerts"
        );
    }

    #[test]
    fn a_log_gets_fields() {
        let pace =
            Pace { per_second: 9_000.4, seconds: 60.0, share: Some(0.1), speed: 0.01, ..Pace::default() };
        assert_eq!(
            look().line(&pace),
            "progress events=1200000 rate=9000 read=50% evaluated=10% evaluated_to=2026-01-03T00:00:00Z left_s=90 \
             windows=500 judged=400 fired=3"
        );
        let run = Look { read: None, lag: 7, ..look() };
        let line = run.line(&Pace::default());
        assert!(line.contains(" lag=7 ") && !line.contains("read="), "{line}");
        assert!(!line.contains('\n'));
        // The topic is read to its end, and the evaluation is days behind.
        let behind = Look { lag: 0, ..run.clone() };
        let line = behind.line(&Pace::default());
        assert!(line.starts_with("progress events=1200000 phase=evaluating evaluated_to="), "{line}");
        assert!(behind.text(&Pace::default()).contains("1,200,000 events read, evaluating them"));
        let ended = Look { all_read: true, ..behind.clone() };
        let line = ended.line(&Pace::default());
        assert!(
            line.starts_with("progress events=1200000 phase=evaluating read=100% evaluated=20% "),
            "{line}"
        );
        let waits = Look { to: run.taken - HOUR, ..behind };
        assert!(waits.line(&Pace::default()).contains(" rate=0 "), "the topic brings nothing");
    }

    #[test]
    fn spans_read_well() {
        assert_eq!([span(41.7), span(60.0), span(4_800.0)], ["42 s", "1 min", "1 h 20 min"]);
    }
}
