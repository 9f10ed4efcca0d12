//! Parts of the day: six blocks of four hours, UTC. A window that is shorter than a day is compared
//! with the blocks that it overlaps, since nights differ from days.

use crate::event::time::{DAY, HOUR, floor};
use std::fmt;

/// Length of a block, microseconds.
pub const BLOCK: i64 = 4 * HOUR;
/// Blocks of a day.
const BLOCKS: u8 = (DAY / BLOCK) as u8;

/// Blocks of the day, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoursOfDay(u8);

impl HoursOfDay {
    /// The whole day.
    pub const ALL: Self = Self((1 << BLOCKS) - 1);

    /// Every block alone.
    pub fn blocks() -> impl Iterator<Item = Self> {
        (0..BLOCKS).map(|block| Self(1 << block))
    }

    /// Bit 0 is the block from midnight on.
    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// Of [`HoursOfDay::bits`]; others are dropped.
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The block that a time lies in, microseconds.
    #[must_use]
    pub fn of(time: i64) -> Self {
        Self(1 << (time.rem_euclid(DAY) / BLOCK))
    }

    /// The blocks that a window overlaps; a window of a day or more overlaps all.
    #[must_use]
    pub fn of_window(start: i64, end: i64) -> Self {
        let mut hours = Self(0);
        let mut block = floor(start, BLOCK);
        while block < end && hours != Self::ALL {
            hours.0 |= Self::of(block).0;
            block += BLOCK;
        }
        hours
    }

    /// Whether it has all the blocks of another.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// How many hours of a day it has.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones() * (BLOCK / HOUR) as u32
    }
}

impl Default for HoursOfDay {
    fn default() -> Self {
        Self::ALL
    }
}

/// "00-24" is the whole day, "20-04" goes past midnight, and stretches that do not follow each other
/// are joined by commas.
impl fmt::Display for HoursOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("00-24");
        }
        let has = |block: u8| self.0 >> (block % BLOCKS) & 1 == 1;
        let hours = (BLOCK / HOUR) as u8;
        let mut separator = "";
        for first in (0..BLOCKS).filter(|b| has(*b) && !has(b + BLOCKS - 1)) {
            let length = (1..BLOCKS).find(|n| !has(first + n)).unwrap_or(BLOCKS);
            let end = (first + length - 1) % BLOCKS + 1;
            write!(f, "{separator}{:02}-{:02}", first * hours, end * hours)?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_overlaps_its_blocks() {
        let of = |from: i64, to: i64| HoursOfDay::of_window(from * HOUR, to * HOUR).to_string();
        assert_eq!(of(0, 6), "00-08");
        assert_eq!(of(3, 9), "00-12");
        assert_eq!(of(4, 8), "04-08");
        assert_eq!(of(22, 28), "20-04");
        assert_eq!(of(22, 29), "20-08");
        assert_eq!(of(23, 25), "20-04");
        assert_eq!(of(0, 24), "00-24");
        assert_eq!(of(5, 29), "00-24");
        assert_eq!(of(1, 21), "00-24", "a part of every block");
        assert_eq!(HoursOfDay::of_window(0, 30 * 60 * 1_000_000).count(), 4);
    }

    #[test]
    fn blocks_are_parts_of_the_day() {
        let all: Vec<HoursOfDay> = HoursOfDay::blocks().collect();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|b| HoursOfDay::ALL.contains(*b) && b.count() == 4));
        assert_eq!(HoursOfDay::of(-HOUR), all[5]);
        assert_eq!(HoursOfDay::of(100 * DAY + 13 * HOUR), all[3]);
        assert_eq!(HoursOfDay(0b10_0101).to_string(), "08-12,20-04");
        assert!(!HoursOfDay(0b11).contains(HoursOfDay(0b110)));
    }
}
