//! Why traffic can't be generated: a setting that is out of range, or an incident that is wrong.

use super::names::{DIMENSIONS, KINDS};
use chrono::{DateTime, Utc};

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

/// Why the text of an incident was refused.
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
    #[error("segment `{0}` is not understood: expected all, or dimension=value with a dimension of {dims}", dims = DIMENSIONS.map(|d| d.name()).join(", "))]
    Segment(String),
    /// A time can't be read.
    #[error("time `{0}` is not understood: expected RFC 3339, as in 2026-01-12T06:00:00Z, or a date")]
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
        /// What it may be.
        expected: &'static str,
    },
}
