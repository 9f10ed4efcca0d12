//! Where files go: a folder or an object store, with the few operations that commits need.

use super::create_outcome::CreateOutcome;
use super::error::StorageError;
use super::local::{create_synced, file_path, publish_local, write_synced};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an operation is retried while the store fails. Errors that waiting can't fix are never
/// retried.
#[derive(Debug, Clone, Default)]
pub enum Patience {
    /// Not at all: for commands that only read, and where the caller tries again later anyway.
    #[default]
    Once,
    /// Not at all, and a slow answer counts as a failure: for the thread that polls a source, which
    /// must return to it soon.
    Hasty,
    /// About half a minute: a batch job should report a full disk soon.
    Briefly,
    /// Until the store is back: a job that follows a topic waits, and its source pauses. Once the
    /// flag is set, it gives up.
    UntilStopped(Arc<AtomicBool>),
}

/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long a bucket's client retries a request by itself.
const CLIENT_RETRY: Duration = Duration::from_secs(15);
/// How long [`Patience::Hasty`] waits for an answer.
const HASTY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long [`Patience::Briefly`] lasts.
const BRIEFLY: Duration = Duration::from_secs(25);
/// How long a job that was asked to stop keeps trying to commit.
const STOPPED_RETRY: Duration = Duration::from_secs(5);

/// A folder or bucket. All paths are relative to it. Calls block, and run on the given runtime.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The folder of a local output: object_store does not sync local files to disk, this crate
    /// does.
    local: Option<PathBuf>,
    url: String,
    runtime: tokio::runtime::Handle,
    patience: Patience,
    /// Operations that failed, over all clones.
    failures: Arc<AtomicU64>,
    /// Operations that are being retried now, over all clones.
    failing: Arc<AtomicU64>,
}

impl Storage {
    /// Any store, without retries.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, url: &str, runtime: tokio::runtime::Handle) -> Self {
        Self {
            store,
            prefix: Path::default(),
            local: None,
            url: url.to_owned(),
            runtime,
            patience: Patience::Once,
            failures: Arc::default(),
            failing: Arc::default(),
        }
    }

    /// The same store with another patience.
    #[must_use]
    pub fn with(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same store for a caller that must not wait long: no retries where they would be endless.
    #[must_use]
    pub fn hasty(&self) -> Self {
        match self.patience {
            Patience::UntilStopped(_) => self.with(Patience::Hasty),
            Patience::Once | Patience::Hasty | Patience::Briefly => self.clone(),
        }
    }

    /// Operations that have failed so far, including those whose retry succeeded.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Opens a folder (created if absent) or an object-store URL; credentials come from the
    /// environment, as the stores' own tools read them.
    ///
    /// # Errors
    /// When the URL is of no known store, or the folder can't be created.
    pub fn open(dir: &str, runtime: tokio::runtime::Handle) -> Result<Self, StorageError> {
        let bad = |message: String| StorageError::Url { url: dir.to_owned(), message };
        let plain = (!dir.contains("://")).then(|| PathBuf::from(dir));
        let local = plain.or_else(|| file_path(dir));
        if let Some(folder) = local {
            std::fs::create_dir_all(&folder).map_err(|e| bad(e.to_string()))?;
            let folder = folder.canonicalize().map_err(|e| bad(e.to_string()))?;
            let store = object_store::local::LocalFileSystem::new_with_prefix(&folder)
                .map_err(|e| bad(e.to_string()))?;
            let url =
                url::Url::from_directory_path(&folder).map_err(|()| bad("not an absolute path".into()))?;
            return Ok(Self { local: Some(folder), ..Self::over(Arc::new(store), url.as_str(), runtime) });
        }
        let url = url::Url::parse(dir).map_err(|e| bad(e.to_string()))?;
        let (store, prefix) = remote(&url).map_err(|e| bad(e.to_string()))?;
        let text = format!("{}/", url.as_str().trim_end_matches('/'));
        Ok(Self { prefix, ..Self::over(store, &text, runtime) })
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

    fn path(&self, path: &str) -> Path {
        Path::from(format!("{}/{path}", self.prefix))
    }

    /// Whether an operation has failed and is being retried right now.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) > 0
    }

    /// Tries an operation as long as [`Patience`] allows, with growing pauses.
    fn patiently<T>(&self, f: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let first = f();
        if !matches!(first, Err(StorageError::Io { .. })) {
            return first;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        if matches!(self.patience, Patience::Once | Patience::Hasty) {
            return first;
        }
        self.failing.fetch_add(1, Ordering::Relaxed);
        let done = self.retry(f);
        self.failing.fetch_sub(1, Ordering::Relaxed);
        done
    }

    /// The attempts after the first.
    fn retry<T>(&self, f: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let (began, mut stopped) = (Instant::now(), None);
        let mut pause = PAUSES.0;
        loop {
            let error = match f() {
                Err(e @ StorageError::Io { .. }) => e,
                done => return done,
            };
            match &self.patience {
                Patience::Once | Patience::Hasty => return Err(error),
                Patience::Briefly if began.elapsed() >= BRIEFLY => return Err(error),
                Patience::Briefly => {}
                Patience::UntilStopped(stop) => {
                    if stop.load(Ordering::Relaxed)
                        && stopped.get_or_insert_with(Instant::now).elapsed() >= STOPPED_RETRY
                    {
                        return Err(error);
                    }
                }
            }
            let (failing_for, again_in) = (began.elapsed().as_secs(), pause.as_millis() as u64);
            tracing::warn!(
                %error,
                failing_for_s = failing_for,
                again_in_ms = again_in,
                "storage failed, retrying"
            );
            self.pause(pause);
            self.failures.fetch_add(1, Ordering::Relaxed);
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Sleeps, but wakes up when asked to stop.
    fn pause(&self, pause: Duration) {
        let Patience::UntilStopped(stop) = &self.patience else { return std::thread::sleep(pause) };
        let (until, running) = (Instant::now() + pause, !stop.load(Ordering::Relaxed));
        while Instant::now() < until && !(running && stop.load(Ordering::Relaxed)) {
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
    }

    /// Waits for a store's answer.
    fn wait<T>(&self, f: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        if !matches!(self.patience, Patience::Hasty) {
            return self.runtime.block_on(f);
        }
        self.runtime.block_on(async {
            tokio::time::timeout(HASTY_TIMEOUT, f).await.unwrap_or_else(|_| {
                let source = format!("no answer within {} s", HASTY_TIMEOUT.as_secs()).into();
                Err(object_store::Error::Generic { store: "output", source })
            })
        })
    }

    fn run<T>(
        &self,
        action: &'static str,
        path: &str,
        f: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        self.wait(f).map_err(|e| StorageError::io(action, path, e))
    }

    /// Writes a file; it is on disk when this returns.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let bytes = bytes::Bytes::from(bytes);
        self.patiently(|| {
            if let Some(root) = &self.local {
                let to = root.join(path);
                return write_synced(&to, &bytes).map_err(|e| StorageError::io("write", path, e));
            }
            self.run("write", path, async {
                self.store.put(&self.path(path), PutPayload::from(bytes.clone())).await.map(drop)
            })
        })
    }

    /// Creates a file unless it exists; one winner among any number of writers.
    ///
    /// # Errors
    /// When the store refuses. After an error the file may nevertheless exist: read it back to
    /// know.
    pub fn create(&self, path: &str, bytes: Vec<u8>) -> Result<CreateOutcome, StorageError> {
        let bytes = bytes::Bytes::from(bytes);
        self.patiently(|| {
            if let Some(root) = &self.local {
                return create_synced(&root.join(path), &bytes)
                    .map_err(|e| StorageError::io("create", path, e));
            }
            let (at, payload) = (self.path(path), PutPayload::from(bytes.clone()));
            match self.wait(self.store.put_opts(&at, payload, PutOptions::from(PutMode::Create))) {
                Ok(_) => Ok(CreateOutcome::Created),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    Ok(CreateOutcome::Exists)
                }
                Err(e) => Err(StorageError::io("create", path, e)),
            }
        })
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn get(&self, path: &str) -> Result<Option<bytes::Bytes>, StorageError> {
        let at = self.path(path);
        self.patiently(|| {
            let got = self.wait(async { self.store.get(&at).await?.bytes().await });
            match got {
                Ok(b) => Ok(Some(b)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(StorageError::io("read", path, e)),
            }
        })
    }

    /// The size of a file in bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn size(&self, path: &str) -> Result<Option<u64>, StorageError> {
        let at = self.path(path);
        self.patiently(|| match self.wait(self.store.head(&at)) {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(StorageError::io("look at", path, e)),
        })
    }

    /// All files under a folder, sorted, relative to the root.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, StorageError> {
        let at = self.path(folder);
        let mut names: Vec<String> = self.patiently(|| {
            self.run("list", folder, async {
                self.store.list(Some(&at)).map_ok(|m| self.relative(&m.location)).try_collect().await
            })
        })?;
        names.sort();
        Ok(names)
    }

    fn relative(&self, path: &Path) -> String {
        let full = path.as_ref();
        full.strip_prefix(self.prefix.as_ref()).unwrap_or(full).trim_start_matches('/').to_owned()
    }

    /// Renames a staged file to its final name. Repeating this, as after a crash, does no harm.
    ///
    /// # Errors
    /// When the staged file and the final one are both missing, or the store refuses.
    pub fn publish(&self, staged: &str, to: &str) -> Result<(), StorageError> {
        self.patiently(|| match &self.local {
            Some(root) => publish_local(&root.join(staged), &root.join(to), to),
            None => self.publish_object(staged, to),
        })
    }

    fn publish_object(&self, staged: &str, to: &str) -> Result<(), StorageError> {
        let (from, to_path) = (self.path(staged), self.path(to));
        match self.wait(self.store.copy(&from, &to_path)) {
            Ok(()) => self.remove(staged),
            Err(object_store::Error::NotFound { .. }) => match self.wait(self.store.head(&to_path)) {
                Ok(_) => Ok(()),
                Err(object_store::Error::NotFound { .. }) => {
                    Err(StorageError::Missing { path: to.to_owned() })
                }
                Err(e) => Err(StorageError::io("publish", to, e)),
            },
            Err(e) => Err(StorageError::io("publish", to, e)),
        }
    }

    /// Deletes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn delete(&self, path: &str) -> Result<(), StorageError> {
        self.patiently(|| self.remove(path))
    }

    fn remove(&self, path: &str) -> Result<(), StorageError> {
        let at = self.path(path);
        match self.wait(self.store.delete(&at)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(StorageError::io("delete", path, e)),
        }
    }
}

/// Opens a bucket like `object_store::parse_url_opts`, but with few retries in the client itself:
/// [`Patience`] decides how long to wait for a store, and does not see the client's retries.
fn remote(url: &url::Url) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    use object_store::{BackoffConfig, ObjectStoreScheme, RetryConfig};
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: CLIENT_RETRY };
    macro_rules! open {
        ($builder:ty) => {{
            let builder = <$builder>::new().with_url(url.to_string()).with_retry(retry);
            // Variables of other programs are ignored.
            let builder =
                std::env::vars().fold(builder, |b, (name, value)| match name.to_ascii_lowercase().parse() {
                    Ok(key) => b.with_config(key, value),
                    Err(_) => b,
                });
            Arc::new(builder.build()?) as Arc<dyn ObjectStore>
        }};
    }
    let (scheme, path) = ObjectStoreScheme::parse(url)?;
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => open!(object_store::aws::AmazonS3Builder),
        ObjectStoreScheme::GoogleCloudStorage => open!(object_store::gcp::GoogleCloudStorageBuilder),
        ObjectStoreScheme::MicrosoftAzure => open!(object_store::azure::MicrosoftAzureBuilder),
        _ => Arc::from(object_store::parse_url_opts(url, std::env::vars())?.0),
    };
    Ok((store, Path::parse(path)?))
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
    fn one_creator_wins_and_the_other_learns_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        assert_eq!(s.create("c/e=1.json", b"a".to_vec()).unwrap(), CreateOutcome::Created);
        assert_eq!(s.create("c/e=1.json", b"b".to_vec()).unwrap(), CreateOutcome::Exists);
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

    #[test]
    fn retries_wait_for_the_store_and_a_hasty_caller_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        let s = s.with(Patience::UntilStopped(Arc::default()));
        // A file where a folder should be.
        std::fs::write(dir.path().join("a"), b"").unwrap();
        assert!(s.hasty().put("a/b", b"rows".to_vec()).is_err());
        assert_eq!((s.failures(), s.is_failing()), (1, false));
        std::thread::scope(|scope| {
            let put = scope.spawn(|| s.put("a/b", b"rows".to_vec()));
            while !s.is_failing() {
                std::thread::yield_now();
            }
            std::fs::remove_file(dir.path().join("a")).unwrap();
            put.join().unwrap().unwrap();
        });
        assert!(s.failures() > 1 && !s.is_failing());
        assert_eq!(&*s.get("a/b").unwrap().unwrap(), b"rows");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_error_that_waiting_can_not_fix_is_returned_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, s) = storage(dir.path());
        let s = s.with(Patience::UntilStopped(Arc::default()));
        let error = s.publish("_staged/x", "windows/x").unwrap_err();
        assert!(matches!(error, StorageError::Missing { .. }), "{error}");
    }
}
