//! The seeded generator of reference events: a simulated text-to-image service with chosen incidents.
//!
//! Pure: no clock, no I/O; the same [`Settings`] give the same bytes. Sessions arrive with a daily and weekly rhythm per
//! region, re-roll and edit their prompts, and keep their user, tenant and model. [`Incident`]s change what they name, in
//! their segment and time, and nothing else; [`labels`] says what was injected.
//!
//! ```
//! use driftglass::generate::{Generator, Settings};
//!
//! let settings = Settings { duration: chrono::Duration::hours(1), ..Settings::default() };
//! let mut generator = Generator::new(settings)?;
//! let mut message = Vec::new();
//! while let Some(event) = generator.next_into(&mut message) {
//!     assert!(message.starts_with(b"{") && event.time_us > 0);
//! }
//! # Ok::<(), driftglass::generate::GenerateError>(())
//! ```

mod dimensions;
mod effects;
mod generator;
mod incident;
mod json;
mod labels;
mod message;
mod prompt;
mod rhythm;
mod session;
mod vocabulary;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Duration, Utc};

pub use generator::{Counts, Generated, Generator, Kind};
pub use incident::{Dimension, Incident, IncidentError, IncidentKind, Segment};
pub use labels::labels;
pub use message::{IMAGES, Malformed, Stage};
pub use vocabulary::STYLES;

/// What to generate. The default: two weeks from Monday, 5 January 2026, 100,000 events a day, six tenants, no incidents.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seeds every draw.
    pub seed: u64,
    /// Time of the first event at the earliest.
    pub start: DateTime<Utc>,
    /// How long the traffic lasts.
    pub duration: Duration,
    /// Messages a day on the average of a week, all stages together.
    pub events_per_day: f64,
    /// How many tenants: aurora, birch, cobalt, dune, ember, fjord, then tenant-07 and so on, the first with most traffic.
    pub tenants: usize,
    /// What goes wrong.
    pub incidents: Vec<Incident>,
    /// Share of messages that are malformed, 0 to 1.
    pub bad_share: f64,
    /// Share of users who have opted out (`consent.opt_out`), 0 to 1.
    pub opt_out_share: f64,
    /// Whether each request has an `ingest` and a `deliver` event too; then the prompt is on `generate` only, the outcome on
    /// `deliver` only.
    pub stages: bool,
    /// Events say a time up to this much earlier than their place in the stream; zero: in order.
    pub jitter: Duration,
    /// Whether `artifacts.image_uri` names an image, of [`IMAGES`] in each style. The demo draws them; elsewhere they don't exist.
    pub image_uris: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            // Monday, 2026-01-05T00:00:00Z.
            start: DateTime::from_timestamp(1_767_571_200, 0).unwrap_or_default(),
            duration: Duration::days(14),
            events_per_day: 100_000.0,
            tenants: 6,
            incidents: Vec::new(),
            bad_share: 0.0,
            opt_out_share: 0.01,
            stages: false,
            jitter: Duration::zero(),
            image_uris: false,
        }
    }
}

/// Why a run can't be prepared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// A setting is out of its range.
    #[error("{setting} is {value}: expected {expected}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An incident is wrong in itself.
    #[error(transparent)]
    Incident(IncidentError),
    /// An incident's segment names a value that no event has.
    #[error("no generated event has {dimension}={value}: the values are {valid}")]
    NoSuchValue {
        /// The dimension.
        dimension: &'static str,
        /// The value, as given.
        value: String,
        /// The values that there are.
        valid: String,
    },
    /// An incident's segment combines values that no event has together.
    #[error("no generated event is of {0}: these values never come together")]
    NoSuchSegment(String),
    /// An incident lies outside the traffic.
    #[error(
        "incident {incident} lies outside the traffic, which is from {from} to {to}: move it, or change --start and --days"
    )]
    OutsideTraffic {
        /// The incident.
        incident: String,
        /// The traffic's first time.
        from: String,
        /// The traffic's end.
        to: String,
    },
}

impl Settings {
    fn check(&self) -> Result<(), GenerateError> {
        let ensure = |holds: bool, setting, value: String, expected| {
            if holds { Ok(()) } else { Err(GenerateError::Setting { setting, value, expected }) }
        };
        let first = DateTime::from_timestamp(946_684_800, 0).unwrap_or_default();
        let last = DateTime::from_timestamp(4_102_444_800, 0).unwrap_or_default();
        let in_calendar = self.start >= first && self.start < last;
        ensure(in_calendar, "start", self.start.to_string(), "a time from 2000 to 2099")?;
        let fits = self.duration > Duration::zero() && self.duration <= last - self.start;
        ensure(fits, "duration", self.duration.to_string(), "a positive duration that ends before 2100")?;
        let rate = self.events_per_day;
        ensure(
            (1e-3..=1e12).contains(&rate),
            "events per day",
            rate.to_string(),
            "a number from 0.001 to 10^12",
        )?;
        ensure((1..=50_000).contains(&self.tenants), "tenants", self.tenants.to_string(), "1 to 50,000")?;
        for (setting, share) in [("bad share", self.bad_share), ("opt-out share", self.opt_out_share)] {
            ensure((0.0..=1.0).contains(&share), setting, share.to_string(), "a share from 0 to 1")?;
        }
        let gentle = self.jitter >= Duration::zero() && self.jitter <= Duration::hours(1);
        ensure(gentle, "jitter", self.jitter.to_string(), "a duration from 0 to 1 hour")
    }

    /// Refuses incidents that no event of this traffic can show.
    fn check_times(&self) -> Result<(), GenerateError> {
        let end = self.start + self.duration;
        let outside = |i: &&Incident| i.start >= end || i.end.is_some_and(|e| e <= self.start);
        match self.incidents.iter().find(outside) {
            None => Ok(()),
            Some(incident) => Err(GenerateError::OutsideTraffic {
                incident: incident.to_string(),
                from: self.start.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                to: end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            }),
        }
    }
}
