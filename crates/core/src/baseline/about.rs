//! What a baseline is, beside its numbers.

use super::week::{BlocksOfWeek, WindowBlocks};
use std::sync::Arc;

/// What a baseline is, beside its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineInfo {
    /// The text of its [`BaselineName`](super::BaselineName), "rolling_7d": rows hold it.
    pub name: Arc<str>,
    /// Hash of what it was made of.
    pub id: Arc<str>,
    /// Days with data in it.
    pub days: u16,
    /// Whether it has the days that it needs; if not, all its windows are `insufficient_data`.
    pub enough_days: bool,
    /// The blocks of the week that it holds.
    pub blocks: BlocksOfWeek,
    /// The kinds of day that it has no data of, and yet must know to judge a window of them.
    pub unseen: UnseenDays,
    /// Length of time it covers, in hours, for volumes.
    pub hours: f64,
}

/// Kinds of day of which a baseline has no data, though it is long enough to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnseenDays {
    /// No working day.
    pub working_days: bool,
    /// No day of a weekend.
    pub weekend: bool,
}

impl BaselineInfo {
    /// Of a sketch that is compared as it is, whatever its days and hours.
    #[must_use]
    pub fn of_all_hours(name: &str) -> Self {
        Self {
            name: name.into(),
            id: "".into(),
            days: 0,
            enough_days: true,
            blocks: BlocksOfWeek::ALL,
            unseen: UnseenDays::default(),
            hours: 1.0,
        }
    }

    /// Whether it can judge a window: it has its days, and has seen days of the window's kind.
    #[must_use]
    pub fn can_judge(&self, window: &WindowBlocks) -> bool {
        let unseen = self.unseen;
        let unknown = (unseen.working_days && window.working_days) || (unseen.weekend && window.weekend);
        self.enough_days && !unknown
    }
}
