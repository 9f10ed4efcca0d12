//! Pinned baselines: a fixed range of hours under a name.

use super::hours::HoursOfDay;
use crate::window::{PaneRow, Segment, SketchSet};
use serde::{Deserialize, Serialize};

/// How much a pin holds of some hours of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PinnedHours {
    /// Hours with data.
    pub hours: u32,
    /// Days with data.
    pub days: u16,
}

/// A named baseline of a fixed range.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Its own name, without the prefix that a [`BaselineName`](super::BaselineName) has.
    pub name: String,
    /// What it covers.
    pub all: PinnedHours,
    /// What it covers of each block of the day; empty where its rows are not split by blocks, as in
    /// pins of earlier builds.
    pub blocks: Vec<PinnedHours>,
    /// Its sketches, of each block by itself where it has blocks.
    pub rows: Vec<PaneRow>,
}

impl Pin {
    /// What it holds of these hours of the day.
    #[must_use]
    pub fn held(&self, hours: HoursOfDay) -> PinnedHours {
        if self.hours_of_day(hours) == HoursOfDay::ALL {
            return self.all;
        }
        let own = HoursOfDay::blocks().zip(&self.blocks).filter(|(block, _)| hours.contains(*block));
        own.fold(PinnedHours::default(), |sum, (_, block)| PinnedHours {
            hours: sum.hours + block.hours,
            // Of the blocks of one window, most days have all or none.
            days: sum.days.max(block.days),
        })
    }

    /// The hours of the day that windows of `hours` are compared with.
    #[must_use]
    pub fn hours_of_day(&self, hours: HoursOfDay) -> HoursOfDay {
        if self.blocks.is_empty() { HoursOfDay::ALL } else { hours }
    }

    /// A segment's sketches of these hours of the day; `None` where it has none.
    ///
    /// # Errors
    /// A message when its rows were made by different definitions.
    pub fn sum(&self, segment: &Segment, hours: HoursOfDay) -> Result<Option<SketchSet>, String> {
        let hours = self.hours_of_day(hours);
        let mut sum: Option<SketchSet> = None;
        for row in self.rows.iter().filter(|r| r.segment == *segment) {
            if hours != HoursOfDay::ALL && !hours.contains(HoursOfDay::of(row.start)) {
                continue;
            }
            match &mut sum {
                None => sum = Some(row.contents.clone()),
                Some(sum) => sum.merge(&row.contents).map_err(|e| e.to_string())?,
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::HOUR;
    use crate::sketch::{Body, RateSketch, Sketch, SketchId};

    fn row(hour: i64, events: u64) -> PaneRow {
        let mut rate = RateSketch::default();
        (0..events).for_each(|i| rate.add(true, (i % 32) as u8, i, (i, "r")));
        let contents =
            SketchSet { sketches: vec![Some(Box::new(Sketch { id: SketchId(1), body: Body::Rate(rate) }))] };
        let segment = Segment { grouping: 0, name: "".into() };
        PaneRow { start: hour * HOUR, close_at: 100 * HOUR, segment, contents }
    }

    fn pin(blocks: Vec<PinnedHours>, rows: Vec<PaneRow>) -> Pin {
        Pin { name: "launch".into(), all: PinnedHours { hours: 13, days: 3 }, blocks, rows }
    }

    #[test]
    fn a_pin_holds_the_hours_asked_for() {
        let held = |hours, days| PinnedHours { hours, days };
        let blocks = vec![held(3, 1), held(4, 2), held(0, 0), held(0, 0), held(4, 1), held(2, 1)];
        let split = pin(blocks, vec![row(1, 5), row(4, 7), row(20, 11)]);
        let n = |pin: &Pin, from: i64, to: i64| {
            let hours = HoursOfDay::of_window(from * HOUR, to * HOUR);
            let sum = pin.sum(&pin.rows[0].segment, hours).unwrap();
            (sum.map_or(0, |s| s.sketches[0].as_ref().unwrap().n()), pin.held(hours))
        };
        assert_eq!(n(&split, 0, 6), (12, held(7, 2)));
        assert_eq!(n(&split, 22, 25), (16, held(5, 1)));
        assert_eq!(n(&split, 9, 11), (0, held(0, 0)));
        assert_eq!(n(&split, 0, 24), (23, held(13, 3)));
        let whole = pin(Vec::new(), vec![row(9, 23)]);
        assert_eq!(n(&whole, 0, 6), (23, held(13, 3)), "of an earlier build, for any hours");
    }
}
