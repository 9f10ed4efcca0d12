//! Durations and sizes as people write them: "30m", "64MiB".

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest span accepted, a hundred years, so that adding times and spans never overflows.
const LONGEST: i64 = 36_500 * crate::event::time::DAY;

/// A length of time, in whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

impl Span {
    /// Whole minutes.
    #[must_use]
    pub const fn minutes(n: i64) -> Self {
        Self(n * crate::event::time::MINUTE)
    }

    /// As a standard duration; negative ones are zero.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s.trim_start().starts_with('-') {
            return Err(format!("{s:?} is negative; write a duration such as \"30m\" or \"24h\""));
        }
        let d = humantime::parse_duration(s)
            .map_err(|e| format!("{s:?} is not a duration such as \"30m\" or \"24h\": {e}"))?;
        if s.contains('M') {
            return Err(format!("{s:?} would be months; write \"{}\" for minutes", s.replace('M', "m")));
        }
        i64::try_from(d.as_micros())
            .ok()
            .filter(|us| *us <= LONGEST)
            .map(Self)
            .ok_or_else(|| format!("{s:?} is too long; 36500d is the most"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::event::time::{DAY, HOUR, MINUTE, SECOND};
        // Whole days are written as hours up to two days: "24h" is the usual name of that window.
        for (unit, name, from) in
            [(DAY, "d", 2 * DAY), (HOUR, "h", HOUR), (MINUTE, "m", MINUTE), (SECOND, "s", SECOND)]
        {
            if self.0 >= from && self.0 % unit == 0 {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}us", self.0)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<bytesize::ByteSize>()
            .map(|b| Self(b.0))
            .map_err(|e| format!("{s:?} is not a size such as \"64MiB\": {e}"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", bytesize::ByteSize(self.0))
    }
}

macro_rules! as_text {
    ($t:ty) => {
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}
as_text!(Span);
as_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write() {
        for s in ["30m", "24h", "7d", "5s", "90m"] {
            assert_eq!(s.parse::<Span>().unwrap().to_string(), s);
        }
        assert_eq!("1d".parse::<Span>().unwrap().to_string(), "24h");
        assert_eq!("60m".parse::<Span>().unwrap().to_string(), "1h");
        assert!("soon".parse::<Span>().unwrap_err().contains("duration"));
        assert!("-5m".parse::<Span>().unwrap_err().contains("negative"));
        assert!("5M".parse::<Span>().unwrap_err().contains("\"5m\" for minutes"));
        assert!("200000000d".parse::<Span>().unwrap_err().contains("too long"));
        assert_eq!("64MiB".parse::<Size>().unwrap().0, 64 << 20);
    }
}
