//! Which users were seen in segments whose names clients chose; this decides whether the names are
//! shown. Users are only added, so that a segment that is shown by name stays so.

use crate::config::segments::Groupings;
use crate::window::Segment;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The users of segments as bitmaps, grouping by grouping.
#[derive(Debug)]
pub struct SegmentUsers(Vec<FxHashMap<Arc<str>, u64>>);

/// The same by names, for a checkpoint.
pub type SegmentUsersState = BTreeMap<String, BTreeMap<String, u64>>;

impl SegmentUsers {
    /// From a checkpoint. Groupings that the configuration no longer has are dropped.
    #[must_use]
    pub fn new(groupings: &Groupings, state: &SegmentUsersState) -> Self {
        let of = |seen: &BTreeMap<String, u64>| {
            seen.iter().map(|(name, users)| (Arc::from(name.as_str()), *users)).collect()
        };
        let all = groupings.all.iter().map(|g| state.get(&*g.name).map(of).unwrap_or_default());
        Self(all.collect())
    }

    /// What a checkpoint keeps.
    #[must_use]
    pub fn state(&self, groupings: &Groupings) -> SegmentUsersState {
        let all = groupings.all.iter().zip(&self.0).filter(|(_, seen)| !seen.is_empty());
        let by_name = |seen: &FxHashMap<Arc<str>, u64>| {
            seen.iter().map(|(name, users)| (name.to_string(), *users)).collect()
        };
        all.map(|(g, seen)| (g.name.to_string(), by_name(seen))).collect()
    }

    /// Adds the users of a stretch.
    pub fn add(&mut self, segment: &Segment, users: u64) {
        if users == 0 {
            return;
        }
        match self.0[segment.grouping as usize].get_mut(&segment.name) {
            Some(seen) => *seen |= users,
            None => {
                self.0[segment.grouping as usize].insert(Arc::clone(&segment.name), users);
            }
        }
    }

    /// The users that were seen in a segment.
    #[must_use]
    pub fn users(&self, segment: &Segment) -> u64 {
        self.0[segment.grouping as usize].get(&segment.name).copied().unwrap_or(0)
    }
}
