//! Why files can't be what a job goes on with: which file, and what to do.

use crate::source::SourceError;
use crate::store::StorageError;
use crate::store::chain::ChainError;
use thiserror::Error;

/// Why inputs are refused. Nothing of the output has changed then.
#[derive(Debug, Error)]
pub enum InputsError {
    /// They can't be read side by side.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A chain failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What is remembered can't be read.
    #[error("{path} is damaged: {message}; restore it, or start over with --overwrite")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Another process remembers something else at the same time.
    #[error(
        "another process reads files into {dir} at this moment; let it end, or give this one its own --output"
    )]
    Taken {
        /// The output.
        dir: String,
    },
    /// The output was filled and nothing says from what.
    #[error(
        "{dir} holds results, and nothing there says from which files: an earlier build of driftglass, or a topic, filled it. Give \
         another --output{OVERWRITE}"
    )]
    Unknown {
        /// The output.
        dir: String,
    },
    /// The other kind of files.
    #[error("{dir} was filled from {held}, and {given} is not that. Give another --output{OVERWRITE}")]
    OtherKind {
        /// The output.
        dir: String,
        /// What it was filled from.
        held: &'static str,
        /// A file that was given.
        given: String,
    },
    /// Another range of times.
    #[error(
        "{dir} was filled with {held}, and now {given} is asked for. Give the same, another --output{OVERWRITE}"
    )]
    OtherRange {
        /// The output.
        dir: String,
        /// Its range.
        held: String,
        /// The range given.
        given: String,
    },
    /// A file has other content than before.
    #[error("{name} has changed since {dir} was filled from it ({how}). Give another --output{OVERWRITE}")]
    Changed {
        /// The output.
        dir: String,
        /// The file.
        name: String,
        /// How.
        how: String,
    },
    /// A file begins before what was evaluated.
    #[error(
        "{name} begins at {first}, and {dir} is evaluated to {at} already: only files that begin later can continue it. Replay all \
         files into another --output{OVERWRITE}"
    )]
    Earlier {
        /// The output.
        dir: String,
        /// The file.
        name: String,
        /// Its beginning.
        first: String,
        /// The evaluation's end.
        at: String,
    },
    /// A file's records come before those that were read.
    #[error(
        "{name} holds offsets of partition {partition} from {first} on, and {dir} has read to {at} already: only later ones can \
         continue it. Replay all files into another --output{OVERWRITE}"
    )]
    Behind {
        /// The output.
        dir: String,
        /// The file.
        name: String,
        /// The partition.
        partition: i32,
        /// Its first offset.
        first: i64,
        /// The offset to go on from.
        at: i64,
    },
    /// A file that was begun is not given.
    #[error("{dir} was left before {name}{more} was read to the end: name it among the inputs{OVERWRITE}")]
    NotNamed {
        /// The output.
        dir: String,
        /// The file.
        name: String,
        /// How many more.
        more: String,
    },
}

impl InputsError {
    /// What it says where there is no `--overwrite`.
    #[must_use]
    pub fn without_overwrite(&self) -> String {
        self.to_string().replace(OVERWRITE, "")
    }
}

const OVERWRITE: &str = ", or start over with --overwrite";
