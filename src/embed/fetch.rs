//! Fetches the bytes behind a URI that a stranger wrote, from where the operator allows and nowhere else.

use super::address::is_public;
pub use super::error::{FetchConfigError, FetchError};
use super::fetch_http::{Http, Lookup, system_lookup};
use super::fetch_local;
use super::fetch_store::Stores;
use super::uri::{Place, Roots, literal_address};
use bytes::Bytes;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The wait before the first retry; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Where the doubling stops.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What may be fetched, and how long and how large it may be.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// What relative URIs stand on: a folder, `file://`, `s3://`, `gs://`, `az://`, `abfs[s]://`, `http://` or `https://`. Everything
    /// below it is allowed.
    pub base_uri: Option<String>,
    /// Prefixes of further URIs; each covers whole path segments of one scheme, host and port. Empty: nothing but the base.
    pub allow: Vec<String>,
    /// The largest body, in bytes.
    pub max_bytes: u64,
    /// For one attempt, from the first packet to the last byte.
    pub timeout: Duration,
    /// Further attempts after a failure that may pass.
    pub retries: u32,
    /// Lets HTTP reach loopback, private and other addresses that are not on the public internet.
    pub allow_private: bool,
}

/// Fetches what [`FetchOptions`] allow. Needs a tokio runtime with time and I/O; shared by reference, any number of calls at once.
pub struct Fetcher {
    roots: Roots,
    folders: Arc<[PathBuf]>,
    stores: Stores,
    http: Http,
    options: FetchOptions,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Checks the base and the allow list and opens their object stores, with credentials and endpoints from the environment.
    /// Nothing is requested yet.
    ///
    /// # Errors
    /// When an entry can't be used, names a missing folder, or its store lacks settings.
    pub fn new(options: FetchOptions) -> Result<Self, FetchConfigError> {
        Self::with_lookup(options, system_lookup())
    }

    pub(super) fn with_lookup(options: FetchOptions, lookup: Lookup) -> Result<Self, FetchConfigError> {
        let roots = Roots::new(options.base_uri.as_deref(), &options.allow, options.allow_private)?;
        let stores = Stores::open(roots.stores())?;
        let folders = roots.folders().cloned().collect();
        let http = Http::new(options.allow_private, lookup).map_err(|_| FetchConfigError {
            key: "embedding.allow",
            message: "needs an HTTP client, which can't be set up; check this system's certificate store"
                .to_owned(),
        })?;
        Ok(Self { roots, folders, stores, http, options })
    }

    /// All bytes behind a URI.
    ///
    /// # Errors
    /// See [`FetchError`]; retries are already spent.
    pub async fn get(&self, uri: &str) -> Result<Bytes, FetchError> {
        self.fetch(uri, None, self.options.max_bytes).await
    }

    /// The bytes of a range, in bytes from the start; fewer where the file ends inside it.
    ///
    /// # Errors
    /// See [`FetchError`]; a range longer than `max_bytes` is too large, an empty one or one that begins past the end is
    /// [`FetchError::BadRange`].
    pub async fn get_range(&self, uri: &str, range: Range<u64>) -> Result<Bytes, FetchError> {
        self.fetch(uri, Some(range), self.options.max_bytes).await
    }

    /// All bytes or a range, with a limit of the caller's own.
    pub(super) async fn fetch(
        &self,
        uri: &str,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, FetchError> {
        match &range {
            Some(r) if r.is_empty() => return Err(FetchError::BadRange),
            Some(r) if r.end - r.start > limit => return Err(FetchError::TooLarge),
            _ => {}
        }
        let place = self.roots.place(uri)?;
        // The client asks its resolver about names only.
        if let Place::Http(url) = &place
            && !self.options.allow_private
            && literal_address(url).is_some_and(|a| !is_public(a))
        {
            return Err(FetchError::PrivateAddress);
        }
        let (mut wait, mut left) = (FIRST_WAIT, self.options.retries);
        loop {
            let attempt = self.attempt(&place, range.clone(), limit);
            let done = tokio::time::timeout(self.options.timeout, attempt).await;
            match done.unwrap_or(Err(FetchError::Timeout)) {
                Err(e) if e.may_pass() && left > 0 => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    left -= 1;
                }
                done => return done,
            }
        }
    }

    async fn attempt(
        &self,
        place: &Place,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, FetchError> {
        match place {
            Place::Local(path) => {
                let (path, folders) = (path.clone(), Arc::clone(&self.folders));
                tokio::task::spawn_blocking(move || fetch_local::read(&path, &folders, range, limit))
                    .await
                    .unwrap_or(Err(FetchError::Failed))
            }
            Place::Http(url) => self.http.get(url, range, limit).await,
            Place::Store(store, path) => self.stores.get(store, path, range, limit).await,
        }
    }

    #[cfg(test)]
    pub(super) fn put_store(&mut self, key: &str, store: Arc<dyn object_store::ObjectStore>) {
        self.stores.put(key, store);
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
pub(crate) mod tests;
