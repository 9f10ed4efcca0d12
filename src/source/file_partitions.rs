//! What sources over files share: which of their partitions are paused, which have ended, and what
//! a poll returns when there is nothing to read.

use super::interface::Polled;
use super::records::PartitionId;
use std::time::Duration;

/// The partitions of a source over files, in the source's own order.
#[derive(Debug)]
pub(super) struct FilePartitions(Vec<FilePartition>);

#[derive(Debug)]
struct FilePartition {
    id: PartitionId,
    paused: bool,
    ended: bool,
}

impl FilePartitions {
    pub fn new(ids: impl Iterator<Item = PartitionId>) -> Self {
        Self(ids.map(|id| FilePartition { id, paused: false, ended: false }).collect())
    }

    pub fn ids(&self) -> Vec<PartitionId> {
        self.0.iter().map(|p| p.id).collect()
    }

    /// Pauses or resumes a partition.
    pub fn set_paused(&mut self, id: PartitionId, paused: bool) {
        self.0.iter_mut().filter(|p| p.id == id).for_each(|p| p.paused = paused);
    }

    pub fn is_paused(&self, index: usize) -> bool {
        self.0[index].paused
    }

    pub fn has_ended(&self, index: usize) -> bool {
        self.0[index].ended
    }

    /// Ends a partition, and reports it.
    pub fn end(&mut self, index: usize) -> Polled {
        self.0[index].ended = true;
        Polled::Ended(self.0[index].id)
    }

    /// What a poll returns when no partition has records: the end, or nothing after `timeout`,
    /// since all that are left are paused.
    pub fn without_records(&self, timeout: Duration) -> Polled {
        if self.0.iter().all(|p| p.ended) {
            return Polled::Finished;
        }
        std::thread::sleep(timeout);
        Polled::Nothing
    }
}
