//! How two segments lie to each other.

use crate::config::segments::parts;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Values by dimension.
type SegmentValues<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// How a segment lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentRelation {
    /// They are the same.
    Equal,
    /// It is a part of the other, which is not all traffic.
    Inside,
    /// The other is a part of it, or all traffic.
    Contains,
    /// They share traffic, and neither contains the other.
    Crosses,
    /// A dimension has two values: they share nothing.
    Conflicts,
}

/// The dimensions of a segment.
pub(super) fn dimensions(segment: &str) -> SegmentValues<'_> {
    parts(segment).collect()
}

/// How `segment` lies to `lead`.
pub(super) fn relation(segment: &str, lead: &str) -> SegmentRelation {
    let (own, other) = (dimensions(segment), dimensions(lead));
    if own == other {
        return SegmentRelation::Equal;
    }
    if other.is_empty() || own.is_empty() {
        return SegmentRelation::Contains;
    }
    if own.iter().any(|(name, value)| other.get(name).is_some_and(|v| v != value)) {
        return SegmentRelation::Conflicts;
    }
    let within = |a: &SegmentValues<'_>, b: &SegmentValues<'_>| b.keys().all(|k| a.contains_key(k));
    match (within(&own, &other), within(&other, &own)) {
        (true, _) => SegmentRelation::Inside,
        (_, true) => SegmentRelation::Contains,
        _ => SegmentRelation::Crosses,
    }
}
