//! Why a vector can't be had: what is wrong with the configuration, an image, a file of vectors, the
//! model or what runs it.

use super::backend::Backend;
use super::library;
use crate::config::Provider;
use crate::store::StorageError;
use crate::store::panes::PaneFileError;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// A setting that can't be used.
#[derive(Debug, Clone, Error)]
#[error("{key} {message}")]
pub struct FetchConfigError {
    /// The setting's name.
    pub key: &'static str,
    /// What is wrong and what to write; never the setting's own text, which may hold a secret.
    pub message: String,
}

/// Why nothing came back. Carries no part of the URI, which may hold a token or name a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum FetchError {
    /// Below neither the base nor an allowed prefix.
    #[error("not below embedding.base_uri or an entry of embedding.allow")]
    NotAllowed,
    /// No URI that can be read in one way only.
    #[error("not a usable URI")]
    BadUri,
    /// Has a user or password before its host.
    #[error("the URI has a user or password in it")]
    Userinfo,
    /// Leaves its folder, by `..`, a backslash, an encoded form of them or a symlink.
    #[error("the path leads out of its folder")]
    PathTraversal,
    /// The host is, or resolves to, an address outside the public internet.
    #[error("the host's address is not a public one; embedding.allow_private would let it through")]
    PrivateAddress,
    /// The server points elsewhere; that is never followed.
    #[error("the server answered with a redirect")]
    Redirect,
    /// Nothing there.
    #[error("not found")]
    NotFound,
    /// There, but not for us.
    #[error("access denied")]
    Forbidden,
    /// A folder, pipe, device or socket.
    #[error("not a regular file")]
    NotAFile,
    /// More bytes than allowed.
    #[error("larger than the limit")]
    TooLarge,
    /// The range is empty or begins past the end.
    #[error("no bytes in the range asked for")]
    BadRange,
    /// An attempt took too long.
    #[error("timed out")]
    Timeout,
    /// No connection, or one that broke.
    #[error("can't be reached")]
    Unreachable,
    /// The server is in trouble or busy.
    #[error("the server is unavailable")]
    Unavailable,
    /// The server's answer is not one to this request.
    #[error("the server's answer makes no sense")]
    BadResponse,
    /// A local file or an object store failed otherwise.
    #[error("reading failed")]
    Failed,
}

impl FetchError {
    /// A stable name for counting, in snake case.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::BadUri => "bad_uri",
            Self::Userinfo => "userinfo",
            Self::PathTraversal => "path_traversal",
            Self::PrivateAddress => "private_address",
            Self::Redirect => "redirect",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::NotAFile => "not_a_file",
            Self::TooLarge => "too_large",
            Self::BadRange => "bad_range",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::BadResponse => "bad_response",
            Self::Failed => "failed",
        }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable | Self::Unavailable)
    }
}

/// Why a URI gave no vector. Carries no part of the URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum RowError {
    /// The file's bytes couldn't be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The row isn't a number, isn't in the file, or is missing where the file has several.
    #[error("the file has no such row")]
    BadRow,
    /// Neither a `.npy` of floats nor a Parquet file with a list of floats named `vector` or `embedding`.
    #[error("not a file of vectors")]
    NotAVectorFile,
    /// Vectors of another length than the configured one.
    #[error("the vector's length is not the configured dimension")]
    WrongDimension,
    /// A value is missing, not a number or infinite.
    #[error("the vector has a value that is not finite")]
    NotFinite,
}

impl RowError {
    /// A stable name for counting, in snake case.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fetch(e) => e.reason(),
            Self::BadRow => "bad_row",
            Self::NotAVectorFile => "not_a_vector_file",
            Self::WrongDimension => "wrong_dimension",
            Self::NotFinite => "not_finite",
        }
    }
}

/// Why an image has no tensor.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// Begins like no image format.
    #[error("not an image")]
    NotAnImage,
    /// An image, but of a format or a variant of one that is not read.
    #[error("image format not supported")]
    UnsupportedFormat,
    /// Width or height is zero.
    #[error("image has no pixels")]
    NoPixels,
    /// Width times height is over the limit.
    #[error("image has too many pixels")]
    TooManyPixels,
    /// Truncated, damaged, or against its own header.
    #[error("image is corrupt")]
    Corrupt,
}

impl ImageError {
    /// Its name in tables and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAnImage => "not_an_image",
            Self::UnsupportedFormat => "unsupported_format",
            Self::NoPixels => "no_pixels",
            Self::TooManyPixels => "too_many_pixels",
            Self::Corrupt => "corrupt_image",
        }
    }
}

/// Why an image was not run.
#[derive(Debug, Clone, Error)]
pub enum EncodeError {
    /// The model failed.
    #[error(transparent)]
    Model(Arc<ModelError>),
    /// Its thread is gone.
    #[error("the encoder's thread stopped unexpectedly; its panic message stands above")]
    Gone,
}

/// Why a model could not be loaded or run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file can't be read.
    #[error("can't read the model {}: {source}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is not an ONNX model", .file.display())]
    NotOnnx {
        /// Which.
        file: PathBuf,
    },
    /// The backend refuses it.
    #[error("can't load the model {} with {}: {message}", .file.display(), .backend.name())]
    Load {
        /// Which.
        file: PathBuf,
        /// What was to run it.
        backend: Backend,
        /// Why.
        message: String,
    },
    /// Its inputs or outputs are not an image encoder's.
    #[error("the model {} does not fit: expected {expected}, found {found}", .file.display())]
    Shape {
        /// Which.
        file: PathBuf,
        /// What an image encoder has.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// The caller's batch has another length than it says.
    #[error("a batch of {images} images takes {expected} values, not {found}")]
    Batch {
        /// Pictures.
        images: usize,
        /// Their values.
        expected: usize,
        /// Those given.
        found: usize,
    },
    /// Inference failed.
    #[error("the model {} failed on a batch of {images}: {message}", .file.display())]
    Run {
        /// Which.
        file: PathBuf,
        /// Pictures.
        images: usize,
        /// Why.
        message: String,
    },
}

/// Why there is no backend.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No library is known.
    #[error(
        "embedding provider {} needs the ONNX Runtime library, and none was found: set embedding.runtime or \
         {} to the path of libonnxruntime, or install the Python package {}, or use provider tract",
        .provider.name(), library::VARIABLE, package(*.provider)
    )]
    NoLibrary {
        /// As configured.
        provider: Provider,
    },
    /// A library is there and does not serve.
    #[error("can't load ONNX Runtime from {}: {message}", .path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The GPU cannot be used.
    #[error(
        "embedding provider cuda is not available with {}: {message}; it takes an NVIDIA driver, the CUDA and cuDNN \
         libraries where the loader finds them (LD_LIBRARY_PATH), and the library of the Python package \
         onnxruntime-gpu",
        .path.display()
    )]
    NoCuda {
        /// ONNX Runtime's library.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// Another backend was chosen before.
    #[error("this process computes embeddings with {running} already and can't change to {wanted}")]
    Started {
        /// What was chosen first.
        running: String,
        /// What was asked for.
        wanted: String,
    },
    /// The built-in backend does not start.
    #[error("can't start the built-in backend: {0}")]
    Tract(String),
}

fn package(provider: Provider) -> &'static str {
    if provider == Provider::Cuda { "onnxruntime-gpu" } else { "onnxruntime" }
}

/// Why vectors can't be had.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// A key of the configuration, or a file that it names, is wrong.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// What may be fetched is wrong.
    #[error(transparent)]
    Fetch(#[from] FetchConfigError),
    /// The runtime can't be had.
    #[error("embedding.provider: {0}")]
    Runtime(#[from] RuntimeError),
    /// The model can't be loaded or fails.
    #[error("embedding.model: {0}")]
    Model(#[from] ModelError),
    /// The model failed while it ran.
    #[error("embedding.model: {0}")]
    Encode(#[from] EncodeError),
    /// Something needs a model and none is configured.
    #[error("embedding.model is not set: name the ONNX file of an image encoder")]
    NoModel,
    /// No thread.
    #[error("can't start the encoder's thread: {0}")]
    Thread(std::io::Error),
    /// Vectors of unlike models are never compared.
    #[error(
        "the recorded vectors were made by the model {found}, this job's are made by {wanted}: vectors of different models can't be \
         compared; configure the same model and preprocessing, or leave embedding.recorded out"
    )]
    OtherModel {
        /// The model of the table.
        found: String,
        /// The job's.
        wanted: String,
    },
    /// A table of vectors can't be read.
    #[error("recorded vectors: {0}")]
    Table(#[from] PaneFileError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
