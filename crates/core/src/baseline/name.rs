//! What a baseline is called: the one place that writes and reads the names that tables, rules and
//! commands use.
//!
//! Two things are called baselines today: the last N complete days (`rolling_7d`), and a range of
//! hours that somebody pinned (`pinned:NAME`).
//!
//! # Adding a kind of baseline
//!
//! The previous release (`release:previous`; the prefix is reserved, and refused until then):
//!
//! 1. here, a variant with its text, in place of [`BaselineNameError::NotMade`] for `release:`;
//! 2. `days.rs`: [`BaselineName::configured`] lists it where the configuration asks for it,
//!    [`BaselineName::needed_days`] says how many days it needs, and
//!    [`BaselineDays::of`](super::BaselineDays::of) which days it holds: those from the first day of
//!    the release before this one to the day before this one's first;
//! 3. `set.rs`: [`BaselineSet::days_of`](super::BaselineSet::days_of) finds these two days among
//!    the segments of `model_version` in its sources, and `sums` adds such days up on their own,
//!    since only rolling baselines hold each other;
//! 4. `config/mod.rs` and `config/default.toml`: the key that asks for it, and how far back it
//!    reaches in `Baselines::longest_days`, by which days are read and kept.
//!
//! The evaluator, its counts, the rules, `baseline list` and `baseline show` take all baselines
//! from these functions, and stay as they are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

const ROLLING: &str = "rolling_";
const ROLLING_UNIT: char = 'd';
const PINNED: &str = "pinned:";
const RELEASE: &str = "release:";

/// What names of other baselines than pins begin with; no pin is called so.
pub const RESERVED_PREFIXES: [&str; 3] = [ROLLING, PINNED, RELEASE];

/// Which baseline: its name in tables, rules and commands is what [`Display`](fmt::Display) writes
/// and [`FromStr`] reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaselineName {
    /// The complete UTC days before the day in which a window starts: "rolling_7d".
    Rolling {
        /// How many days.
        days: u16,
    },
    /// A range of hours that was pinned under this name: "pinned:launch".
    Pinned(Arc<str>),
}

/// Why a text names no baseline.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BaselineNameError {
    /// A kind that nothing makes yet.
    #[error(
        "no baseline {0:?}: releases are no baselines; pin a range (driftglass baseline pin NAME …) and write \"pinned:NAME\""
    )]
    NotMade(String),
    /// No kind of baseline is called so.
    #[error("{0:?} names no baseline; write \"rolling_7d\" or \"pinned:NAME\"")]
    Unknown(String),
}

impl BaselineName {
    /// The pin of a name that may come with its prefix or without: "pinned:launch" or "launch".
    #[must_use]
    pub fn pin(name: &str) -> Self {
        Self::Pinned(name.strip_prefix(PINNED).unwrap_or(name).into())
    }

    /// The baseline that somebody asks for, who may write a pin without its prefix.
    ///
    /// # Errors
    /// When it is of a kind that nothing makes yet.
    pub fn asked_for(name: &str) -> Result<Self, BaselineNameError> {
        match name.parse() {
            Err(BaselineNameError::Unknown(_)) => Ok(Self::pin(name)),
            read => read,
        }
    }

    /// The name of the pin, without the prefix; `None` where this is no pin.
    #[must_use]
    pub fn pin_name(&self) -> Option<&str> {
        match self {
            Self::Pinned(name) => Some(name),
            Self::Rolling { .. } => None,
        }
    }

    /// Whether a text names a rolling baseline. Cheaper than to read it: rules ask for every row.
    #[must_use]
    pub fn is_rolling(text: &str) -> bool {
        rolling_days(text).is_some()
    }

    /// Its text, as a row of `windows` holds it.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        self.to_string().into()
    }
}

/// The days of "rolling_7d". Only what is written is read, so "rolling_07d" is no name.
fn rolling_days(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(ROLLING)?.strip_suffix(ROLLING_UNIT)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

impl fmt::Display for BaselineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling { days } => write!(f, "{ROLLING}{days}{ROLLING_UNIT}"),
            Self::Pinned(name) => write!(f, "{PINNED}{name}"),
        }
    }
}

impl FromStr for BaselineName {
    type Err = BaselineNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(days) = rolling_days(text) {
            return Ok(Self::Rolling { days });
        }
        match text.strip_prefix(PINNED) {
            Some(name) if !name.is_empty() => Ok(Self::Pinned(name.into())),
            _ if text.starts_with(RELEASE) => Err(BaselineNameError::NotMade(text.to_owned())),
            _ => Err(BaselineNameError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_name() -> impl Strategy<Value = BaselineName> {
        prop_oneof![
            any::<u16>().prop_map(|days| BaselineName::Rolling { days }),
            "[a-z0-9._:@+-]{1,64}".prop_map(|name| BaselineName::Pinned(name.into())),
            ".{1,16}".prop_map(|name| BaselineName::Pinned(name.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in any_name()) {
            prop_assert_eq!(name.to_string().parse::<BaselineName>(), Ok(name.clone()));
            prop_assert_eq!(BaselineName::asked_for(&name.to_string()), Ok(name));
        }

        #[test]
        fn what_is_read_is_written(text in "(rolling_|pinned:|release:)?[0+a-z:]{0,3}[0-9]{0,6}d?") {
            if let Ok(name) = text.parse::<BaselineName>() {
                prop_assert_eq!(name.to_string(), text.clone());
                prop_assert_eq!(BaselineName::is_rolling(&text), name.pin_name().is_none());
            }
        }
    }

    #[test]
    fn other_texts_name_none() {
        for text in [
            "",
            "launch",
            "pinned:",
            "rolling_d",
            "rolling_07d",
            "rolling_+7d",
            "rolling_70000d",
            "Rolling_7d",
        ] {
            assert_eq!(text.parse::<BaselineName>(), Err(BaselineNameError::Unknown(text.into())));
            assert!(!BaselineName::is_rolling(text), "{text}");
        }
        let release = "release:M2".parse::<BaselineName>().unwrap_err();
        assert!(release.to_string().starts_with("no baseline \"release:M2\": releases are no baselines"));
        assert_eq!(BaselineName::asked_for("release:M2"), Err(release));
    }

    #[test]
    fn a_pin_is_asked_for_with_and_without_its_prefix() {
        let launch = BaselineName::Pinned("launch".into());
        for text in ["launch", "pinned:launch"] {
            assert_eq!(BaselineName::asked_for(text), Ok(launch.clone()));
            assert_eq!(BaselineName::pin(text), launch);
        }
        assert_eq!(launch.pin_name(), Some("launch"));
        assert_eq!(BaselineName::asked_for("rolling_7d"), Ok(BaselineName::Rolling { days: 7 }));
    }
}
