//! Changes of ownership in the order of the client's callbacks: partitions claimed and released.

use super::records::PartitionId;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// A change of ownership.
#[derive(Debug)]
pub enum OwnershipChange<T> {
    /// A partition was claimed.
    Claimed(T),
    /// The partition was revoked: earlier claims of it are void, later ones are not.
    Released(PartitionId),
}

/// Filled by [`super::Positions`] while a source is polled, and emptied by the polling thread. One
/// queue for both kinds: a partition may be revoked and assigned again within one poll, and only
/// the order shows which claim is valid.
#[derive(Debug)]
pub struct ClaimQueue<T>(Mutex<VecDeque<OwnershipChange<T>>>);

impl<T> Default for ClaimQueue<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ClaimQueue<T> {
    /// Records a claim.
    pub fn claim(&self, owned: T) {
        self.0.lock().push_back(OwnershipChange::Claimed(owned));
    }

    /// Records that a partition was released.
    pub fn release(&self, partition: PartitionId) {
        self.0.lock().push_back(OwnershipChange::Released(partition));
    }

    /// The changes since the last call, in order.
    pub fn take(&self) -> VecDeque<OwnershipChange<T>> {
        std::mem::take(&mut *self.0.lock())
    }
}
