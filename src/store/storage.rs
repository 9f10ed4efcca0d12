//! Where files go: a folder or an object store, with the few operations that commits need.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The output's URL means no store.
    #[error("can't use {url} as output: {message}")]
    Url {
        /// As configured.
        url: String,
        /// Why.
        message: String,
    },
    /// An operation failed.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What came of creating a file that must not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there, and this call made it.
    Yes,
    /// Somebody else's is there.
    Exists,
}

/// A folder or bucket. All paths are relative to it. Calls block; they run on the runtime that it was given.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The folder, where it is a local one: object_store's local files are not synced to disk, ours are.
    local: Option<PathBuf>,
    url: String,
    runtime: tokio::runtime::Handle,
}

impl Storage {
    /// Opens a folder (made if absent) or an object-store URL; credentials come from the environment, as the stores' own tools
    /// read them.
    ///
    /// # Errors
    /// When the URL is of no known store, or the folder can't be made.
    pub fn open(dir: &str, runtime: tokio::runtime::Handle) -> Result<Self, StorageError> {
        let bad = |message: String| StorageError::Url { url: dir.to_owned(), message };
        let local = match dir.split_once("://") {
            None => Some(PathBuf::from(dir)),
            Some(("file", path)) => Some(PathBuf::from(path)),
            Some(_) => None,
        };
        if let Some(folder) = local {
            std::fs::create_dir_all(&folder).map_err(|e| bad(e.to_string()))?;
            let folder = folder.canonicalize().map_err(|e| bad(e.to_string()))?;
            let store = object_store::local::LocalFileSystem::new_with_prefix(&folder)
                .map_err(|e| bad(e.to_string()))?;
            let url =
                url::Url::from_directory_path(&folder).map_err(|()| bad("not an absolute path".into()))?;
            return Ok(Self {
                store: Arc::new(store),
                prefix: Path::default(),
                local: Some(folder),
                url: url.to_string(),
                runtime,
            });
        }
        let url = url::Url::parse(dir).map_err(|e| bad(e.to_string()))?;
        let (store, prefix) =
            object_store::parse_url_opts(&url, std::env::vars()).map_err(|e| bad(e.to_string()))?;
        let text = format!("{}/", url.as_str().trim_end_matches('/'));
        Ok(Self { store: Arc::from(store), prefix, local: None, url: text, runtime })
    }

    /// The URL of the root, with a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The runtime that calls run on.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// The object store behind it, for readers such as DataFusion.
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    fn path(&self, path: &str) -> Path {
        Path::from(format!("{}/{path}", self.prefix))
    }

    fn run<T>(
        &self,
        action: &'static str,
        path: &str,
        f: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        self.runtime.block_on(f).map_err(|e| io(action, path, e))
    }

    /// Writes a file; it is on disk when this returns.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        if let Some(root) = &self.local {
            let to = root.join(path);
            return write_synced(&to, &bytes).map_err(|e| io("write", path, e));
        }
        self.run("write", path, async {
            self.store.put(&self.path(path), PutPayload::from(bytes)).await.map(drop)
        })
    }

    /// Creates a file unless it exists; one winner among any number of writers.
    ///
    /// # Errors
    /// When the store refuses. After an error the file may nevertheless exist: read it back before concluding anything.
    pub fn create(&self, path: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        if let Some(root) = &self.local {
            return create_synced(&root.join(path), &bytes).map_err(|e| io("create", path, e));
        }
        let options = PutOptions::from(PutMode::Create);
        let done =
            self.runtime.block_on(self.store.put_opts(&self.path(path), PutPayload::from(bytes), options));
        match done {
            Ok(_) => Ok(Created::Yes),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Created::Exists)
            }
            Err(e) => Err(io("create", path, e)),
        }
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn get(&self, path: &str) -> Result<Option<bytes::Bytes>, StorageError> {
        let at = self.path(path);
        let got = self.runtime.block_on(async { self.store.get(&at).await?.bytes().await });
        match got {
            Ok(b) => Ok(Some(b)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(io("read", path, e)),
        }
    }

    /// All files under a folder, sorted, relative to the root.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, StorageError> {
        let at = self.path(folder);
        let mut names: Vec<String> = self.run("list", folder, async {
            self.store.list(Some(&at)).map_ok(|m| self.relative(&m.location)).try_collect().await
        })?;
        names.sort();
        Ok(names)
    }

    fn relative(&self, path: &Path) -> String {
        let full = path.as_ref();
        full.strip_prefix(self.prefix.as_ref()).unwrap_or(full).trim_start_matches('/').to_owned()
    }

    /// Gives a staged file its final name. Done already is done: after a crash this is repeated.
    ///
    /// # Errors
    /// When the staged file and the final one are both missing, or the store refuses.
    pub fn publish(&self, staged: &str, to: &str) -> Result<(), StorageError> {
        if let Some(root) = &self.local {
            let (from, to_path) = (root.join(staged), root.join(to));
            if !from.exists() && to_path.exists() {
                return Ok(());
            }
            let renamed = to_path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::rename(&from, &to_path));
            return renamed.and_then(|()| sync_folder(&to_path)).map_err(|e| io("publish", to, e));
        }
        let (from, to_path) = (self.path(staged), self.path(to));
        let copied = self.runtime.block_on(self.store.copy(&from, &to_path));
        match copied {
            Ok(()) => self.delete(staged),
            Err(object_store::Error::NotFound { .. }) => {
                self.run("publish", to, async { self.store.head(&to_path).await.map(drop) })
            }
            Err(e) => Err(io("publish", to, e)),
        }
    }

    /// Deletes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn delete(&self, path: &str) -> Result<(), StorageError> {
        let at = self.path(path);
        match self.runtime.block_on(self.store.delete(&at)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(io("delete", path, e)),
        }
    }

    /// Tries an operation again while it fails, with growing pauses, up to a total of about half a minute.
    ///
    /// # Errors
    /// The last error.
    pub fn retry<T>(&self, mut f: impl FnMut(&Self) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut pause = Duration::from_millis(200);
        loop {
            match f(self) {
                Err(e) if pause < Duration::from_secs(16) => {
                    tracing::warn!(error = %e, again_in_ms = pause.as_millis() as u64, "storage failed, trying again");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                done => return done,
            }
        }
    }
}

fn io(
    action: &'static str,
    path: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StorageError {
    StorageError::Io { action, path: path.to_owned(), source: source.into() }
}

/// A temporary name beside the final one, unlike any other writer's.
fn beside(to: &std::path::Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = to.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    to.with_file_name(format!(".{name}.{}-{n}.tmp", std::process::id()))
}

fn stage(to: &std::path::Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = beside(to);
    let mut f = std::fs::File::create(&temporary)?;
    f.write_all(bytes)?;
    f.sync_all()?;
    Ok(temporary)
}

fn write_synced(to: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = stage(to, bytes)?;
    std::fs::rename(&temporary, to)?;
    sync_folder(to)
}

fn create_synced(to: &std::path::Path, bytes: &[u8]) -> std::io::Result<Created> {
    let temporary = stage(to, bytes)?;
    // A hard link fails where the name is taken: the file appears whole, and once.
    let linked = std::fs::hard_link(&temporary, to);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => sync_folder(to).map(|()| Created::Yes),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(Created::Exists),
        Err(e) => Err(e),
    }
}

fn sync_folder(file: &std::path::Path) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
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
    fn one_creator_wins_and_the_other_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        assert_eq!(s.create("c/e=1.json", b"a".to_vec()).unwrap(), Created::Yes);
        assert_eq!(s.create("c/e=1.json", b"b".to_vec()).unwrap(), Created::Exists);
        assert_eq!(&*s.get("c/e=1.json").unwrap().unwrap(), b"a");
        assert_eq!(s.list("c").unwrap(), ["c/e=1.json"], "no temporary file is left");
        assert_eq!(s.get("c/e=2.json").unwrap(), None);
    }

    #[test]
    fn publishing_twice_is_publishing_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        s.put("_staged/x", b"rows".to_vec()).unwrap();
        s.publish("_staged/x", "windows/date=2026-01-01/x").unwrap();
        s.publish("_staged/x", "windows/date=2026-01-01/x").unwrap();
        assert_eq!(s.list("").unwrap(), ["windows/date=2026-01-01/x"]);
        assert!(s.publish("_staged/y", "windows/y").is_err());
        s.delete("windows/date=2026-01-01/x").unwrap();
        s.delete("windows/date=2026-01-01/x").unwrap();
    }
}
