//! Panes that wait for the tick from which they count, merged as they come: what a tick will sum up
//! is summed up by then, and takes a segment's room instead of that of every minute and partition.

use super::merging::SegmentSumMerger;
use crate::event::time::floor;
use crate::window::{PackedError, Pane, Segment, SegmentSum};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// A stretch of a tick's length, by its start, and a segment.
pub type StretchSegment = (i64, Segment);

/// Panes by tick.
#[derive(Debug)]
pub struct PendingPanes {
    tick: i64,
    ticks: BTreeMap<i64, PanesOfTick>,
    memory: usize,
}

/// What waits for one tick.
#[derive(Debug)]
struct PanesOfTick {
    /// The first time from which a row counts.
    from: i64,
    /// The earliest start of a row.
    start: i64,
    rows: usize,
    memory: usize,
    fillings: FxHashMap<StretchSegment, SegmentSum>,
}

impl PanesOfTick {
    fn new(from: i64, start: i64) -> Self {
        Self { from, start, rows: 0, memory: 0, fillings: FxHashMap::default() }
    }
}

impl PendingPanes {
    /// Nothing waits yet; ticks are `tick` apart.
    #[must_use]
    pub fn new(tick: i64) -> Self {
        Self { tick, ticks: BTreeMap::new(), memory: 0 }
    }

    /// Adds panes, each with the time that it counts from.
    ///
    /// # Errors
    /// When their sketches were made by unlike definitions.
    pub fn add(&mut self, rows: impl IntoIterator<Item = (i64, Pane)>) -> Result<(), PackedError> {
        let mut merging = SegmentSumMerger::new();
        for (from, row) in rows {
            let tick = self.tick_of(from);
            let waiting = self.ticks.entry(tick).or_insert_with(|| PanesOfTick::new(from, row.start));
            waiting.from = waiting.from.min(from);
            waiting.start = waiting.start.min(row.start);
            waiting.rows += 1;
            let place = (floor(row.start, self.tick), row.segment);
            merging.add((tick, place), row.contents, |(_, place)| {
                let present = waiting.fillings.remove(place)?;
                waiting.memory = waiting.memory.saturating_sub(present.memory_bytes());
                self.memory = self.memory.saturating_sub(present.memory_bytes());
                Some(present)
            });
        }
        for ((tick, place), sum) in merging.sums()? {
            let Some(waiting) = self.ticks.get_mut(&tick) else { continue };
            waiting.memory += sum.memory_bytes();
            self.memory += sum.memory_bytes();
            waiting.fillings.insert(place, sum);
        }
        Ok(())
    }

    /// The first tick at or after a time.
    #[must_use]
    pub fn tick_of(&self, time: i64) -> i64 {
        floor(time.saturating_add(self.tick - 1), self.tick)
    }

    /// What the ticks up to `t` see, in order of time and segment, whatever the order in which
    /// partitions brought it.
    ///
    /// # Errors
    /// When sketches were made by unlike definitions.
    pub fn drain_due(&mut self, t: i64) -> Result<Vec<(StretchSegment, SegmentSum)>, PackedError> {
        let later = self.ticks.split_off(&(t + 1));
        let mut merging = SegmentSumMerger::new();
        for due in std::mem::replace(&mut self.ticks, later).into_values() {
            self.memory = self.memory.saturating_sub(due.memory);
            due.fillings.into_iter().for_each(|(place, filling)| merging.add(place, filling, |_| None));
        }
        let mut sorted = merging.sums()?;
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(sorted)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// About how many bytes of memory it holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The first tick that has rows.
    #[must_use]
    pub fn first_tick(&self) -> Option<i64> {
        self.ticks.keys().next().copied()
    }

    /// Of the first tick that has rows: the time from which the first of them counts, and the
    /// earliest start.
    #[must_use]
    pub fn first(&self) -> Option<(i64, i64)> {
        self.ticks.first_key_value().map(|(_, w)| (w.from, w.start))
    }

    /// The last tick which sees a row that counts from `until` or earlier.
    #[must_use]
    pub fn last(&self, until: i64) -> Option<i64> {
        let mut ticks = self.ticks.range(..=self.tick_of(until)).rev();
        ticks.find(|(_, w)| w.from <= until).map(|(t, _)| *t)
    }

    /// The tick in the middle, by rows.
    #[must_use]
    pub fn middle(&self) -> Option<i64> {
        let half = self.ticks.values().map(|w| w.rows).sum::<usize>() / 2;
        let mut seen = 0;
        self.ticks.iter().find_map(|(t, w)| {
            seen += w.rows;
            (seen > half).then_some(*t)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::{Body, RateSketch, Sketch, SketchId};
    use crate::window::SketchSet;
    use proptest::prelude::*;

    fn pane(start: i64, segment: &str, session: u64) -> Pane {
        let mut rate = RateSketch::default();
        rate.add(true, (session >> 59) as u8, session, (session, "r"));
        let sketch = Sketch { id: SketchId(1), body: Body::Rate(rate) };
        let contents = SegmentSum::Sketches(SketchSet { sketches: vec![Some(Box::new(sketch))] });
        Pane { start, close_at: start, segment: Segment { grouping: 0, name: segment.into() }, contents }
    }

    proptest! {
        #[test]
        fn ticks_see_the_same_in_any_order_of_rows(
            rows in prop::collection::vec((0i64..300, 0i64..40, 0usize..3, any::<u64>()), 0..60)
        ) {
            let mut orders = [PendingPanes::new(10), PendingPanes::new(10)];
            let add = |into: &mut PendingPanes, &(start, later, s, session): &(i64, i64, usize, u64)| {
                into.add([(start + later, pane(start, ["a", "b", "c"][s], session))]).unwrap();
            };
            rows.iter().for_each(|r| add(&mut orders[0], r));
            let at_once = rows.iter().rev().map(|&(start, later, s, session)| {
                (start + later, pane(start, ["a", "b", "c"][s], session))
            });
            orders[1].add(at_once).unwrap();
            let mut seen = 0;
            for t in (0..=340).step_by(10) {
                let [a, b] = &mut orders;
                let (taken, other) = (a.drain_due(t).unwrap(), b.drain_due(t).unwrap());
                prop_assert_eq!(&taken, &other);
                prop_assert!(taken.is_sorted_by(|x, y| x.0 < y.0));
                let n = |f: &SegmentSum| match f {
                    SegmentSum::Sketches(c) => c.sketches[0].as_ref().unwrap().n(),
                    SegmentSum::Events(_) | SegmentSum::Packed(_) => 0,
                };
                let due = rows.iter().filter(|r| (t - 10..t).contains(&(r.0 + r.1 - 1))).count() as u64;
                let got: u64 = taken.iter().map(|(_, f)| n(f)).sum();
                prop_assert_eq!(got, due, "at {}", t);
                seen += got;
            }
            prop_assert_eq!(seen, rows.len() as u64);
            prop_assert!(orders.iter().all(|o| o.is_empty() && o.memory() == 0));
        }
    }

    #[test]
    fn the_last_tick_is_that_of_a_row_which_counts_in_time() {
        let mut p = PendingPanes::new(10);
        p.add([5, 18, 20].map(|from| (from, pane(1, "a", 1)))).unwrap();
        assert_eq!(p.first(), Some((5, 1)));
        for (until, last) in [(4, None), (5, Some(10)), (17, Some(10)), (18, Some(20)), (99, Some(20))] {
            assert_eq!(p.last(until), last, "until {until}");
        }
        assert_eq!(p.middle(), Some(20));
        assert_eq!(p.drain_due(20).unwrap().len(), 1, "all of one segment and stretch");
    }
}
