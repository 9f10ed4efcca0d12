//! Files of a local output: complete or absent, and on disk when a call returns. object_store does
//! not sync its local files.

use super::create_outcome::CreateOutcome;
use super::error::StorageError;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The path that a `file://` URL names, with escapes decoded; `None` where the text is no such URL.
#[must_use]
pub fn file_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").filter(|r| r.starts_with('/')).unwrap_or(rest);
    let digit = |b: u8| (b as char).to_digit(16);
    let mut path = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let [first, more @ ..] = left {
        let escaped = match left {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                path.push((high * 16 + low) as u8);
                left = &left[3..];
            }
            None => {
                path.push(*first);
                left = more;
            }
        }
    }
    Some(OsString::from_vec(path).into())
}

/// A temporary name beside the final one, different from every other writer's.
fn temporary_name(to: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = to.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    to.with_file_name(format!(".{name}.{}-{n}.tmp", std::process::id()))
}

fn stage(to: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = temporary_name(to);
    let written = std::fs::File::create(&temporary).and_then(|mut f| {
        f.write_all(bytes)?;
        f.sync_all()
    });
    match written {
        Ok(()) => Ok(temporary),
        Err(e) => {
            // On a full disk, a half-written file would take the space that a retry needs.
            let _ = std::fs::remove_file(&temporary);
            Err(e)
        }
    }
}

pub(super) fn write_synced(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = stage(to, bytes)?;
    std::fs::rename(&temporary, to)?;
    sync_folder(to)
}

pub(super) fn create_synced(to: &Path, bytes: &[u8]) -> std::io::Result<CreateOutcome> {
    let temporary = stage(to, bytes)?;
    // A hard link fails where the name is taken: the file appears complete, and once.
    let linked = std::fs::hard_link(&temporary, to);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => sync_folder(to).map(|()| CreateOutcome::Created),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(CreateOutcome::Exists),
        Err(e) => Err(e),
    }
}

pub(super) fn publish_local(from: &Path, to: &Path, name: &str) -> Result<(), StorageError> {
    if !from.exists() {
        let missing = || StorageError::Missing { path: name.to_owned() };
        return if to.exists() { Ok(()) } else { Err(missing()) };
    }
    let renamed =
        to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::rename(from, to));
    renamed.and_then(|()| sync_folder(to)).map_err(|e| StorageError::io("publish", name, e))
}

fn sync_folder(file: &Path) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_urls_are_decoded() {
        let path = |url: &str| file_path(url).map(|p| p.display().to_string());
        assert_eq!(path("file:///a%20b/%C3%BC.jsonl").unwrap(), "/a b/ü.jsonl");
        assert_eq!(path("file://localhost/a").unwrap(), "/a");
        assert_eq!(path("file:///100%.jsonl").unwrap(), "/100%.jsonl", "no escape");
        assert_eq!(path("file:///a b").unwrap(), "/a b");
        assert_eq!(path("s3://a/b"), None);
    }
}
