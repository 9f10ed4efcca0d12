//! What an assignment leads to, in the order in which it came: claims of partitions and partitions let go.

use super::records::PartitionId;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// A change of what is owned.
#[derive(Debug)]
pub enum Owning<T> {
    /// A partition was claimed.
    Claimed(T),
    /// A partition belongs to somebody else now; what was claimed of it before is void, what is claimed after is not.
    LetGo(PartitionId),
}

/// Filled by [`super::Positions`] while a source is polled, emptied by whoever polls. One queue for both kinds: a partition may be taken
/// away and given back within one call, and only their order tells which of the two claims still holds.
#[derive(Debug)]
pub struct Claimed<T>(Mutex<VecDeque<Owning<T>>>);

impl<T> Default for Claimed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Claimed<T> {
    /// Notes a claim.
    pub fn claim(&self, owned: T) {
        self.0.lock().push_back(Owning::Claimed(owned));
    }

    /// Notes that a partition was let go.
    pub fn let_go(&self, partition: PartitionId) {
        self.0.lock().push_back(Owning::LetGo(partition));
    }

    /// What came since the last call, in order.
    pub fn take(&self) -> VecDeque<Owning<T>> {
        std::mem::take(&mut *self.0.lock())
    }
}
