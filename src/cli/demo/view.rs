//! The demo's live view: reads the job's `alerts` table as it is published, like any other reader, and shows each incident as it
//! is found: above a panel on a terminal, in plain lines elsewhere.

use super::found::{IncidentFinding, IncidentLabel, sort};
use super::screen::{DemoMoment, Ink, began_line, block, found_line, panel, progress_line};
use crate::alert::AlertRow;
use crate::cli::common::tell;
use crate::cli::live::Pace;
use crate::cli::show;
use crate::engine::Progress;
use crate::store::Storage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a terminal is drawn, per second.
const DRAWN: u8 = 8;

/// What the view looks at.
pub struct Viewed {
    /// What is injected.
    pub labels: Vec<IncidentLabel>,
    /// Event time at which the traffic begins and ends, microseconds.
    pub event_time: (i64, i64),
    /// The job's counters.
    pub progress: Arc<Progress>,
    /// The job's output.
    pub storage: Storage,
    /// When the demo was started.
    pub started: Instant,
}

/// Shows the demo until it is finished or dropped.
pub struct LiveView {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<f64>>>,
}

impl LiveView {
    /// Starts showing; `quiet`: looks on, but shows nothing.
    #[must_use]
    pub fn start(viewed: Viewed, quiet: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let display = Display::choose(quiet);
        let thread =
            std::thread::Builder::new().name("progress".into()).spawn(move || watch(viewed, display, &flag));
        Self { done, thread: thread.ok() }
    }

    /// Shows what is still to be shown, and returns the seconds after which the first incident was shown as found.
    #[must_use]
    pub fn finish(mut self) -> Option<f64> {
        self.end()
    }

    fn end(&mut self) -> Option<f64> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|t| t.join().ok().flatten())
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the view goes.
enum Display {
    Terminal(ProgressBar, Ink),
    Lines,
    Nowhere,
}

impl Display {
    fn choose(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
        if quiet {
            return Self::Nowhere;
        }
        if dumb || !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWN));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self::Terminal(bar, Ink(std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())))
    }

    fn found(&self, f: &IncidentFinding) {
        let Some(first) = &f.first else { return };
        match self {
            Self::Terminal(bar, ink) => bar.println(format!("\n{}", block(&f.incident, first, *ink))),
            Self::Lines => tell(found_line(&f.incident, first)),
            Self::Nowhere => {}
        }
    }

    fn began(&self, label: &IncidentLabel) {
        // The panel shows it on a terminal.
        if matches!(self, Self::Lines) {
            tell(began_line(label));
        }
    }

    fn moment(&self, now: &DemoMoment, incidents: &[IncidentFinding], day_passed: bool) {
        match self {
            Self::Terminal(bar, ink) => bar.set_message(panel(now, incidents, *ink)),
            Self::Lines if day_passed => {
                tell(progress_line(now, incidents.iter().filter(|f| f.first.is_some()).count()));
            }
            Self::Lines | Self::Nowhere => {}
        }
    }

    fn close(&self) {
        if let Self::Terminal(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}

/// Looks on until told to stop, and once more then.
fn watch(viewed: Viewed, display: Display, done: &AtomicBool) -> Option<f64> {
    let Viewed { labels, event_time: (from, until), progress, storage, started } = viewed;
    let mut incidents: Vec<IncidentFinding> = sort(labels.clone(), &[]).incidents;
    let (mut pace, mut at) = (Pace::default(), Instant::now());
    let (mut read, mut days, mut first_found) = (0, 0, None);
    let mut now = DemoMoment { from, until, ..DemoMoment::default() };
    let mut told = vec![false; labels.len()];
    loop {
        let last = done.load(Ordering::Relaxed);
        let (before, counts) = (now.reached, progress.counts());
        now.reached = progress.evaluated_to.load(Ordering::Relaxed);
        now.events = counts.events;
        now.compared = counts.judged;
        pace.step(at.elapsed().as_secs_f64(), now.events, Some(now.share()));
        at = Instant::now();
        (now.per_second, now.left) = (pace.per_second, pace.left());
        // Rows are counted when they are committed, and readable a moment later.
        if read < counts.alert_rows || last || before != now.reached {
            let rows = show::alerts(&storage).unwrap_or_default();
            read = rows.len() as u64;
            let news = first_alerts(&labels, &rows, &incidents);
            for (i, label) in labels.iter().enumerate() {
                let begun = now.reached > label.start_us() || news.iter().any(|(n, _)| *n == i);
                if begun && !std::mem::replace(&mut told[i], true) {
                    display.began(label);
                }
            }
            for (i, finding) in news {
                display.found(&finding);
                first_found.get_or_insert_with(|| started.elapsed().as_secs_f64());
                incidents[i] = finding;
            }
        }
        let passed = now.days_done();
        display.moment(&now, &incidents, passed > days);
        days = days.max(passed);
        if last {
            display.close();
            return first_found;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The incidents that the alerts tell of and that were not found before, in the order in which their first alerts fired.
fn first_alerts(
    labels: &[IncidentLabel],
    rows: &[AlertRow],
    known: &[IncidentFinding],
) -> Vec<(usize, IncidentFinding)> {
    let found = sort(labels.to_vec(), rows).incidents.into_iter().enumerate();
    let mut news: Vec<_> = found.filter(|(i, f)| f.first.is_some() && known[*i].first.is_none()).collect();
    news.sort_by(|(_, a), (_, b)| {
        let at = |f: &IncidentFinding| f.first.as_ref().map(|d| d.at.clone());
        at(a).cmp(&at(b))
    });
    news
}
