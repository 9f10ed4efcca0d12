//! The event times that a command asks for.

/// A stretch of event time, half open, microseconds since 1970: `--from` and `--to`. Archives are filtered by their source; of
/// JSONL and Kafka whoever decodes leaves out the events outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time within.
    pub from: i64,
    /// The first time after it.
    pub to: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    /// Whether a time lies within.
    #[must_use]
    pub fn contains(&self, time_us: i64) -> bool {
        self.from <= time_us && time_us < self.to
    }

    /// Whether any of the times `min..=max` lies within.
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
