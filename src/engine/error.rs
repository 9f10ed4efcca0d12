//! The errors of this module: of setting up a job, of partitions and of the evaluation. Each says
//! what failed, on what, and what to do.

use crate::baseline::{BaselineNameError, RESERVED_PREFIXES};
use crate::config::ConfigError;
use crate::embed::EmbedError;
use crate::sketch::UnlikeSketches;
use crate::source::{Offset, PartitionId, SourceError};
use crate::store::StorageError;
use crate::store::archive_writer::ArchiveWriteError;
use crate::store::chain::{ChainError, Epoch};
use crate::store::panes::PaneFileError;
use crate::window::PackedError;
use thiserror::Error;

/// The file at an output's root that names its job.
pub(super) const OWNER_FILE: &str = "_job.json";

/// Why a job stopped.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A partition failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The evaluator failed.
    #[error(transparent)]
    Evaluator(#[from] EvaluatorDriverError),
    /// Another process writes to this output.
    #[error(
        "partition {0} was taken over by another process that writes to the same output; stop one of them, or give each its own --output"
    )]
    Taken(PartitionId),
    /// The topic was recreated, and this output can't continue with another topic.
    #[error(
        "partition {partition}: its offsets begin again at {to} (they had reached {from}): the topic was created again; archive it into \
         another --output"
    )]
    Recreated {
        /// The partition.
        partition: PartitionId,
        /// The offset wanted.
        from: Offset,
        /// The offset at which it begins.
        to: Offset,
    },
    /// The system can't start more threads.
    #[error("can't start a thread: {0}")]
    NoThread(#[source] std::io::Error),
    /// A thread has panicked.
    #[error("a {0} thread stopped unexpectedly; its panic message is above")]
    Thread(&'static str),
}

/// Why a partition fails.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Its chain failed, or is another process's now.
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
        /// The total.
        of: usize,
        /// The reasons.
        reasons: String,
        /// The share allowed.
        share: f64,
    },
    /// Most of the input of an archive is bad.
    #[error(
        "partition {partition}: {bad} of the last {of} messages are bad ({reasons}), more than input.max_bad_share = {share} \
         allows; fix the producer, check input.kafka.topic, or raise the share"
    )]
    ArchiveMostlyBad {
        /// The partition.
        partition: PartitionId,
        /// Bad messages.
        bad: u64,
        /// The total.
        of: u64,
        /// The reasons.
        reasons: String,
        /// The share allowed.
        share: f64,
    },
    /// A partition's archive can't be written.
    #[error(transparent)]
    ArchiveWrite(ArchiveWriteError),
    /// What is to be archived is an archive.
    #[error(
        "partition {partition}: an archive can't be archived again; give JSON lines, or no INPUT for the topic"
    )]
    ArchiveOfArchive {
        /// The partition.
        partition: PartitionId,
    },
    /// Vectors of images are unavailable.
    #[error("partition {partition}: {source}")]
    Vectors {
        /// The partition.
        partition: PartitionId,
        /// Why.
        source: EmbedError,
    },
    /// Decoding crashed, and not because of one message.
    #[error(
        "partition {partition}: the decoder crashed, which is a bug; its panic message is above, please report it"
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

impl From<ArchiveWriteError> for IngestError {
    fn from(e: ArchiveWriteError) -> Self {
        match e {
            ArchiveWriteError::Chain(e) => Self::Chain(e),
            e => Self::ArchiveWrite(e),
        }
    }
}

impl IngestError {
    /// Whether the same may succeed later: the store was unavailable, or another process was
    /// claiming the partition too.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let storage = match self {
            Self::Chain(ChainError::Lost { .. }) => return true,
            Self::Chain(ChainError::Storage(e)) => e,
            Self::Files { source: PaneFileError::Storage(e), .. }
            | Self::ArchiveWrite(ArchiveWriteError::Files { source: PaneFileError::Storage(e), .. }) => e,
            _ => return false,
        };
        matches!(storage, StorageError::Io { .. })
    }
}

/// Why the evaluator fails.
#[derive(Debug, Error)]
pub enum EvaluatorDriverError {
    /// The evaluation failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluationError),
    /// A chain failed, or the evaluator's is another process's now.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A file failed.
    #[error(transparent)]
    Files(#[from] PaneFileError),
    /// Rows that were dropped from memory can't be read again.
    #[error(
        "commit {epoch} of partition {partition}, which is not evaluated yet, is no longer in the output's _chain folder; restore it, or start again with --overwrite"
    )]
    Gone {
        /// The partition.
        partition: PartitionId,
        /// The epoch of its chain.
        epoch: Epoch,
    },
}

/// Why an evaluation failed.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// Panes of different definitions can't be merged.
    #[error(transparent)]
    Unlike(#[from] UnlikeSketches),
    /// A window's parts could not be merged.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// Hours or days did not become rows of their table.
    #[error("panes: {0}")]
    Panes(#[from] PaneFileError),
    /// A rule could not be evaluated.
    #[error("rules: {0}")]
    Rule(String),
    /// Rows did not fit their schema.
    #[error("windows: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Earlier days could not be read.
    #[error("history: {0}")]
    History(String),
}

/// Why a job can't be set up.
#[derive(Debug, Error)]
pub enum JobError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A rule is wrong.
    #[error("{0}")]
    Rule(String),
    /// The output can't be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Earlier files can't be read.
    #[error(transparent)]
    History(#[from] EvaluationError),
    /// Vectors of images are unavailable.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The output belongs to another job.
    #[error(
        "output {dir} holds the job {found:?}, this one is {wanted:?}: choose another output.dir, or start over with --overwrite"
    )]
    OtherJob {
        /// The output.
        dir: String,
        /// The job that it belongs to.
        found: String,
        /// This job.
        wanted: String,
    },
    /// The name of the job is not a name.
    #[error("engine.job: {0:?} is not a valid name: use letters, digits and . _ : @ + -")]
    Name(String),
    /// What `--overwrite` would empty is not a job's output.
    #[error(
        "{dir} has files in {folder}/ and no {OWNER_FILE}: it is not the output of a job, so --overwrite deletes nothing there; choose another \
         output.dir, or remove the folder yourself"
    )]
    NoOutput {
        /// The output.
        dir: String,
        /// The first folder that is not empty.
        folder: &'static str,
    },
    /// What `--overwrite` would delete is also read.
    #[error(
        "embedding.recorded is this output, whose vectors --overwrite deletes: copy the table elsewhere and name the copy"
    )]
    ReadsItself,
}

/// Why a baseline can't be made, shown or dropped.
#[derive(Debug, Error)]
pub enum PinError {
    /// Not a name.
    #[error(
        "{0:?} is not a valid name of a baseline: use up to 64 letters (a to z), digits and . _ : @ + -, and none of {list} at its beginning",
        list = RESERVED_PREFIXES.join(", ")
    )]
    Name(String),
    /// The range is empty or cuts an hour.
    #[error("from {from} to {to} is not a range of whole hours; panes are kept by the hour")]
    Range {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
    /// The name is taken.
    #[error(
        "baseline {0} exists already; choose another name, or drop it first: driftglass baseline drop {0}"
    )]
    Exists(String),
    /// An earlier pinning was interrupted.
    #[error(
        "an earlier attempt left an unfinished baseline {0}; remove it and try again: driftglass baseline drop {0}"
    )]
    Unfinished(String),
    /// The output has no data of the range.
    #[error("no panes from {from} to {to}; {have}")]
    NoData {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
        /// What there is.
        have: String,
    },
    /// No such baseline.
    #[error("no baseline {name:?}; {known}")]
    Unknown {
        /// What was requested.
        name: String,
        /// What there is.
        known: String,
    },
    /// A kind of baseline that nothing makes.
    #[error(transparent)]
    Kind(#[from] BaselineNameError),
    /// The output failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Earlier files can't be read.
    #[error(transparent)]
    History(#[from] EvaluationError),
    /// A file of panes can't be written.
    #[error(transparent)]
    Panes(#[from] PaneFileError),
}

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
        "another process is reading files into {dir}; wait until it has ended, or give this one its own --output"
    )]
    Taken {
        /// The output.
        dir: String,
    },
    /// The output has data, but no record of its inputs.
    #[error(
        "{dir} holds results and no record of the files that they come from: an earlier build of driftglass wrote them, or they come \
         from a topic. Give \
         another --output{OVERWRITE}"
    )]
    Unknown {
        /// The output.
        dir: String,
    },
    /// The other kind of files.
    #[error(
        "{dir} was filled from {stored}, and {given} is of another kind. Give another --output{OVERWRITE}"
    )]
    OtherKind {
        /// The output.
        dir: String,
        /// What it was filled from.
        stored: &'static str,
        /// A file that was given.
        given: String,
    },
    /// Another range of times.
    #[error(
        "{dir} was filled with {stored}, and now {given} is asked for. Give the same, another --output{OVERWRITE}"
    )]
    OtherRange {
        /// The output.
        dir: String,
        /// Its range.
        stored: String,
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
        /// The offset at which to continue.
        at: i64,
    },
    /// A file that was begun is not given.
    #[error(
        "the last run into {dir} stopped before it had read all of {name}{more}: give it again as an input{OVERWRITE}"
    )]
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
    /// The message where there is no `--overwrite`.
    #[must_use]
    pub fn without_overwrite(&self) -> String {
        self.to_string().replace(OVERWRITE, "")
    }
}

const OVERWRITE: &str = ", or start over with --overwrite";
