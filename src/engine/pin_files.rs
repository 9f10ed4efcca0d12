//! The files of pinned baselines and of accepts, as they lie in an output.

use super::error::{EvaluationError, PinError};
use crate::baseline::{Accept, PinnedHours};
use crate::store::{Storage, StorageError};

/// The folder of pins.
pub const PINS: &str = "_baselines";

/// The folder of accepts.
pub const ACCEPTS: &str = "_accepts";

/// What is known of a pin in addition to its rows.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct PinInfo {
    /// First hour, microseconds.
    pub from: i64,
    /// End, microseconds.
    pub to: i64,
    /// Hours with data.
    pub hours: u32,
    /// Days with data.
    pub days: u16,
    /// The same of each block of the day; empty where the rows are not split by blocks, as in pins of
    /// earlier builds.
    #[serde(default)]
    pub blocks: Vec<PinnedHours>,
}

/// The names of all pins.
///
/// # Errors
/// When they can't be listed.
pub fn names(storage: &Storage) -> Result<Vec<String>, StorageError> {
    let name = |path: String| Some(path.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
    Ok(storage.list(PINS)?.into_iter().filter_map(name).collect())
}

/// All pins by name, without their rows.
///
/// # Errors
/// When one can't be read.
pub fn pins(storage: &Storage) -> Result<Vec<(String, PinInfo)>, PinError> {
    let mut out = Vec::new();
    for path in storage.list(PINS)? {
        let Some(name) = path.rsplit('/').next().and_then(|n| n.strip_suffix(".json")) else { continue };
        let Some(bytes) = storage.get(&path)? else { continue };
        let info =
            serde_json::from_slice(&bytes).map_err(|e| EvaluationError::History(format!("{path}: {e}")))?;
        out.push((name.to_owned(), info));
    }
    Ok(out)
}

/// All accepts, by time.
///
/// # Errors
/// When one can't be read.
pub fn accepts(storage: &Storage) -> Result<Vec<Accept>, PinError> {
    let mut out = Vec::new();
    for path in storage.list(ACCEPTS)? {
        let Some(bytes) = storage.get(&path)? else { continue };
        out.push(
            serde_json::from_slice(&bytes).map_err(|e| EvaluationError::History(format!("{path}: {e}")))?,
        );
    }
    Ok(out)
}
