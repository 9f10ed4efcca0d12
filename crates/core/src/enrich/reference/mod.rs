//! References: the fixed projection that vectors pass before they enter sums, and the content clusters behind it.

mod file;
mod fit;
mod projection;

pub use file::FileError;
pub use fit::FitError;
pub use projection::{MAX_CLUSTERS, MAX_COMPONENTS, MAX_DIMENSION, Method, Reference, ReferenceInfo};
