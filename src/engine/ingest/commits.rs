//! What the first stage reports: in a partition's commits, and to the evaluator of this process.

use super::sampling::SamplerState;
use crate::source::PartitionId;
use crate::store::chain::Epoch;
use crate::store::tables::StagedFile;
use crate::window::{Pane, PartitionState};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The content of one commit of a partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartitionCommit {
    /// The offset at which to continue.
    pub next_offset: i64,
    /// A hash of the last record, to recognize a recreated topic where topics have no id.
    pub fingerprint: u64,
    /// The topic's id, where the brokers know it.
    #[serde(default)]
    pub log: Option<String>,
    /// Watermark and counters.
    pub state: PartitionState,
    /// The watermark, microseconds.
    pub watermark: i64,
    /// The file of the panes that closed, if any did.
    pub panes: Option<String>,
    /// The file of the panes that are open, if any are.
    pub open: Option<String>,
    /// Files of public tables that this commit names.
    pub files: Vec<StagedFile>,
    /// How many images were sampled in recent minutes.
    #[serde(default)]
    pub sampler: SamplerState,
    /// Whether the partition was idle or at its end, with its open panes flushed.
    pub quiet: bool,
    /// When quiet, where the watermark would be if records ahead of the others were believed, as
    /// far as they may be.
    #[serde(default)]
    pub likely: Option<i64>,
    /// Whether some records are too far ahead of the others to be believed yet.
    #[serde(default)]
    pub unsettled: bool,
    /// Whether its input was read to its end, so that nothing follows unless more input is added.
    #[serde(default)]
    pub ended: bool,
}

/// A commit, passed to the evaluator of this process.
#[derive(Debug)]
pub struct CommittedPanes {
    /// The partition.
    pub partition: PartitionId,
    /// The commit's epoch.
    pub epoch: Epoch,
    /// Its watermark.
    pub watermark: i64,
    /// Whether the partition is idle or at its end.
    pub quiet: bool,
    /// As in [`PartitionCommit`].
    pub likely: Option<i64>,
    /// As in [`PartitionCommit`].
    pub unsettled: bool,
    /// Whether its input is over.
    pub ended: bool,
    /// Whether the partition never had a record.
    pub empty: bool,
    /// The panes that closed.
    pub rows: Vec<Pane>,
}

impl CommittedPanes {
    /// From a commit that was read with its panes.
    #[must_use]
    pub fn of(partition: PartitionId, epoch: Epoch, commit: &PartitionCommit, rows: Vec<Pane>) -> Self {
        Self {
            partition,
            epoch,
            watermark: commit.watermark,
            quiet: commit.quiet,
            likely: commit.likely,
            unsettled: commit.unsettled,
            ended: commit.ended,
            empty: commit.next_offset == 0,
            rows,
        }
    }
}

/// What identifies the last record read: the id of its topic, where it is known, and a hash of its
/// value; 0 before the first.
pub type LastRead = (Option<Arc<str>>, u64);

/// A change of what the group assigns to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionAssignment {
    /// The group assigns the partition to this process.
    Assigned(PartitionId),
    /// The partition is assigned to another process now.
    Revoked(PartitionId),
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkOutcome {
    /// It was ingested.
    Ingested,
    /// It was ingested, and something of it was committed meanwhile.
    Committed,
    /// It was not: the job was asked to stop while it waited for its images.
    Stopped,
}
