//! One partition's event-time state: open panes, watermark, counters. A function of the partition's records in offset order.

use super::filling::{Filling, Pane};
use super::packed::PackedError;
use super::pane::{Filler, PaneRow, Segment};
use super::watermark::{Watermark, WatermarkState};
use crate::config::segments::{self, MISSING};
use crate::enrich::Batch;
use crate::event::time::floor;
use crate::event::{Reject, RejectReason};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Guards against hostile input, far above what any job needs.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Open panes (by start and closing time) beyond which events ahead of all of them are refused.
    panes: usize,
    /// Segments of one pane beyond which new ones are folded into [`segments::OTHER`]; above the cap that the evaluator keeps.
    segments: usize,
    /// Names kept beyond twice those in use.
    names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { panes: 10_000, segments: 100_000, names: 1_000 }
    }
}

/// What an operator wants to know of a partition's input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Events taken in.
    pub events: u64,
    /// Events whose user opted out.
    pub opted_out: u64,
    /// Events that came after their pane had closed; they count in later windows and in baselines.
    pub late: u64,
    /// Events folded into `__other__` because one pane held too many segments.
    pub folded: u64,
}

/// Lengths that decide where an event falls, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Length of a pane.
    pub pane: i64,
    /// Lateness of the watermark.
    pub lateness: i64,
}

/// Segments of one pane.
type OpenPane = FxHashMap<u32, Filling>;

/// A partition's state.
#[derive(Debug)]
pub struct Partition {
    filler: Arc<Filler>,
    times: Times,
    watermark: Watermark,
    counters: Counters,
    /// Keyed by closing time, then start.
    open: BTreeMap<(i64, i64), OpenPane>,
    segments: Vec<Segment>,
    /// Per grouping: segment name to its number.
    index: Vec<FxHashMap<Arc<str>, u32>>,
    limits: Limits,
    scratch: String,
    /// Pane, segment and row of what a batch adds.
    placed: Vec<((i64, i64), u32, u32)>,
}

/// A partition's state at rest, apart from its open panes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionState {
    /// The watermark.
    pub watermark: WatermarkState,
    /// The counters.
    pub counters: Counters,
}

impl Partition {
    /// A partition before its first record.
    #[must_use]
    pub fn new(filler: Arc<Filler>, times: Times) -> Self {
        let index = vec![FxHashMap::default(); filler.groupings.all.len()];
        Self {
            filler,
            times,
            watermark: Watermark::new(times.lateness),
            counters: Counters::default(),
            open: BTreeMap::new(),
            segments: Vec::new(),
            index,
            limits: Limits::default(),
            scratch: String::new(),
            placed: Vec::new(),
        }
    }

    /// Rebuilds a partition from its state and open panes.
    #[must_use]
    pub fn restore(filler: Arc<Filler>, times: Times, state: &PartitionState, open: Vec<Pane>) -> Self {
        let mut p = Self::new(filler, times);
        p.watermark = Watermark::restore(&state.watermark, times.lateness);
        p.counters = state.counters;
        for row in open {
            let id = p.intern(row.segment.grouping, &row.segment.name);
            p.open.entry((row.close_at, row.start)).or_default().insert(id, row.contents);
        }
        p
    }

    /// What a checkpoint keeps beside [`Partition::open_panes`].
    #[must_use]
    pub fn state(&self) -> PartitionState {
        PartitionState { watermark: self.watermark.state(), counters: self.counters }
    }

    /// The watermark, microseconds.
    #[must_use]
    pub fn watermark(&self) -> i64 {
        self.watermark.get()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes in a batch, in offset order. Rows that can't be placed are handed to `refused` by their index.
    ///
    /// # Errors
    /// When what a pane holds can't be added to: it was read back from a damaged checkpoint.
    pub fn ingest(
        &mut self,
        batch: &Batch,
        mut refused: impl FnMut(usize, Reject),
    ) -> Result<(), PackedError> {
        let filler = Arc::clone(&self.filler);
        let mut placed = std::mem::take(&mut self.placed);
        for i in 0..batch.rows.len() {
            let row = &batch.rows[i];
            let start = floor(row.time_us, self.times.pane);
            let end = start + self.times.pane;
            let mark = self.watermark.get();
            // Observed even if it is refused below: after a long gap the first events look far ahead, and only they can move it.
            self.watermark.observe(row.time_us);
            let late = end <= mark;
            let close_at = if late { floor(mark, self.times.pane) + self.times.pane } else { end };
            if self.is_full(mark) && !self.open.contains_key(&(close_at, start)) {
                let last = self.open.last_key_value().map_or(i64::MIN, |l| l.0.0);
                if close_at > last {
                    refused(i, Reject::field(RejectReason::TooFarAhead, "timestamp"));
                    continue;
                }
            }
            self.counters.events += 1;
            self.counters.opted_out += u64::from(row.opt_out);
            self.counters.late += u64::from(late);
            let mut folded = false;
            for g in filler.groupings.direct() {
                let pane = (close_at, start);
                let (id, as_other) = self.segment(&filler, g, batch, i, pane);
                folded |= as_other;
                // Open from now on: whether the pane has room for the next segment depends on it.
                self.open.entry(pane).or_default().entry(id).or_insert_with(|| filler.nothing());
                placed.push((pane, id, i as u32));
            }
            self.counters.folded += u64::from(folded);
        }
        // Segment by segment: a segment's sketches come into the processor's caches once, for all of its rows.
        placed.sort_unstable();
        let mut rows = Vec::new();
        for of_segment in placed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (pane, id, _) = of_segment[0];
            let filling = self
                .open
                .get_mut(&pane)
                .and_then(|p| p.get_mut(&id))
                .expect("the rows of a segment opened its pane above");
            rows.clear();
            rows.extend(of_segment.iter().map(|p| p.2));
            filler.add(filling, batch, &rows)?;
        }
        placed.clear();
        self.placed = placed;
        Ok(())
    }

    /// Whether no more panes may be opened. Those that the watermark has closed don't count, as when they are taken out depends on where
    /// batches end.
    fn is_full(&self, mark: i64) -> bool {
        let most = self.limits.panes;
        self.open.len() >= most
            && self.open.range((mark.saturating_add(1), i64::MIN)..).nth(most - 1).is_some()
    }

    /// The number of row `i`'s segment in grouping `g`, and whether it is the one that takes what a pane has no room for.
    fn segment(
        &mut self,
        filler: &Filler,
        g: usize,
        batch: &Batch,
        i: usize,
        pane: (i64, i64),
    ) -> (u32, bool) {
        let grouping = &filler.groupings.all[g];
        let dims = &batch.dimensions[i * filler.groupings.dimensions.len()..];
        let mut name = std::mem::take(&mut self.scratch);
        let value = |at: usize| dims[at].as_deref().unwrap_or(MISSING);
        let columns = || grouping.columns.iter().zip(&grouping.positions);
        segments::write_name(&mut name, columns().map(|(column, &at)| (column.as_str(), value(at))));
        let open = self.open.get(&pane).filter(|p| p.len() >= self.limits.segments);
        let folded = open.is_some_and(|p| {
            let known = self.index[g].get(name.as_str()).is_some_and(|id| p.contains_key(id));
            !known && !grouping.columns.is_empty()
        });
        if folded {
            segments::write_name(&mut name, columns().map(|(column, _)| (column.as_str(), segments::OTHER)));
        }
        let id = self.intern(g as u16, &name);
        self.scratch = name;
        (id, folded)
    }

    fn intern(&mut self, grouping: u16, name: &str) -> u32 {
        let index = &mut self.index[grouping as usize];
        if let Some(&id) = index.get(name) {
            return id;
        }
        let id = self.segments.len() as u32;
        let name: Arc<str> = Arc::from(name);
        index.insert(Arc::clone(&name), id);
        self.segments.push(Segment { grouping, name });
        id
    }

    /// Takes out the panes that the watermark has closed, sorted by closing time, start and segment.
    pub fn take_closed(&mut self) -> Vec<Pane> {
        self.take_until(self.watermark.get())
    }

    /// Takes out all open panes: the partition idles, or its input has ended.
    pub fn flush(&mut self) -> Vec<Pane> {
        self.take_until(i64::MAX)
    }

    fn take_until(&mut self, mark: i64) -> Vec<Pane> {
        let rest =
            if mark == i64::MAX { BTreeMap::new() } else { self.open.split_off(&(mark + 1, i64::MIN)) };
        let closed = std::mem::replace(&mut self.open, rest);
        let mut rows = Vec::new();
        for ((close_at, start), pane) in closed {
            let from = rows.len();
            rows.extend(pane.into_iter().map(|(id, contents)| self.row(start, close_at, id, contents)));
            rows[from..].sort_by(|a: &Pane, b: &Pane| a.segment.cmp(&b.segment));
        }
        if self.segments.len() > 2 * self.open_rows() + self.limits.names || self.open.is_empty() {
            self.forget_names();
        }
        rows
    }

    /// Drops the names of segments that no open pane has: they would stay for ever otherwise.
    fn forget_names(&mut self) {
        let named = std::mem::take(&mut self.segments);
        self.index.iter_mut().for_each(FxHashMap::clear);
        for (at, pane) in std::mem::take(&mut self.open) {
            let pane = pane.into_iter().map(|(id, contents)| {
                let segment = &named[id as usize];
                (self.intern(segment.grouping, &segment.name), contents)
            });
            let pane = pane.collect();
            self.open.insert(at, pane);
        }
    }

    /// Rows that [`Partition::open_panes`] would have.
    #[must_use]
    pub fn open_rows(&self) -> usize {
        self.open.values().map(FxHashMap::len).sum()
    }

    /// The open panes, for a checkpoint.
    #[must_use]
    pub fn open_panes(&self) -> Vec<PaneRow<&Filling>> {
        let panes = self.open.iter();
        panes
            .flat_map(|(&(close_at, start), p)| {
                p.iter().map(move |(id, c)| self.row(start, close_at, *id, c))
            })
            .collect()
    }

    /// Packs the panes that little is added to by now: all but that in which most of the recent events fall and the one after. Of dense
    /// traffic they are most of a job's memory, and a checkpoint writes them as bytes anyway.
    pub fn pack_others(&mut self) {
        let Some(median) = self.watermark.median() else { return };
        let current = floor(median, self.times.pane);
        let filled = current..=current.saturating_add(self.times.pane);
        let others = self.open.iter_mut().filter(|((_, start), _)| !filled.contains(start));
        others.flat_map(|(_, pane)| pane.values_mut()).for_each(Filling::pack);
    }

    /// About how many bytes of memory the open panes take.
    #[must_use]
    pub fn held(&self) -> usize {
        self.open.values().flat_map(FxHashMap::values).map(Filling::held).sum()
    }

    fn row<C>(&self, start: i64, close_at: i64, id: u32, contents: C) -> PaneRow<C> {
        PaneRow { start, close_at, segment: self.segments[id as usize].clone(), contents }
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
