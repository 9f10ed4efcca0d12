//! Commits: a chain of manifests, each created if absent. Whoever creates the next epoch owns the
//! chain; for every other process the next commit fails.

pub use super::epoch::Epoch;
pub use super::error::ChainError;

use super::create_outcome::CreateOutcome;
use super::storage::Storage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One manifest: who wrote it and, unless it is a claim, what was committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest<T> {
    writer: String,
    /// The newest epoch with a commit, at or before this one.
    last_commit: Option<Epoch>,
    /// What was committed; none in a claim.
    pub commit: Option<T>,
}

/// A chain that this process owns.
#[derive(Debug)]
pub struct Chain {
    storage: Storage,
    folder: String,
    writer: String,
    head: Epoch,
    /// Bytes of the manifest at the head.
    head_size: u64,
    last_commit: Option<Epoch>,
}

fn path(folder: &str, epoch: Epoch) -> String {
    format!("{folder}/epoch={:012}.json", epoch.0)
}

fn epoch_of(path: &str) -> Option<Epoch> {
    path.rsplit_once("epoch=")?.1.strip_suffix(".json")?.parse().ok().map(Epoch)
}

fn read_manifest<T: DeserializeOwned>(
    storage: &Storage,
    folder: &str,
    epoch: Epoch,
) -> Result<Option<Manifest<T>>, ChainError> {
    let path = path(folder, epoch);
    let Some(bytes) = storage.get(&path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| ChainError::Damaged { path, message: e.to_string() })
}

/// Reads one commit of a chain that this process need not own; `None` where the epoch is absent,
/// `Some(None)` where it is a claim.
///
/// # Errors
/// When the storage fails or the manifest is damaged.
pub fn read_commit<T: DeserializeOwned>(
    storage: &Storage,
    folder: &str,
    epoch: Epoch,
) -> Result<Option<Option<T>>, ChainError> {
    Ok(read_manifest::<T>(storage, folder, epoch)?.map(|l| l.commit))
}

/// Whether an epoch was written.
///
/// # Errors
/// When the storage fails.
pub fn exists(storage: &Storage, folder: &str, epoch: Epoch) -> Result<bool, ChainError> {
    Ok(storage.size(&path(folder, epoch))?.is_some())
}

/// The newest epoch of a chain.
///
/// # Errors
/// When the storage fails.
pub fn head(storage: &Storage, folder: &str) -> Result<Option<Epoch>, ChainError> {
    Ok(storage.list(folder)?.iter().filter_map(|p| epoch_of(p)).max())
}

/// The newest commit of a chain that this process need not own, and its epoch.
///
/// # Errors
/// When the storage fails or the manifest is damaged.
pub fn newest<T: DeserializeOwned>(
    storage: &Storage,
    folder: &str,
) -> Result<Option<(Epoch, T)>, ChainError> {
    let Some(head) = head(storage, folder)? else { return Ok(None) };
    let last = read_manifest::<serde_json::Value>(storage, folder, head)?;
    let last = last.and_then(|l| if l.commit.is_some() { Some(head) } else { l.last_commit });
    let Some(epoch) = last else { return Ok(None) };
    let commit = read_manifest::<T>(storage, folder, epoch)?.and_then(|l| l.commit);
    Ok(commit.map(|c| (epoch, c)))
}

impl Chain {
    /// Continues through another handle of the same store.
    pub fn set_storage(&mut self, storage: &Storage) {
        self.storage = storage.clone();
    }

    /// Takes the chain over: creates the next epoch as an empty claim, then reads the newest
    /// commit.
    ///
    /// # Errors
    /// When the storage fails or a manifest is damaged; [`ChainError::Lost`] when another process
    /// took the chain meanwhile.
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
                    let manifest = read_manifest::<serde_json::Value>(storage, folder, e)?;
                    manifest.and_then(|l| if l.commit.is_some() { Some(e) } else { l.last_commit })
                }
            };
            let next = Epoch(at.map_or(1, |e| e.0 + 1));
            let claim = Manifest::<T> { writer: writer.to_owned(), last_commit, commit: None };
            let mut chain = Self {
                storage: storage.clone(),
                folder: folder.to_owned(),
                writer: writer.to_owned(),
                head: next,
                head_size: 0,
                last_commit,
            };
            let (created, size) = chain.create(next, &claim)?;
            if created == CreateOutcome::Exists {
                at = Some(next);
                continue;
            }
            chain.head_size = size;
            // A process that slept since it listed the chain may have created an epoch that others
            // used and a sweep removed.
            chain.check()?;
            let commit = match last_commit {
                None => None,
                Some(e) => match read_manifest::<T>(storage, folder, e)?.and_then(|l| l.commit) {
                    Some(commit) => Some(commit),
                    None => {
                        chain.check()?;
                        let message = "the newest commit is missing".to_owned();
                        return Err(ChainError::Damaged { path: path(folder, e), message });
                    }
                },
            };
            return Ok((chain, commit));
        }
    }

    /// Fails if another process owns the chain by now.
    ///
    /// # Errors
    /// [`ChainError::Lost`], or when the storage fails.
    pub fn check(&self) -> Result<(), ChainError> {
        match head(&self.storage, &self.folder)? {
            Some(epoch) if epoch == self.head => Ok(()),
            newer => Err(self.lost(newer.unwrap_or(self.head))),
        }
    }

    /// The error to report where a file was missing. If the chain was lost, it is that: a later
    /// owner removes files that it no longer needs.
    pub fn or_lost<E: From<ChainError>>(&self, error: E) -> E {
        match self.check() {
            Err(lost @ ChainError::Lost { .. }) => lost.into(),
            _ => error,
        }
    }

    fn lost(&self, epoch: Epoch) -> ChainError {
        ChainError::Lost { chain: self.folder.clone(), epoch }
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

    /// Commits. Once this returns, the commit holds.
    ///
    /// # Errors
    /// [`ChainError::Lost`] when another process has taken the epoch.
    pub fn commit<T: Serialize + DeserializeOwned>(&mut self, commit: T) -> Result<Epoch, ChainError> {
        let epoch = self.next();
        let manifest =
            Manifest { writer: self.writer.clone(), last_commit: Some(epoch), commit: Some(commit) };
        let (created, size) = self.create(epoch, &manifest)?;
        if created == CreateOutcome::Exists {
            return Err(self.lost(epoch));
        }
        // A process that slept for long may find its next epoch free because others used it and a
        // sweep removed it since. A sweep goes upwards, so it removed the manifest before it too.
        if self.storage.size(&path(&self.folder, self.head))? != Some(self.head_size) {
            return Err(self.lost(epoch));
        }
        (self.head, self.head_size, self.last_commit) = (epoch, size, Some(epoch));
        Ok(epoch)
    }

    /// Creates a manifest; also returns its size in bytes.
    fn create<T: Serialize + DeserializeOwned>(
        &self,
        epoch: Epoch,
        manifest: &Manifest<T>,
    ) -> Result<(CreateOutcome, u64), ChainError> {
        let at = path(&self.folder, epoch);
        let bytes = serde_json::to_vec(manifest)
            .map_err(|e| ChainError::Damaged { path: at.clone(), message: e.to_string() })?;
        let size = bytes.len() as u64;
        let created = self.storage.create(&at, bytes)?;
        if created == CreateOutcome::Exists {
            // An attempt that seemed to fail may have succeeded: the writer's name shows it.
            let mine = read_manifest::<serde_json::Value>(&self.storage, &self.folder, epoch)?
                .is_some_and(|l| l.writer == manifest.writer);
            if mine {
                return Ok((CreateOutcome::Created, size));
            }
        }
        Ok((created, size))
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
    fn a_new_owner_continues_from_the_last_commit_and_the_old_one_is_fenced() {
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
        assert_eq!(newest::<u32>(&s, "c").unwrap(), Some((Epoch(3), 11)));
        assert_eq!(newest::<u32>(&s, "d").unwrap(), None);
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

    #[test]
    fn an_epoch_that_a_sweep_removed_gives_nobody_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        let (mut sleeper, _) = Chain::claim::<u32>(&s, "c", "sleeper").unwrap();
        sleeper.commit(10u32).unwrap();
        let (mut awake, _) = Chain::claim::<u32>(&s, "c", "awake").unwrap();
        for n in 11..20u32 {
            awake.commit(n).unwrap();
        }
        for epoch in 1..10 {
            s.delete(&path("c", Epoch(epoch))).unwrap();
        }
        assert!(matches!(sleeper.commit(11u32), Err(ChainError::Lost { .. })), "its next number was free");
        assert_eq!(Chain::claim::<u32>(&s, "c", "c").unwrap().1, Some(19), "and changed nothing");
    }

    #[test]
    fn an_owner_without_its_newest_commit_does_not_start_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        let (mut a, _) = Chain::claim::<u32>(&s, "c", "a").unwrap();
        a.commit(10u32).unwrap();
        Chain::claim::<u32>(&s, "c", "b").unwrap();
        s.delete(&path("c", Epoch(2))).unwrap();
        let error = Chain::claim::<u32>(&s, "c", "c").unwrap_err().to_string();
        assert!(error.contains("the newest commit is missing"), "{error}");
    }
}
