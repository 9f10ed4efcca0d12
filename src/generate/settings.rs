//! The settings of a generator, with checks.

use super::error::GenerateError;
use super::incident::InjectedIncident;
use super::session::mean_requests;
use chrono::{DateTime, Duration, Utc};

/// What to generate. The default: two weeks from Monday, 5 January 2026, 100,000 events a day, six
/// tenants, no incidents.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorSettings {
    /// Seeds every draw.
    pub seed: u64,
    /// Start of the traffic.
    pub start: DateTime<Utc>,
    /// How long the traffic lasts.
    pub duration: Duration,
    /// Messages per day, averaged over a week, all stages together.
    pub events_per_day: f64,
    /// Number of tenants: aurora, birch, cobalt, dune, ember, fjord, then tenant-07 and so on. The
    /// first have the most traffic.
    pub tenants: usize,
    /// The incidents to inject.
    pub incidents: Vec<InjectedIncident>,
    /// Share of messages that are malformed, 0 to 1.
    pub bad_share: f64,
    /// Share of users who opted out (`consent.opt_out`), 0 to 1.
    pub opt_out_share: f64,
    /// Whether each request also has an `ingest` and a `deliver` event. Then only `generate` has
    /// the prompt, and only `deliver` the outcome.
    pub stages: bool,
    /// Maximum time by which events are out of order; zero: in order.
    pub jitter: Duration,
    /// Whether to set `artifacts.image_uri`, to one of [`super::IMAGES`] images per style. Only the
    /// demo creates these images.
    pub image_uris: bool,
}

impl Default for GeneratorSettings {
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

impl GeneratorSettings {
    pub(super) fn check(&self) -> Result<(), GenerateError> {
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

    /// Refuses incidents outside the time of the traffic.
    pub(super) fn check_times(&self) -> Result<(), GenerateError> {
        let end = self.start + self.duration;
        let outside = |i: &&InjectedIncident| i.start >= end || i.end.is_some_and(|e| e <= self.start);
        match self.incidents.iter().find(outside) {
            None => Ok(()),
            Some(incident) => Err(GenerateError::OutsideTraffic {
                incident: incident.to_string(),
                from: self.start.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                to: end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            }),
        }
    }

    /// Sessions per day for the message rate.
    pub(super) fn sessions_per_day(&self) -> f64 {
        let stages = if self.stages { 3.0 } else { 1.0 };
        self.events_per_day / stages / mean_requests()
    }
}
