//! Why a vector is not available: errors of the configuration, images, vector files, models and
//! backends.

use super::backend::Backend;
use super::library;
use crate::config::Provider;
use crate::store::StorageError;
use crate::store::panes::PaneFileError;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// An invalid setting.
#[derive(Debug, Clone, Error)]
#[error("{key} {message}")]
pub struct FetchConfigError {
    /// The setting's name.
    pub key: &'static str,
    /// What is wrong, and what to write. Never the value, which may contain a secret.
    pub message: String,
}

/// Why a fetch failed. Contains no part of the URI, which may have a token or a person's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum FetchError {
    /// Below neither the base nor an allowed prefix.
    #[error("not below embedding.base_uri or an entry of embedding.allow")]
    NotAllowed,
    /// Not a URI, or an ambiguous one.
    #[error("not a usable URI")]
    BadUri,
    /// Has a user or password before its host.
    #[error("the URI has a user or password in it")]
    Userinfo,
    /// Leaves its folder through `..`, a backslash, an encoded form of them, or a symlink.
    #[error("the path leads out of its folder")]
    PathTraversal,
    /// The host is, or resolves to, an address outside the public internet.
    #[error("the host's address is not a public one; embedding.allow_private would let it through")]
    PrivateAddress,
    /// The server redirects; redirects are never followed.
    #[error("the server answered with a redirect")]
    Redirect,
    /// Does not exist.
    #[error("not found")]
    NotFound,
    /// Access is denied.
    #[error("access denied")]
    Forbidden,
    /// A folder, pipe, device or socket.
    #[error("not a regular file")]
    NotAFile,
    /// More bytes than allowed.
    #[error("larger than the limit")]
    TooLarge,
    /// The range is empty or starts past the end.
    #[error("no bytes in the range asked for")]
    BadRange,
    /// An attempt took too long.
    #[error("timed out")]
    Timeout,
    /// No connection, or a broken one.
    #[error("can't be reached")]
    Unreachable,
    /// The server failed or is busy.
    #[error("the server is unavailable")]
    Unavailable,
    /// The server's response does not fit the request.
    #[error("the server's response does not fit the request")]
    BadResponse,
    /// Another failure of a local file or an object store.
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

    /// Whether a retry may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable | Self::Unavailable)
    }
}

/// Why a URI has no vector. Contains no part of the URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum RowError {
    /// The file can't be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The row isn't a number, isn't in the file, or is missing although the file has several.
    #[error("the file has no such row")]
    BadRow,
    /// Neither a `.npy` of floats nor a Parquet file with a list of floats named `vector` or
    /// `embedding`.
    #[error("not a file of vectors")]
    NotAVectorFile,
    /// Vectors have another length than the configured one.
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
    /// Not a known image format.
    #[error("not an image")]
    NotAnImage,
    /// An unsupported image format or variant.
    #[error("image format not supported")]
    UnsupportedFormat,
    /// Width or height is zero.
    #[error("image has no pixels")]
    NoPixels,
    /// Width times height is over the limit.
    #[error("image has too many pixels")]
    TooManyPixels,
    /// Truncated, damaged, or inconsistent with its header.
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

/// Why an image was not encoded.
#[derive(Debug, Clone, Error)]
pub enum EncodeError {
    /// The model failed.
    #[error(transparent)]
    Model(Arc<ModelError>),
    /// The encoder's thread has stopped.
    #[error("the encoder's thread stopped unexpectedly; see the panic message above")]
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

/// Why a backend is not available.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No library was found.
    #[error(
        "embedding provider {} needs the ONNX Runtime library, and none was found: set embedding.runtime or \
         {} to the path of libonnxruntime, or install the Python package {}, or use provider tract",
        .provider.name(), library::VARIABLE, package(*.provider)
    )]
    NoLibrary {
        /// As configured.
        provider: Provider,
    },
    /// The library can't be used.
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
    /// Another backend is running.
    #[error("this process already computes embeddings with {running} and can't change to {wanted}")]
    Started {
        /// What was chosen first.
        running: String,
        /// What was asked for.
        wanted: String,
    },
    /// The built-in backend can't start.
    #[error("can't start the built-in backend: {0}")]
    Tract(String),
}

fn package(provider: Provider) -> &'static str {
    if provider == Provider::Cuda { "onnxruntime-gpu" } else { "onnxruntime" }
}

/// Why vectors are not available.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// A configuration key, or the file that it names, is wrong.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what to write.
        message: String,
    },
    /// The settings of fetching are wrong.
    #[error(transparent)]
    Fetch(#[from] FetchConfigError),
    /// The backend is not available.
    #[error("embedding.provider: {0}")]
    Runtime(#[from] RuntimeError),
    /// The model can't be loaded or fails.
    #[error("embedding.model: {0}")]
    Model(#[from] ModelError),
    /// The model failed while it ran.
    #[error("embedding.model: {0}")]
    Encode(#[from] EncodeError),
    /// A model is needed and none is configured.
    #[error("embedding.model is not set; set it to the ONNX file of an image encoder")]
    NoModel,
    /// The system can't start a thread.
    #[error("can't start the encoder's thread: {0}")]
    Thread(std::io::Error),
    /// Vectors of different models can't be compared.
    #[error(
        "the recorded vectors are from model {found}, this job's are from {wanted}: vectors of different models can't be \
         compared; configure the same model and preprocessing, or remove embedding.recorded"
    )]
    OtherModel {
        /// The model of the table.
        found: String,
        /// The job's.
        wanted: String,
    },
    /// The table of recorded vectors can't be read.
    #[error("recorded vectors: {0}")]
    Table(#[from] PaneFileError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
