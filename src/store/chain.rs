//! Commits: a chain of manifests, each created if absent. Whoever creates the next epoch owns the chain; everybody else is told.

use super::storage::{Created, Storage, StorageError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The number of a manifest in its chain, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a chain can't be continued.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another owner has taken the chain.
    #[error("{chain} was taken over by another process at epoch {epoch}; this one stops writing to it")]
    Lost {
        /// The chain's folder.
        chain: String,
        /// The epoch it took.
        epoch: Epoch,
    },
    /// A manifest is damaged.
    #[error("{path} is damaged: {message}")]
    Damaged {
        /// The manifest.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// One link: who wrote it and, unless it is a claim, what was committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Link<T> {
    writer: String,
    /// The newest epoch with a commit, at or before this one.
    last_commit: Option<Epoch>,
    commit: Option<T>,
}

/// A chain that this process owns.
#[derive(Debug)]
pub struct Chain {
    storage: Storage,
    folder: String,
    writer: String,
    head: Epoch,
    last_commit: Option<Epoch>,
}

fn path(folder: &str, epoch: Epoch) -> String {
    format!("{folder}/epoch={:012}.json", epoch.0)
}

fn epoch_of(path: &str) -> Option<Epoch> {
    path.rsplit_once("epoch=")?.1.strip_suffix(".json")?.parse().ok().map(Epoch)
}

fn read_link<T: DeserializeOwned>(
    storage: &Storage,
    folder: &str,
    epoch: Epoch,
) -> Result<Option<Link<T>>, ChainError> {
    let path = path(folder, epoch);
    let Some(bytes) = storage.retry(|s| s.get(&path))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| ChainError::Damaged { path, message: e.to_string() })
}

/// Reads one commit of a chain that this process need not own; `None` where the epoch is absent, `Some(None)` where it is a claim.
///
/// # Errors
/// When the storage fails or the manifest is damaged.
pub fn read_commit<T: DeserializeOwned>(
    storage: &Storage,
    folder: &str,
    epoch: Epoch,
) -> Result<Option<Option<T>>, ChainError> {
    Ok(read_link::<T>(storage, folder, epoch)?.map(|l| l.commit))
}

/// The newest epoch of a chain.
///
/// # Errors
/// When the storage fails.
pub fn head(storage: &Storage, folder: &str) -> Result<Option<Epoch>, ChainError> {
    Ok(storage.retry(|s| s.list(folder))?.iter().filter_map(|p| epoch_of(p)).max())
}

impl Chain {
    /// Takes the chain over: creates the next epoch as an empty claim, then reads the newest commit.
    ///
    /// # Errors
    /// When the storage fails or a manifest is damaged.
    pub fn claim<T: Serialize + DeserializeOwned>(
        storage: &Storage,
        folder: &str,
        writer: &str,
    ) -> Result<(Self, Option<T>), ChainError> {
        let mut at = head(storage, folder)?;
        loop {
            let last_commit = match at {
                None => None,
                Some(e) => {
                    let link = read_link::<serde_json::Value>(storage, folder, e)?;
                    link.and_then(|l| if l.commit.is_some() { Some(e) } else { l.last_commit })
                }
            };
            let next = Epoch(at.map_or(1, |e| e.0 + 1));
            let claim = Link::<T> { writer: writer.to_owned(), last_commit, commit: None };
            let mut chain = Self {
                storage: storage.clone(),
                folder: folder.to_owned(),
                writer: writer.to_owned(),
                head: next,
                last_commit,
            };
            match chain.create(next, &claim)? {
                Created::Yes => {
                    let commit = match last_commit {
                        None => None,
                        Some(e) => read_link::<T>(storage, folder, e)?.and_then(|l| l.commit),
                    };
                    chain.head = next;
                    return Ok((chain, commit));
                }
                Created::Exists => at = Some(next),
            }
        }
    }

    /// The newest epoch that this process wrote.
    #[must_use]
    pub fn head(&self) -> Epoch {
        self.head
    }

    /// The newest commit.
    #[must_use]
    pub fn last_commit(&self) -> Option<Epoch> {
        self.last_commit
    }

    /// The epoch that the next commit will have.
    #[must_use]
    pub fn next(&self) -> Epoch {
        Epoch(self.head.0 + 1)
    }

    /// Commits. When this returns, it holds.
    ///
    /// # Errors
    /// [`ChainError::Lost`] when another process has taken the epoch.
    pub fn commit<T: Serialize + DeserializeOwned>(&mut self, commit: T) -> Result<Epoch, ChainError> {
        let epoch = self.next();
        let link = Link { writer: self.writer.clone(), last_commit: Some(epoch), commit: Some(commit) };
        match self.create(epoch, &link)? {
            Created::Yes => {
                self.head = epoch;
                self.last_commit = Some(epoch);
                Ok(epoch)
            }
            Created::Exists => Err(ChainError::Lost { chain: self.folder.clone(), epoch }),
        }
    }

    fn create<T: Serialize + DeserializeOwned>(
        &self,
        epoch: Epoch,
        link: &Link<T>,
    ) -> Result<Created, ChainError> {
        let at = path(&self.folder, epoch);
        let bytes = serde_json::to_vec(link)
            .map_err(|e| ChainError::Damaged { path: at.clone(), message: e.to_string() })?;
        let created = self.storage.retry(|s| s.create(&at, bytes.clone()))?;
        if created == Created::Exists {
            // An attempt that seemed to fail may have succeeded: the writer's name tells.
            let mine = read_link::<serde_json::Value>(&self.storage, &self.folder, epoch)?
                .is_some_and(|l| l.writer == link.writer);
            if mine {
                return Ok(Created::Yes);
            }
        }
        Ok(created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(dir: &std::path::Path) -> (tokio::runtime::Runtime, Storage) {
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let s = Storage::open(dir.to_str().unwrap(), rt.handle().clone()).unwrap();
        (rt, s)
    }

    #[test]
    fn a_new_owner_goes_on_from_the_last_commit_and_the_old_one_is_fenced() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        let (mut a, none) = Chain::claim::<u32>(&s, "c", "a").unwrap();
        assert_eq!(none, None);
        a.commit(10u32).unwrap();
        a.commit(11u32).unwrap();
        let (mut b, last) = Chain::claim::<u32>(&s, "c", "b").unwrap();
        assert_eq!(last, Some(11));
        assert!(matches!(a.commit(12u32), Err(ChainError::Lost { .. })));
        let (_c, last) = Chain::claim::<u32>(&s, "c", "c").unwrap();
        assert_eq!(last, Some(11), "through two claims in a row");
        assert!(matches!(b.commit(13u32), Err(ChainError::Lost { .. })));
        assert_eq!(read_commit::<u32>(&s, "c", Epoch(2)).unwrap(), Some(Some(10)));
        assert_eq!(read_commit::<u32>(&s, "c", Epoch(1)).unwrap(), Some(None), "a claim");
        assert_eq!(read_commit::<u32>(&s, "c", Epoch(99)).unwrap(), None);
    }

    #[test]
    fn a_damaged_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        s.put("c/epoch=000000000001.json", b"{".to_vec()).unwrap();
        let e = Chain::claim::<u32>(&s, "c", "a").unwrap_err().to_string();
        assert!(e.contains("epoch=000000000001.json is damaged"), "{e}");
    }
}
