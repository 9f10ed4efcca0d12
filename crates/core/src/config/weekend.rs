//! Days of the week, and which of them are the weekend.

use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    /// All, from Monday on.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// Its English name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Monday => "Monday",
            Self::Tuesday => "Tuesday",
            Self::Wednesday => "Wednesday",
            Self::Thursday => "Thursday",
            Self::Friday => "Friday",
            Self::Saturday => "Saturday",
            Self::Sunday => "Sunday",
        }
    }
}

/// The days of a week that are the weekend; none where all days count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Weekday>")]
pub struct Weekend(u8);

impl Weekend {
    /// A weekend of these days.
    #[must_use]
    pub fn from_days(days: impl IntoIterator<Item = Weekday>) -> Self {
        Self(days.into_iter().fold(0, |all, day| all | 1 << day as u8))
    }

    /// Whether a day is part of it.
    #[must_use]
    pub fn contains(self, day: Weekday) -> bool {
        self.0 >> day as u8 & 1 == 1
    }

    /// How many days it has.
    #[must_use]
    pub fn count(self) -> u16 {
        self.0.count_ones() as u16
    }
}

impl From<Vec<Weekday>> for Weekend {
    fn from(days: Vec<Weekday>) -> Self {
        Self::from_days(days)
    }
}

impl Default for Weekend {
    fn default() -> Self {
        Self::from_days([Weekday::Saturday, Weekday::Sunday])
    }
}
