//! References: the fixed projection of vectors before they are summed, and the content clusters
//! after it.

mod file;
mod fit;
mod projection;

pub use file::FileError;
pub use fit::{DEFAULT_CLUSTERS, FitError};
pub use projection::{MAX_CLUSTERS, MAX_COMPONENTS, MAX_DIMENSION, Method, Reference, ReferenceInfo};
