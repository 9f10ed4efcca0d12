//! One partition's event-time state: open panes, watermark, counters. A function of the partition's
//! records in offset order.

use super::clock::{self, PartitionClock, PartitionClockState, Placement, SeenRecord, SettledPane};
use super::filler::Filler;
use super::packed::PackedError;
use super::pane::Segment;
use super::segment_sum::{Pane, SegmentSum};
use super::watermark::WatermarkState;
use crate::config::segments::{self, MISSING};
use crate::enrich::Batch;
use crate::event::time::floor;
use crate::event::{Reject, RejectReason};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

mod closing;

/// Limits against hostile input, far above the needs of any job.
#[derive(Debug, Clone, Copy)]
struct PartitionLimits {
    /// Open panes (by start and closing time) beyond which events ahead of all of them are refused.
    panes: usize,
    /// Segments of one pane beyond which new ones are folded into [`segments::OTHER`]; more than
    /// the evaluator's limit.
    segments: usize,
    /// Names kept beyond twice those in use.
    names: usize,
}

impl Default for PartitionLimits {
    fn default() -> Self {
        Self { panes: 10_000, segments: 100_000, names: 1_000 }
    }
}

/// Counters of a partition's input, for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Events ingested.
    pub events: u64,
    /// Events whose user opted out.
    pub opted_out: u64,
    /// Events that came after their pane had closed; they count in later windows and in baselines.
    pub late: u64,
    /// Events folded into `__other__` because one pane had too many segments.
    pub folded: u64,
}

/// Records that confirm a leap of the event time.
pub const CONFIRMING_RECORDS: u32 = 200;

/// What decides the pane of an event; lengths in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Length of a pane.
    pub pane: i64,
    /// Lateness of the watermark.
    pub lateness: i64,
    /// Records that confirm a leap of the event time, [`CONFIRMING_RECORDS`] but in tests, whose
    /// logs are short.
    pub confirming_records: u32,
}

impl Times {
    fn of_clock(self) -> clock::ClockLimits {
        clock::ClockLimits { pane: self.pane, lateness: self.lateness, agree: self.confirming_records }
    }
}

/// Where the rows of a batch come from.
#[derive(Debug, Clone, Copy)]
pub struct Origins<'a> {
    /// The offset of each.
    pub offsets: &'a [i64],
    /// When its broker took each, where the broker's own clock says so; empty where none does.
    pub appended: &'a [Option<i64>],
}

/// Segments of one pane.
type OpenPane = FxHashMap<u32, SegmentSum>;

/// Open panes by closing time, then start; those that are kept apart, which close at their end, by
/// start alone.
type PaneKey = (bool, (i64, i64));

/// A partition's state.
#[derive(Debug)]
pub struct Partition {
    filler: Arc<Filler>,
    times: Times,
    clock: PartitionClock,
    counters: Counters,
    /// Keyed by closing time, then start.
    open: BTreeMap<(i64, i64), OpenPane>,
    /// What is too far ahead to be believed yet, by start.
    apart: BTreeMap<i64, OpenPane>,
    segments: Vec<Segment>,
    /// Per grouping: segment name to its number.
    index: Vec<FxHashMap<Arc<str>, u32>>,
    limits: PartitionLimits,
    scratch: String,
    /// Pane, segment and row of what a batch adds.
    placed: Vec<(PaneKey, u32, u32)>,
}

/// A partition's state at rest, but for its open panes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionState {
    /// The watermark.
    pub watermark: WatermarkState,
    /// The counters.
    pub counters: Counters,
    /// Times of records that are not decided yet.
    #[serde(default)]
    pub clock: PartitionClockState,
}

impl Partition {
    /// A partition before its first record.
    #[must_use]
    pub fn new(filler: Arc<Filler>, times: Times) -> Self {
        Self::within(filler, times, PartitionLimits::default())
    }

    fn within(filler: Arc<Filler>, times: Times, limits: PartitionLimits) -> Self {
        let index = vec![FxHashMap::default(); filler.groupings.all.len()];
        Self {
            filler,
            times,
            clock: PartitionClock::new(times.of_clock()),
            counters: Counters::default(),
            open: BTreeMap::new(),
            apart: BTreeMap::new(),
            segments: Vec::new(),
            index,
            limits,
            scratch: String::new(),
            placed: Vec::new(),
        }
    }

    /// Rebuilds a partition from its state and open panes.
    #[must_use]
    pub fn restore(filler: Arc<Filler>, times: Times, state: &PartitionState, open: Vec<Pane>) -> Self {
        Self::new(filler, times).go_on(state, open)
    }

    fn go_on(mut self, state: &PartitionState, open: Vec<Pane>) -> Self {
        let p = &mut self;
        p.clock = PartitionClock::restore(&state.watermark, &state.clock, p.times.of_clock());
        p.counters = state.counters;
        for row in open {
            let id = p.intern(row.segment.grouping, &row.segment.name);
            let pane = match row.close_at == row.start {
                true => p.apart.entry(row.start).or_default(),
                false => p.open.entry((row.close_at, row.start)).or_default(),
            };
            pane.insert(id, row.contents);
        }
        self
    }

    /// What a checkpoint keeps in addition to [`Partition::open_panes`].
    #[must_use]
    pub fn state(&self) -> PartitionState {
        let (watermark, clock) = self.clock.state();
        PartitionState { watermark, counters: self.counters, clock }
    }

    /// The watermark, microseconds.
    #[must_use]
    pub fn watermark(&self) -> i64 {
        self.clock.watermark()
    }

    /// The newest event time that is believed.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.clock.newest()
    }

    /// Whether some records are too far ahead of the others to be believed yet.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.clock.is_open()
    }

    /// Records that count neither as events nor as refused yet.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.clock.undecided()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Ingests a batch, in offset order. Events that can't be placed, of this batch or an earlier
    /// one, are passed to `refused` with their offset and the newest event time that was confirmed
    /// then.
    ///
    /// # Errors
    /// When a pane's sum is damaged: it was read from a damaged checkpoint.
    pub fn ingest(
        &mut self,
        batch: &Batch,
        origins: Origins<'_>,
        mut refused: impl FnMut(i64, i64, Reject),
    ) -> Result<(), PackedError> {
        self.ingest_asked(batch, origins, &[], &mut refused).map(|_| ())
    }

    /// As [`Partition::ingest`]; returns for each of the requested offsets, which ascend, the
    /// newest event time that was confirmed before it.
    ///
    /// # Errors
    /// As there.
    pub fn ingest_asked(
        &mut self,
        batch: &Batch,
        origins: Origins<'_>,
        asked: &[i64],
        refused: &mut impl FnMut(i64, i64, Reject),
    ) -> Result<Vec<i64>, PackedError> {
        let filler = Arc::clone(&self.filler);
        let mut told = Vec::with_capacity(asked.len());
        let too_far = Reject::field(RejectReason::TooFarAhead, "timestamp");
        for i in 0..batch.rows.len() {
            let row = &batch.rows[i];
            let offset = origins.offsets[i];
            while asked.get(told.len()).is_some_and(|a| *a < offset) {
                told.push(self.clock.newest());
            }
            let appended = origins.appended.get(i).copied().flatten();
            if appended.is_some_and(|at| row.time_us > self.clock.latest(at)) {
                refused(offset, self.clock.newest(), too_far);
                continue;
            }
            let start = floor(row.time_us, self.times.pane);
            let end = start + self.times.pane;
            let mark = self.clock.watermark();
            let (time, opt_out) = (row.time_us, row.opt_out);
            let record = SeenRecord { offset, time, opt_out, counted: false, taken: false };
            // Seen even if it is refused below: after a long gap the first events look far ahead,
            // and only they can move it.
            let key = match self.clock.see(record, appended.is_some()) {
                Placement::Apart { counted } => {
                    self.count(&record, counted);
                    (true, (end, start))
                }
                Placement::Open => {
                    let late = end <= mark;
                    let close_at = if late { floor(mark, self.times.pane) + self.times.pane } else { end };
                    if self.is_full(mark) && !self.open.contains_key(&(close_at, start)) {
                        let last = self.open.last_key_value().map_or(i64::MIN, |l| l.0.0);
                        if close_at > last {
                            refused(offset, self.clock.newest(), too_far);
                            self.settle(batch, time, refused)?;
                            continue;
                        }
                    }
                    self.count(&record, true);
                    self.counters.late += u64::from(late);
                    (false, (close_at, start))
                }
            };
            let mut folded = false;
            for g in filler.groupings.direct() {
                let (id, as_other) = self.segment(&filler, g, batch, i, key);
                folded |= as_other;
                // Open from now on: whether the pane has room for the next segment depends on it.
                self.pane(key).entry(id).or_insert_with(|| filler.nothing());
                self.placed.push((key, id, i as u32));
            }
            self.counters.folded += u64::from(folded);
            self.settle(batch, time, refused)?;
        }
        told.resize(asked.len(), self.clock.newest());
        self.fill(batch)?;
        Ok(told)
    }

    fn count(&mut self, record: &SeenRecord, counted: bool) {
        if counted {
            self.counters.events += 1;
            self.counters.opted_out += u64::from(record.opt_out);
        }
    }

    fn uncount(&mut self, record: &SeenRecord) {
        self.counters.events = self.counters.events.saturating_sub(1);
        self.counters.opted_out = self.counters.opted_out.saturating_sub(u64::from(record.opt_out));
    }

    fn pane(&mut self, (apart, at): PaneKey) -> &mut OpenPane {
        if apart { self.apart.entry(at.1).or_default() } else { self.open.entry(at).or_default() }
    }

    /// Sketches the rows that were placed.
    fn fill(&mut self, batch: &Batch) -> Result<(), PackedError> {
        let filler = Arc::clone(&self.filler);
        let mut placed = std::mem::take(&mut self.placed);
        // Segment by segment: a segment's sketches are loaded into the processor's caches once, for
        // all of its rows.
        placed.sort_unstable();
        let mut rows = Vec::new();
        for of_segment in placed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (key, id, _) = of_segment[0];
            let filling = self.pane(key).get_mut(&id).expect("the rows of a segment opened its pane");
            rows.clear();
            rows.extend(of_segment.iter().map(|p| p.2));
            filler.add(filling, batch, &rows)?;
        }
        placed.clear();
        self.placed = placed;
        Ok(())
    }

    /// Moves or drops the panes kept apart that a record, of event time `time`, has decided.
    fn settle(
        &mut self,
        batch: &Batch,
        time: i64,
        refused: &mut impl FnMut(i64, i64, Reject),
    ) -> Result<(), PackedError> {
        let settled = self.clock.settled(time);
        if settled.is_empty() {
            return Ok(());
        }
        // What is moved must include everything that was placed there.
        self.fill(batch)?;
        for SettledPane { start, records, kept } in settled {
            let pane = self.apart.remove(&start).unwrap_or_default();
            if kept {
                records.iter().for_each(|r| self.count(r, !r.counted));
                let open = self.open.entry((start.saturating_add(self.times.pane), start)).or_default();
                for (id, contents) in pane {
                    match open.entry(id) {
                        Entry::Occupied(mut present) => present.get_mut().merge(&contents)?,
                        Entry::Vacant(place) => {
                            place.insert(contents);
                        }
                    }
                }
                continue;
            }
            for r in records.iter().filter(|r| !r.taken) {
                if r.counted {
                    self.uncount(r);
                }
                let reject = Reject::field(RejectReason::TooFarAhead, "timestamp");
                refused(r.offset, self.clock.newest(), reject);
            }
        }
        Ok(())
    }

    /// Whether no more panes may be opened. Those that the watermark has closed don't count,
    /// because when they are removed depends on where batches end.
    fn is_full(&self, mark: i64) -> bool {
        let most = self.limits.panes;
        self.open.len() >= most
            && self.open.range((mark.saturating_add(1), i64::MIN)..).nth(most - 1).is_some()
    }

    /// The number of row `i`'s segment in grouping `g`, and whether it is the one for segments
    /// beyond a pane's limit.
    fn segment(
        &mut self,
        filler: &Filler,
        g: usize,
        batch: &Batch,
        i: usize,
        (apart, pane): PaneKey,
    ) -> (u32, bool) {
        let grouping = &filler.groupings.all[g];
        let dims = &batch.dimensions[i * filler.groupings.dimensions.len()..];
        let mut name = std::mem::take(&mut self.scratch);
        let value = |at: usize| dims[at].as_deref().unwrap_or(MISSING);
        let columns = || grouping.columns.iter().zip(&grouping.positions);
        segments::write_name(&mut name, columns().map(|(column, &at)| (column.as_str(), value(at))));
        let open = if apart { self.apart.get(&pane.1) } else { self.open.get(&pane) };
        let open = open.filter(|p| p.len() >= self.limits.segments);
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
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
