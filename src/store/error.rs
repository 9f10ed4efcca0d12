//! The errors of this room.

use super::epoch::Epoch;
use crate::event::PartitionId;
use crate::sketch::{DecodeError, UnlikeSketches};
use crate::window::PackedError;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use thiserror::Error;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The output's URL names no store that can be used.
    #[error("can't use {url} as output: {message}")]
    Url {
        /// As configured.
        url: String,
        /// Why.
        message: String,
    },
    /// An operation failed.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that a commit names does not exist.
    #[error("{path} is named in a commit and missing; restore it, or start again with --overwrite")]
    Missing {
        /// Its public name.
        path: String,
    },
}

impl StorageError {
    /// A failed operation.
    pub(super) fn io(
        action: &'static str,
        path: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// Why a chain of commits can't be continued.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another owner has taken the chain.
    #[error("{chain} was taken over by another process at epoch {epoch}; this one stops writing to it")]
    Lost {
        /// The chain's folder.
        chain: String,
        /// The epoch that the other process wrote.
        epoch: Epoch,
    },
    /// A manifest is damaged.
    #[error("{path} is damaged: {message}")]
    Damaged {
        /// The manifest.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// Why panes could not be written or read back.
#[derive(Debug, Error)]
pub enum PaneFileError {
    /// Parquet's own error.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// Arrow's own error.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// A sketch's bytes are damaged.
    #[error("row {row} of segment {segment:?}: {source}")]
    Sketch {
        /// The row.
        row: usize,
        /// The segment.
        segment: String,
        /// Why.
        source: DecodeError,
    },
    /// Rows of one segment and feature were made by different definitions.
    #[error(transparent)]
    Unlike(#[from] UnlikeSketches),
    /// The contents of a segment could not be summed up.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A column is missing or of another type.
    #[error("column {0} is missing or of another type")]
    Column(&'static str),
}

/// Why a partition's archive can't be continued.
#[derive(Debug, Error)]
pub enum ArchiveWriteError {
    /// Its chain failed, or another process owns it now.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A file failed.
    #[error("archive of partition {partition}: {source}")]
    Files {
        /// The partition.
        partition: PartitionId,
        /// Why.
        source: PaneFileError,
    },
    /// The archive was made from another input, whose offsets mean other records.
    #[error(
        "this archive was made from {archived} and can't be continued from {given}: give the same \
         inputs (more may follow them), or another --output"
    )]
    OtherInput {
        /// What the archive was made from.
        archived: String,
        /// What was given.
        given: String,
    },
}
