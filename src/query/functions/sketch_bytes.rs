//! Sketches from the bytes of a column.

use crate::sketch::{Body, Sketch};
use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;

/// Decodes a sketch.
///
/// # Errors
/// When the bytes are no sketch.
pub(super) fn decode(bytes: &[u8]) -> Result<Sketch, DataFusionError> {
    Sketch::decode(bytes).map_err(|e| exec_datafusion_err!("{e}"))
}

/// Whether a sketch is a volume's, which counts events and has no outcome: it has no mean, and
/// nothing to test.
pub(super) fn is_volume(sketch: &Sketch) -> bool {
    matches!(&sketch.body, Body::Rate(r) if r.is_volume())
}
