//! What numbers of an event may be: outside the range of its field a number counts as missing.

use super::{Event, Num};
use serde::{Deserialize, Serialize};

/// Two finite bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The lower one.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}

impl Bounds {
    /// Whether a number lies within. No NaN does.
    #[must_use]
    pub fn contains(self, x: f64) -> bool {
        x >= self.low && x <= self.high
    }

    /// The number itself, to the bit, or the bound that it lies beyond.
    #[must_use]
    pub fn clip(self, x: f64) -> f64 {
        if x < self.low {
            self.low
        } else if x > self.high {
            self.high
        } else {
            x
        }
    }
}

/// The range of every number.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges([Bounds; Num::COUNT]);

impl Default for Ranges {
    /// Those of the schema.
    fn default() -> Self {
        Self(std::array::from_fn(|i| Num::ALL[i].range()))
    }
}

impl Ranges {
    /// Gives a field another range.
    pub fn set(&mut self, field: Num, range: Bounds) {
        self.0[field as usize] = range;
    }

    /// Takes what lies outside out of an event, and says of which fields.
    pub fn check(&self, event: &mut Event<'_>, mut outside: impl FnMut(Num)) {
        for ((value, range), field) in event.nums.iter_mut().zip(&self.0).zip(Num::ALL) {
            if *value < range.low || *value > range.high {
                *value = f64::NAN;
                outside(*field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stage;
    use serde_json::Value;
    use std::borrow::Cow;

    #[test]
    fn the_schema_says_the_same_ranges() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../../schemas/event.v1.schema.json")).unwrap();
        for field in Num::ALL {
            let pointer: String = field.path().split('.').map(|part| format!("/properties/{part}")).collect();
            let declared = schema.pointer(&pointer).unwrap();
            let shared =
                declared["$ref"].as_str().map(|r| schema.pointer(r.trim_start_matches('#')).unwrap());
            let bound = |name| {
                let own = declared.get(name).or_else(|| shared.and_then(|s| s.get(name)));
                own.unwrap_or_else(|| panic!("{field:?} has no {name}")).as_f64().unwrap()
            };
            let said = Bounds { low: bound("minimum"), high: bound("maximum") };
            assert_eq!(said, field.range(), "{field:?}");
        }
    }

    #[test]
    fn what_is_clipped_can_lie_beyond() {
        for field in Num::ALL {
            let range = field.range();
            assert!(range.low < range.high);
            if let Some(clip) = field.clip() {
                assert!(range.contains(clip.low) && range.contains(clip.high) && clip != range, "{field:?}");
            }
        }
    }

    #[test]
    fn numbers_outside_are_missing_and_named() {
        let mut event = Event::new(Cow::Borrowed("r"), 0, Stage::Generate);
        let set = |event: &mut Event<'_>, f: Num, v: f64| event.nums[f as usize] = v;
        set(&mut event, Num::Latency, -0.0);
        set(&mut event, Num::Cost, -1e-9);
        set(&mut event, Num::ClipI, 1.0);
        set(&mut event, Num::Aesthetic, 100.0);
        set(&mut event, Num::Rps, f64::INFINITY);
        let mut ranges = Ranges::default();
        let mut outside = Vec::new();
        ranges.check(&mut event.clone(), |f| outside.push(f));
        assert_eq!(outside, [Num::Rps, Num::Cost, Num::Aesthetic]);
        ranges.set(Num::Aesthetic, Bounds { low: 0.0, high: 100.0 });
        outside.clear();
        ranges.check(&mut event, |f| outside.push(f));
        assert_eq!(outside, [Num::Rps, Num::Cost]);
        let value = |f: Num| event.nums[f as usize];
        assert!(value(Num::Cost).is_nan() && value(Num::Rps).is_nan() && value(Num::Steps).is_nan());
        assert_eq!((value(Num::Latency), value(Num::ClipI), value(Num::Aesthetic)), (0.0, 1.0, 100.0));
    }

    #[test]
    fn clipping_changes_nothing_within() {
        let bounds = Bounds { low: 0.0, high: 10.0 };
        for x in [-0.0, 0.0, 0.1 + 0.2, 10.0, 5e-324] {
            assert_eq!(bounds.clip(x).to_bits(), x.to_bits());
        }
        assert_eq!((bounds.clip(-1.0), bounds.clip(f64::INFINITY)), (0.0, 10.0));
        assert!(!bounds.contains(f64::NAN));
    }
}
