//! Features whose weekends differ, and the sums of single blocks.

use super::*;
use crate::config::features::builtin;
use crate::config::segments::Groupings;
use crate::config::{Baselines, Weekend};
use crate::enrich::Shown;
use crate::event::time::{DAY, HOUR};
use crate::sketch::{Body, RateSketch, Sketch, SketchId};
use crate::window::{PaneRow, Segment, SketchSet};
use std::sync::Arc;

/// A day that is a Monday.
const MONDAY: i64 = 4 + 7 * 10;

struct Blocks(Vec<PaneRow>);

impl DaySource for Blocks {
    fn segments(&self) -> Vec<Segment> {
        vec![segment()]
    }
    fn rows_of(&self, segment: &Segment, blocks: BlocksOfWeek) -> Result<Vec<PaneRow>, String> {
        Ok(self.0.iter().filter(|r| r.segment == *segment && blocks.contains(r.start)).cloned().collect())
    }
    fn is_in_blocks(&self) -> bool {
        true
    }
}

fn segment() -> Segment {
    Segment { grouping: 0, name: "".into() }
}

fn is_weekend(day: i64) -> bool {
    (day - MONDAY).rem_euclid(7) >= 5
}

/// Every block of 28 days, 160 events in each: of `accepted` 60 % on weekends and 30 % otherwise,
/// of `edited` 10 % always.
fn rows(days: std::ops::Range<i64>) -> Vec<PaneRow> {
    let rate = |share: u64, salt: u64| {
        let mut rate = RateSketch::default();
        for i in 0..160u64 {
            let hash = (i + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            rate.add(hash % 100 < share, (i % 32) as u8, i, (i, "r"));
        }
        Some(Box::new(Sketch { id: SketchId(1), body: Body::Rate(rate) }))
    };
    let block = |day: i64, block: i64| {
        let start = day * DAY + block * 4 * HOUR;
        let salt = (day * 6 + block) as u64 * 1_000;
        let accepted = rate(if is_weekend(day) { 60 } else { 30 }, salt);
        let contents = SketchSet { sketches: vec![accepted, rate(10, salt + 500)] };
        PaneRow { start, close_at: (day + 1) * DAY, segment: segment(), contents }
    };
    days.flat_map(|day| (0..6).map(move |b| (day, b))).map(|(day, b)| block(day, b)).collect()
}

fn set(days: std::ops::Range<i64>) -> BaselineSet {
    let features: Vec<_> =
        ["accepted", "edited"].iter().filter_map(|n| builtin().into_iter().find(|f| f.name == *n)).collect();
    let recipe = BaselineRecipe {
        config: Baselines::default(),
        features: features.into(),
        groupings: Arc::new(Groupings::new(&[vec![]]).unwrap()),
        pins: Arc::new([]),
        shown: Shown::default(),
    };
    let day = days.end * DAY;
    let source: Arc<dyn DaySource> = Arc::new(Blocks(rows(days)));
    BaselineSet::new(recipe, day, Excluded::default(), HeldBaselines::default(), vec![source])
}

fn window(from: i64, to: i64) -> WindowBlocks {
    WindowBlocks::of(Weekend::default(), from, to)
}

#[test]
fn weekends_are_compared_with_weekends_where_they_differ() {
    let saturday = MONDAY + 5;
    let set = set(saturday - 28..saturday);
    assert_eq!(*set.seasonal(&segment()).unwrap(), [true, false]);
    let of = |window: &WindowBlocks| {
        let all = set.get(&segment(), window).unwrap();
        let text = |f: usize| {
            all[f]
                .iter()
                .map(|b| {
                    let i = &b.about;
                    (i.name.to_string(), i.days, i.blocks.to_string(), i.can_judge(window))
                })
                .collect::<Vec<_>>()
        };
        [text(0), text(1)]
    };
    let row = |name: &str, days, blocks: &str, judges| (name.to_owned(), days, blocks.to_owned(), judges);
    let [accepted, edited] = of(&window(saturday * DAY, (saturday + 1) * DAY));
    // Of the last seven days two are of a weekend, too few to judge by.
    assert_eq!(
        accepted,
        [row("rolling_7d", 2, "Sat,Sun 00-24", false), row("rolling_28d", 8, "Sat,Sun 00-24", true)]
    );
    assert_eq!(edited, [row("rolling_7d", 7, "00-24", true), row("rolling_28d", 28, "00-24", true)]);
    let friday = window((saturday - 1) * DAY + 13 * HOUR, saturday * DAY + 13 * HOUR);
    assert_eq!(of(&friday)[0][1], row("rolling_28d", 8, "Fri 12-24; Sat 00-12", true));
    let baseline =
        |f: usize, window: &WindowBlocks| set.get(&segment(), window).unwrap()[f][1].side.value.unwrap();
    let night = window(saturday * DAY + 5 * HOUR, saturday * DAY + 6 * HOUR);
    assert!((baseline(0, &night) - 0.6).abs() < 0.05 && (baseline(1, &night) - 0.1).abs() < 0.03);
    assert_eq!(of(&night)[0][1].2, "Sat,Sun 04-08");
    let [kept, dropped] = [true, false].map(|keep| {
        set.keep_only(if keep { std::slice::from_ref(&night) } else { &[] });
        baseline(0, &night)
    });
    assert_eq!(kept, dropped, "prepared again, alike");
}

#[test]
fn a_baseline_that_has_seen_no_weekend_judges_none() {
    let saturday = MONDAY + 5;
    let set = set(MONDAY..saturday);
    assert_eq!(*set.seasonal(&segment()).unwrap(), [false, false], "nothing to compare");
    let judges = |window: WindowBlocks| {
        set.get(&segment(), &window).unwrap()[1]
            .iter()
            .map(|b| b.about.can_judge(&window))
            .collect::<Vec<_>>()
    };
    assert_eq!(judges(window(saturday * DAY, (saturday + 1) * DAY)), [false, false]);
    assert_eq!(
        judges(window((saturday - 1) * DAY, saturday * DAY)),
        [true, false],
        "28 days are too few yet"
    );
}

#[test]
fn hours_are_the_same_from_blocks_as_from_days() {
    let set = set(MONDAY..MONDAY + 28);
    let days: Vec<BaselineDays> = set.rolling.iter().map(|(_, days)| *days).collect();
    for (from, to) in [(0, 4), (3, 9), (22, 26), (0, 24)] {
        let hours = HoursOfDay::of_window(from * HOUR, to * HOUR);
        let direct = set.sums(&days, &segment(), BlocksOfWeek::every_day(hours), &|_| true).unwrap();
        for _ in 0..2 {
            let merged = set.sums_of_hours(&segment(), hours).unwrap();
            for (a, b) in direct.iter().zip(&merged) {
                assert_eq!((&a.contents, &a.days), (&b.contents, &b.days), "{hours}");
            }
        }
    }
}
