//! A range of event times, as `--from` and `--to` select it.

/// A half-open range of event time in microseconds since 1970: `--from` and `--to`. The source of
/// archives filters by it; for JSONL and Kafka the decoder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Start, inclusive.
    pub from: i64,
    /// End, exclusive.
    pub to: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    /// Whether a time is in the range.
    #[must_use]
    pub fn contains(&self, time_us: i64) -> bool {
        self.from <= time_us && time_us < self.to
    }

    /// Whether any of the times `min..=max` is in the range.
    #[must_use]
    pub fn touches(&self, min: i64, max: i64) -> bool {
        self.from <= max && min < self.to
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ALL
    }
}
