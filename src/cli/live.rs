//! Progress of a running job: a bar on a terminal, plain lines otherwise, nothing where nobody looks.

use super::Global;
use crate::engine::Progress;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shows a job's progress until it is dropped.
pub struct Shown {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Time between plain lines.
const LINE: Duration = Duration::from_secs(10);

impl Shown {
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

impl Drop for Shown {
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
    let mut rate = Rate { at: Instant::now(), events: 0, per_second: 0.0 };
    let mut line = Instant::now();
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        rate.update(progress.events.load(Ordering::Relaxed));
        let text = describe(progress, rate.per_second);
        let input = *progress.input.lock();
        if let (Some((read, total)), Ok(style)) = (input, &full) {
            bar.set_style(style.clone());
            bar.set_length(total.max(1));
            bar.set_position(read.min(total));
        }
        bar.set_message(text.clone());
        bar.tick();
        if !terminal && line.elapsed() >= LINE {
            line = Instant::now();
            eprintln!("{text}");
        }
    }
    bar.finish_and_clear();
}

/// Events per second, smoothed.
struct Rate {
    at: Instant,
    events: u64,
    per_second: f64,
}

impl Rate {
    fn update(&mut self, events: u64) {
        let seconds = self.at.elapsed().as_secs_f64().max(1e-3);
        let now = events.saturating_sub(self.events) as f64 / seconds;
        self.per_second = if self.per_second == 0.0 { now } else { 0.8 * self.per_second + 0.2 * now };
        self.at = Instant::now();
        self.events = events;
    }
}

fn describe(p: &Progress, rate: f64) -> String {
    let c = p.counts();
    let mut text =
        format!("{} events, {}/s, {}", HumanCount(c.events), HumanCount(rate as u64), HumanBytes(c.bytes));
    let lag = p.lag.load(Ordering::Relaxed);
    if lag > 0 {
        text += &format!(", {} behind", HumanCount(lag));
    }
    if c.rejected > 0 {
        text += &format!(", {} rejected", HumanCount(c.rejected));
    }
    // What only reads (`archive`) has neither.
    if let Some(at) = c.evaluated_to {
        let (windows, alerts) = (HumanCount(c.windows), HumanCount(c.alerts_fired));
        text += &format!(", {windows} windows, {alerts} alerts, evaluated to {at}");
    }
    text
}
