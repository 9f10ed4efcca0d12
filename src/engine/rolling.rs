//! What rolling windows are merged from: chunks of a tick's length for those that slide in parts of an hour, hours for the others.

use super::evaluate::merge_into;
use crate::config::Rolling;
use crate::event::time::{HOUR, floor};
use crate::sketch::UnlikeSketches;
use crate::window::{Contents, Segment};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

type Slots = BTreeMap<i64, FxHashMap<Segment, Contents>>;

/// A segment's parts of a window, in order of time.
pub type Parts<'r> = (&'r Segment, Vec<&'r Contents>);

/// Recent chunks and hours.
#[derive(Debug)]
pub struct Rolled {
    tick: i64,
    fine: i64,
    long: i64,
    chunks: Slots,
    hours: Slots,
}

impl Rolled {
    /// For these windows, evaluated every `tick`.
    #[must_use]
    pub fn new(windows: &[Rolling], tick: i64) -> Self {
        let longest = |hourly: bool| {
            windows
                .iter()
                .filter(|w| (w.slide() % HOUR == 0) == hourly)
                .map(|w| w.length())
                .max()
                .unwrap_or(0)
        };
        Self { tick, fine: longest(false), long: longest(true), chunks: Slots::new(), hours: Slots::new() }
    }

    /// Length of the longest window that is merged from chunks.
    #[must_use]
    pub fn fine_length(&self) -> i64 {
        self.fine
    }

    /// Length of the longest window that is merged from hours.
    #[must_use]
    pub fn long_length(&self) -> i64 {
        self.long
    }

    /// Adds a pane that counts from tick `t` on.
    ///
    /// # Errors
    /// When its sketches were made by another definition.
    pub fn add_pane(
        &mut self,
        start: i64,
        t: i64,
        segment: &Segment,
        contents: &Contents,
    ) -> Result<(), UnlikeSketches> {
        if start < t - self.fine {
            return Ok(());
        }
        merge_into(self.chunks.entry(floor(start, self.tick)).or_default(), segment, contents)
    }

    /// Adds an hour.
    ///
    /// # Errors
    /// When its sketches were made by another definition.
    pub fn add_hour(
        &mut self,
        hour: i64,
        segment: &Segment,
        contents: &Contents,
    ) -> Result<(), UnlikeSketches> {
        if self.long == 0 {
            return Ok(());
        }
        merge_into(self.hours.entry(hour).or_default(), segment, contents)
    }

    /// Whether no window would have any part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.hours.is_empty()
    }

    /// Drops what no window ending at `t` or later can reach.
    pub fn forget(&mut self, t: i64) {
        self.chunks = self.chunks.split_off(&(t - self.fine));
        self.hours = self.hours.split_off(&(t - self.long));
    }

    /// The parts of the window `[start, end)`, by segment, sorted.
    #[must_use]
    pub fn window(&self, start: i64, end: i64, slide: i64) -> Vec<Parts<'_>> {
        let slots = if slide % HOUR == 0 { &self.hours } else { &self.chunks };
        let mut parts: FxHashMap<&Segment, Vec<&Contents>> = FxHashMap::default();
        for (_, segments) in slots.range(start..end) {
            for (segment, contents) in segments {
                parts.entry(segment).or_default().push(contents);
            }
        }
        let mut parts: Vec<Parts<'_>> = parts.into_iter().collect();
        parts.sort_by(|a, b| a.0.cmp(b.0));
        parts
    }
}

/// Maps items on all cores, in order; small lists stay on this thread.
pub fn parallel<'t, T: Sync, R: Send>(items: &'t [T], f: impl Fn(&'t T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    if threads == 1 || items.len() < 16 {
        return items.iter().map(f).collect();
    }
    let share = items.len().div_ceil(threads * 4);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let parts: Vec<&'t [T]> = items.chunks(share).collect();
    let mut done: Vec<(usize, Vec<R>)> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match parts.get(i) {
                    Some(part) => mine.push((i, part.iter().map(&f).collect::<Vec<R>>())),
                    None => return mine,
                }
            }
        };
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for h in handles {
            match h.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    done.sort_by_key(|d| d.0);
    done.into_iter().flat_map(|d| d.1).collect()
}
