//! Why a partition can't go on.

use crate::embed::EmbedError;
use crate::source::PartitionId;
use crate::store::StorageError;
use crate::store::chain::ChainError;
use crate::store::panes::PaneFileError;
use thiserror::Error;

/// Why a partition can't go on.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Its chain failed, or is somebody else's now.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A file failed.
    #[error("partition {partition}: {source}")]
    Files {
        /// The partition.
        partition: PartitionId,
        /// Why.
        source: PaneFileError,
    },
    /// Most of the input is bad.
    #[error(
        "partition {partition}: {bad} of the last {of} messages are bad ({reasons}), more than input.max_bad_share = {share} allows; \
         see the rejects table, fix the producer or raise the share"
    )]
    MostlyBad {
        /// The partition.
        partition: PartitionId,
        /// Bad messages.
        bad: usize,
        /// Of so many.
        of: usize,
        /// The reasons.
        reasons: String,
        /// The share allowed.
        share: f64,
    },
    /// Vectors of images can't be had.
    #[error("partition {partition}: {source}")]
    Vectors {
        /// The partition.
        partition: PartitionId,
        /// Why.
        source: EmbedError,
    },
    /// Decoding crashed, and not because of one message.
    #[error(
        "partition {partition}: the decoder crashed, which is a bug; where it did stands above, please report it"
    )]
    Crashed {
        /// The partition.
        partition: PartitionId,
    },
    /// An archive that does not fit.
    #[error("partition {partition}: {message}")]
    Archive {
        /// The partition.
        partition: PartitionId,
        /// Why.
        message: String,
    },
}

impl IngestError {
    /// Whether the same may succeed later: the store was away, or somebody else was claiming the partition too.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let storage = match self {
            Self::Chain(ChainError::Lost { .. }) => return true,
            Self::Chain(ChainError::Storage(e)) => e,
            Self::Files { source: PaneFileError::Storage(e), .. } => e,
            _ => return false,
        };
        matches!(storage, StorageError::Io { .. })
    }
}
