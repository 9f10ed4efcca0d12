//! What rolling windows are merged from: chunks of a tick's length for those that slide in parts of
//! an hour, hours for the others.

use crate::baseline::BLOCK;
use crate::config::Rolling;
use crate::drift::session_test::MIN_WINDOW_BUCKETS;
use crate::event::time::{HOUR, floor};
use crate::window::{PackedError, Segment, SegmentSum};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The sums of segments, by the start of the chunk, hour or block.
type Slots<T> = BTreeMap<i64, Slot<T>>;

#[derive(Debug)]
struct Slot<T> {
    segments: FxHashMap<Segment, T>,
    /// Bytes of memory, as last weighed.
    memory: usize,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { segments: FxHashMap::default(), memory: 0 }
    }
}

impl Slot<SegmentSum> {
    fn weigh(&mut self) {
        self.memory = self.segments.values().map(SegmentSum::memory_bytes).sum();
    }
}

fn memory_of<T>(slots: &Slots<T>) -> usize {
    slots.values().map(|s| s.memory).sum()
}

/// Bytes of a segment's chunk up to which it stays as it is.
const HANDY: usize = 64 << 10;

/// A segment's parts of a window, in no particular order: a sum is the same in any.
pub type SegmentParts<'r> = (&'r Segment, Vec<&'r SegmentSum>);

/// Packs a segment's chunk that has too few sessions for any test, as most of a wide grouping have,
/// or that is large: unpacking it for each window is cheap compared with making it.
fn pack_unless_handy(chunk: &mut SegmentSum) {
    let handy = matches!(chunk, SegmentSum::Sketches(_)) && is_judged(chunk.filled_buckets());
    match chunk {
        SegmentSum::Sketches(sketches) if handy && sketches.memory_bytes() <= HANDY => sketches.settle(),
        _ => chunk.pack(),
    }
}

/// Whether sessions fill enough buckets for a window to be judged.
pub fn is_judged(buckets: u32) -> bool {
    buckets.count_ones() >= MIN_WINDOW_BUCKETS as u32
}

/// Recent chunks and hours.
#[derive(Debug)]
pub struct WindowParts {
    fine: i64,
    long: i64,
    chunks: Slots<SegmentSum>,
    /// Chunks that something was added to since the last tick.
    touched: BTreeSet<i64>,
    /// Packed: most segments of a wide grouping are too small to be judged, and are never unpacked.
    /// A second entry is late data.
    hours: Slots<Vec<Arc<SegmentSum>>>,
    /// Hours merged into blocks of the day, so that a day's window has about eight parts instead of
    /// 24. Only of segments whose block alone has enough sessions to be judged.
    blocks: Slots<SegmentSum>,
    /// Segments whose blocks lack data that arrived since.
    unsettled: BTreeMap<i64, FxHashSet<Segment>>,
}

impl WindowParts {
    /// For these windows.
    #[must_use]
    pub fn new(windows: &[Rolling]) -> Self {
        let longest = |hourly: bool| {
            windows
                .iter()
                .filter(|w| (w.slide() % HOUR == 0) == hourly)
                .map(|w| w.length())
                .max()
                .unwrap_or(0)
        };
        Self {
            fine: longest(false),
            long: longest(true),
            chunks: Slots::new(),
            touched: BTreeSet::new(),
            hours: Slots::new(),
            blocks: Slots::new(),
            unsettled: BTreeMap::new(),
        }
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

    /// Whether a chunk that starts at `start` is part of a window of chunks that ends at `t` or
    /// later.
    #[must_use]
    pub fn reaches(&self, start: i64, t: i64) -> bool {
        start >= t - self.fine
    }

    /// Adds a segment's sum of the chunk that begins at `start`, a tick.
    ///
    /// # Errors
    /// When its sketches were made by another definition.
    pub fn add_chunk(
        &mut self,
        start: i64,
        segment: Segment,
        filling: SegmentSum,
    ) -> Result<(), PackedError> {
        self.touched.insert(start);
        match self.chunks.entry(start).or_default().segments.entry(segment) {
            Entry::Occupied(mut e) => e.get_mut().merge(&filling)?,
            Entry::Vacant(e) => {
                e.insert(filling);
            }
        }
        Ok(())
    }

    /// Packs the chunks to which a tick has added, except the handy ones.
    pub fn settle_chunks(&mut self) {
        for start in std::mem::take(&mut self.touched) {
            let Some(slot) = self.chunks.get_mut(&start) else { continue };
            let chunks: Vec<&mut SegmentSum> = slot.segments.values_mut().collect();
            chunks.into_par_iter().for_each(pack_unless_handy);
            slot.weigh();
        }
    }

    /// Adds an hour, or late data of one.
    pub fn add_hour(&mut self, hour: i64, segment: &Segment, contents: Arc<SegmentSum>) {
        if self.long == 0 {
            return;
        }
        let slot = self.hours.entry(hour).or_default();
        slot.memory += contents.memory_bytes();
        slot.segments.entry(segment.clone()).or_default().push(contents);
        if self.long > BLOCK {
            self.unsettled.entry(floor(hour, BLOCK)).or_default().insert(segment.clone());
        }
    }

    /// Merges the blocks that are over at `t`.
    ///
    /// # Errors
    /// When sketches were made by different definitions.
    pub fn settle(&mut self, t: i64) -> Result<(), PackedError> {
        let open = self.unsettled.split_off(&(t - BLOCK + 1));
        for (block, segments) in std::mem::replace(&mut self.unsettled, open) {
            let segments: Vec<Segment> = segments.into_iter().collect();
            let sums = segments.into_par_iter().filter_map(|segment| {
                let hours = self.hours.range(block..block + BLOCK);
                let parts: Vec<&SegmentSum> =
                    hours.filter_map(|(_, s)| s.segments.get(&segment)).flatten().map(Arc::as_ref).collect();
                is_judged(SegmentSum::buckets_of(&parts)).then(|| {
                    let mut sum = SegmentSum::sum(&parts, |_| true)?;
                    sum.settle();
                    Ok((segment, SegmentSum::Sketches(sum)))
                })
            });
            let sums: Vec<(Segment, SegmentSum)> = sums.collect::<Result<_, PackedError>>()?;
            let slot = self.blocks.entry(block).or_default();
            slot.segments.extend(sums);
            slot.weigh();
        }
        Ok(())
    }

    /// Whether no window would have any part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.hours.is_empty()
    }

    /// About how many bytes of memory chunks take, as of the last tick, and how many hours and
    /// blocks.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        (memory_of(&self.chunks), memory_of(&self.hours) + memory_of(&self.blocks))
    }

    /// Drops what no window that ends at `t` or later includes.
    pub fn forget(&mut self, t: i64) {
        self.chunks = self.chunks.split_off(&(t - self.fine));
        self.hours = self.hours.split_off(&(t - self.long));
        self.blocks = self.blocks.split_off(&(t - self.long));
        self.unsettled = self.unsettled.split_off(&(t - self.long));
    }

    /// The parts of the window `[start, end)`, by segment, sorted.
    #[must_use]
    pub fn window(&self, start: i64, end: i64, slide: i64) -> Vec<SegmentParts<'_>> {
        let mut parts: FxHashMap<&Segment, Vec<&SegmentSum>> = FxHashMap::default();
        if slide % HOUR != 0 {
            for (segment, chunk) in self.chunks.range(start..end).flat_map(|s| &s.1.segments) {
                parts.entry(segment).or_default().push(chunk);
            }
        } else {
            let usable = |block: i64| block + BLOCK <= end && !self.unsettled.contains_key(&block);
            for (_, sums) in self.blocks.range(start..end).filter(|(block, _)| usable(**block)) {
                for (segment, sum) in &sums.segments {
                    parts.entry(segment).or_default().push(sum);
                }
            }
            for (&hour, slot) in self.hours.range(start..end) {
                let block = floor(hour, BLOCK);
                let merged = self.blocks.get(&block).filter(|_| block >= start && usable(block));
                for (segment, packed) in &slot.segments {
                    if !merged.is_some_and(|m| m.segments.contains_key(segment)) {
                        let of = parts.entry(segment).or_default();
                        of.extend(packed.iter().map(Arc::as_ref));
                    }
                }
            }
        }
        let mut parts: Vec<SegmentParts<'_>> = parts.into_iter().collect();
        parts.sort_by(|a, b| a.0.cmp(b.0));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::Span;
    use crate::event::time::MINUTE;
    use crate::sketch::{Body, RateSketch, Sketch, SketchId};
    use crate::window::{Packed, SketchSet};

    fn segment(name: &str) -> Segment {
        Segment { grouping: 0, name: name.into() }
    }

    /// A sketch set with `events` events of sessions that follow from the seed.
    fn contents(seed: u64, events: u64) -> SketchSet {
        let mut rate = RateSketch::default();
        for i in 0..events {
            let session = (seed * 1000 + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            rate.add(i % 3 == 0, (session >> 59) as u8, session, (session, "r"));
        }
        SketchSet { sketches: vec![Some(Box::new(Sketch { id: SketchId(1), body: Body::Rate(rate) }))] }
    }

    fn rolled(length: i64, slide: i64) -> WindowParts {
        WindowParts::new(&[Rolling::Full { length: Span(length), slide: Span(slide) }])
    }

    /// The parts of a segment's window, summed, and how many they were.
    fn sum(r: &WindowParts, name: &str, start: i64, end: i64, slide: i64) -> (SketchSet, usize) {
        let parts = r.window(start, end, slide);
        let own = parts.iter().find(|p| *p.0 == segment(name)).map_or(&[][..], |p| p.1.as_slice());
        (SegmentSum::sum(own, |_| true).unwrap(), own.len())
    }

    fn naive<'c>(hours: impl Iterator<Item = &'c (i64, SketchSet)>, start: i64, end: i64) -> SketchSet {
        let mut all = SketchSet::default();
        hours.filter(|h| (start..end).contains(&h.0)).for_each(|h| all.merge(&h.1).unwrap());
        all
    }

    #[test]
    fn a_window_of_blocks_is_the_sum_of_its_hours_also_with_late_ones() {
        for length in [6 * HOUR, 24 * HOUR] {
            let mut r = rolled(length, HOUR);
            let (mut large, mut small) = (Vec::new(), Vec::new());
            for h in 1..=60 {
                let (t, last) = (h * HOUR, (h - 1) * HOUR);
                let mut add = |kept: &mut Vec<(i64, SketchSet)>, name: &str, hour: i64, c: SketchSet| {
                    r.add_hour(hour, &segment(name), Arc::new(SegmentSum::Packed(Packed::of(&c))));
                    kept.push((hour, c));
                };
                add(&mut large, "large", last, contents(h as u64, 40));
                add(&mut small, "small", last, contents(h as u64, 1));
                if h % 7 == 0 {
                    add(&mut large, "large", (h - 5).max(0) * HOUR, contents(1000 + h as u64, 5));
                }
                r.settle(t).unwrap();
                r.forget(t);
                for (name, kept) in [("large", &large), ("small", &small)] {
                    let (got, parts) = sum(&r, name, t - length, t, HOUR);
                    assert_eq!(got, naive(kept.iter(), t - length, t), "{name} at {h}");
                    assert!(name == "small" || h < 24 || parts <= 12, "{parts} parts at {h}");
                }
            }
        }
    }

    #[test]
    fn a_chunk_stays_as_it_is_while_it_is_judged_and_handy() {
        let packed = |events: u64, sketches: usize| {
            let mut c = contents(1, events);
            let one = c.sketches[0].clone();
            c.sketches = vec![one; sketches];
            let mut chunk = SegmentSum::Sketches(c);
            pack_unless_handy(&mut chunk);
            matches!(chunk, SegmentSum::Packed(_))
        };
        assert_eq!([packed(40, 1), packed(2, 1), packed(40, 200)], [false, true, true]);
    }

    #[test]
    fn chunks_are_packed_where_small_and_take_what_comes_later() {
        let mut r = rolled(30 * MINUTE, 5 * MINUTE);
        let mut kept = Vec::new();
        for step in 1..=20i64 {
            let t = step * 5 * MINUTE;
            for late in [0, 2] {
                let start = (step - 1 - late).max(0) * 5 * MINUTE;
                let c = contents((step * 10 + late) as u64, if step % 4 == 0 { 40 } else { 2 });
                if r.reaches(start, t) {
                    r.add_chunk(start, segment("a"), SegmentSum::Sketches(c.clone())).unwrap();
                    kept.push((start, c));
                }
            }
            r.settle_chunks();
            r.forget(t);
            let (got, _) = sum(&r, "a", t - 30 * MINUTE, t, 5 * MINUTE);
            assert_eq!(got, naive(kept.iter(), t - 30 * MINUTE, t), "step {step}");
        }
    }

    #[test]
    fn its_weight_is_that_of_what_it_keeps() {
        let mut r = rolled(24 * HOUR, HOUR);
        r.fine = HOUR;
        let packed = |seed| SegmentSum::Packed(Packed::of(&contents(seed, 40)));
        let (a, b) = (packed(1), packed(2));
        r.add_hour(0, &segment("a"), Arc::new(a.clone()));
        r.add_hour(0, &segment("a"), Arc::new(b.clone()));
        assert_eq!(r.memory(), (0, a.memory_bytes() + b.memory_bytes()));
        let block = |parts: &[&SegmentSum]| {
            SegmentSum::Sketches(SegmentSum::sum(parts, |_| true).unwrap()).memory_bytes()
        };
        r.settle(BLOCK).unwrap();
        assert_eq!(r.memory(), (0, a.memory_bytes() + b.memory_bytes() + block(&[&a, &b])));
        let late = packed(3);
        r.add_hour(HOUR, &segment("a"), Arc::new(late.clone()));
        r.settle(BLOCK).unwrap();
        let hours = a.memory_bytes() + b.memory_bytes() + late.memory_bytes();
        assert_eq!(r.memory(), (0, hours + block(&[&a, &b, &late])), "the block anew, not once more");
        for _ in 0..2 {
            r.add_chunk(0, segment("a"), a.clone()).unwrap();
            r.settle_chunks();
            let weighed = r.chunks[&0].segments[&segment("a")].memory_bytes();
            assert_eq!(r.memory().0, weighed);
        }
        r.forget(2 * HOUR);
        assert_eq!(r.memory().0, 0);
        r.forget(26 * HOUR);
        assert_eq!(r.memory(), (0, 0));
    }
}
