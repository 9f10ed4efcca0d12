//! Reads a local file from an untrusted path.

use super::error::FetchError;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Reads a regular file, or a range of it, if it is below one of `folders` after resolving
/// symlinks. Blocks.
///
/// The check happens before opening: someone who can replace folders with symlinks in between can
/// bypass it.
pub(super) fn read(
    path: &Path,
    folders: &[PathBuf],
    range: Option<Range<u64>>,
    limit: u64,
) -> Result<Bytes, FetchError> {
    let real = path.canonicalize().map_err(|e| reason(&e))?;
    if !folders.iter().any(|f| real.starts_with(f)) {
        return Err(FetchError::PathTraversal);
    }
    // Before opening: opening a pipe blocks, and opening a device may have side effects.
    let found = real.symlink_metadata().map_err(|e| reason(&e))?;
    if !found.is_file() {
        return Err(FetchError::NotAFile);
    }
    let (start, want) = match range {
        Some(r) if r.start >= found.len() => return Err(FetchError::BadRange),
        Some(r) => (r.start, (r.end - r.start).min(found.len() - r.start)),
        None if found.len() > limit => return Err(FetchError::TooLarge),
        None => (0, found.len()),
    };
    let mut file = File::open(&real).map_err(|e| reason(&e))?;
    if !file.metadata().map_err(|e| reason(&e))?.is_file() {
        return Err(FetchError::NotAFile);
    }
    file.seek(SeekFrom::Start(start)).map_err(|e| reason(&e))?;
    let mut out = Vec::new();
    // Of a growing file, reads only the size that was checked.
    file.take(want).read_to_end(&mut out).map_err(|e| reason(&e))?;
    Ok(Bytes::from(out))
}

fn reason(e: &io::Error) -> FetchError {
    match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => FetchError::NotFound,
        ErrorKind::PermissionDenied => FetchError::Forbidden,
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => FetchError::BadUri,
        _ => FetchError::Failed,
    }
}
