//! Why traffic can't be generated: a setting out of range, or an invalid incident.

use super::names::{DIMENSIONS, KINDS};
use chrono::{DateTime, Utc};

/// Why a generator can't be created.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// A setting is out of its range.
    #[error("{setting} is {value}: expected {expected}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
    /// An invalid incident.
    #[error(transparent)]
    Incident(IncidentError),
    /// An incident's segment has a value that no event has.
    #[error("no generated event has {dimension}={value}: the values are {valid}")]
    NoSuchValue {
        /// The dimension.
        dimension: &'static str,
        /// The value, as given.
        value: String,
        /// The possible values.
        valid: String,
    },
    /// An incident's segment combines values that no event has together.
    #[error("no generated event is of {0}: these values never occur together")]
    NoSuchSegment(String),
    /// An incident is outside the time of the traffic.
    #[error(
        "incident {incident} is outside the traffic, which lasts from {from} to {to}: move it, or change --start and --days"
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

/// Why the text of an incident is invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IncidentError {
    /// Fewer parts than kind, segment and start.
    #[error(
        "incident `{0}` is incomplete: expected KIND:SEGMENT:START[..END][:KEY=VALUE,…], \
             as in prompt-shift:tenant=birch:2026-01-12T06:00:00Z..2026-01-14T00:00:00Z:share=0.6"
    )]
    Incomplete(String),
    /// No such kind.
    #[error("unknown incident kind `{0}`: the kinds are {kinds}", kinds = KINDS.join(", "))]
    UnknownKind(String),
    /// The segment is neither `all` nor `dimension=value`.
    #[error("segment `{0}` is invalid: expected all, or dimension=value with a dimension of {dims}", dims = DIMENSIONS.map(|d| d.name()).join(", "))]
    Segment(String),
    /// An invalid time.
    #[error("time `{0}` is invalid: expected RFC 3339, as in 2026-01-12T06:00:00Z, or a date")]
    Time(String),
    /// The end is not after the start.
    #[error("incident ends at {end}, which is not after its start {start}")]
    EndsBeforeStart {
        /// The start, as given.
        start: DateTime<Utc>,
        /// The end, as given.
        end: DateTime<Utc>,
    },
    /// A parameter that this kind doesn't have.
    #[error("incident kind {kind} has no parameter `{key}`: it takes {takes}")]
    UnknownParameter {
        /// The kind.
        kind: &'static str,
        /// The parameter, as given.
        key: String,
        /// What the kind takes, with defaults.
        takes: String,
    },
    /// A parameter out of its range or not a number.
    #[error("parameter {key} is `{value}`: expected {expected}")]
    BadParameter {
        /// The parameter.
        key: &'static str,
        /// Its value, as given.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
}
