//! Fetches untrusted URIs, only from places that the operator allows.

use super::address::is_public;
pub use super::error::{FetchConfigError, FetchError};
use super::fetch_http::{HostLookup, HttpFetcher, system_lookup};
use super::fetch_local;
use super::fetch_store::AllowedStores;
use super::uri::{AllowedRoots, ResolvedUri, literal_address};
use bytes::Bytes;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Delay before the first retry; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Maximum delay.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What may be fetched, with limits on time and size.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The base of relative URIs: a folder, `file://`, `s3://`, `gs://`, `az://`, `abfs[s]://`,
    /// `http://` or `https://`. Everything below it is allowed.
    pub base_uri: Option<String>,
    /// Prefixes of further allowed URIs; each covers whole path segments of one scheme, host and
    /// port.
    pub allow: Vec<String>,
    /// Maximum size of a body in bytes.
    pub max_bytes: u64,
    /// Time limit of one attempt, from the first packet to the last byte.
    pub timeout: Duration,
    /// Number of retries after a transient failure.
    pub retries: u32,
    /// Allows HTTP to loopback, private and other addresses outside the public internet.
    pub allow_private: bool,
}

/// Fetches what [`FetchOptions`] allow. Needs a tokio runtime with time and I/O. Calls may run
/// concurrently.
pub struct Fetcher {
    roots: AllowedRoots,
    folders: Arc<[PathBuf]>,
    stores: AllowedStores,
    http: HttpFetcher,
    options: FetchOptions,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Checks the base and the allow list, and opens their object stores with credentials and
    /// endpoints from the environment. Sends no requests.
    ///
    /// # Errors
    /// When an entry can't be used, names a missing folder, or its store lacks settings.
    pub fn new(options: FetchOptions) -> Result<Self, FetchConfigError> {
        Self::with_lookup(options, system_lookup())
    }

    pub(super) fn with_lookup(options: FetchOptions, lookup: HostLookup) -> Result<Self, FetchConfigError> {
        let roots = AllowedRoots::new(options.base_uri.as_deref(), &options.allow, options.allow_private)?;
        let stores = AllowedStores::open(roots.stores())?;
        let folders = roots.folders().cloned().collect();
        let http = HttpFetcher::new(options.allow_private, lookup).map_err(|_| FetchConfigError {
            key: "embedding.allow",
            message: "needs an HTTP client, which can't be set up; check this system's certificate store"
                .to_owned(),
        })?;
        Ok(Self { roots, folders, stores, http, options })
    }

    /// All bytes behind a URI.
    ///
    /// # Errors
    /// See [`FetchError`]; after all retries.
    pub async fn get(&self, uri: &str) -> Result<Bytes, FetchError> {
        self.fetch(uri, None, self.options.max_bytes).await
    }

    /// A range of bytes; fewer if the file ends within it.
    ///
    /// # Errors
    /// See [`FetchError`]. A range longer than `max_bytes` is too large; an empty one, or one that
    /// starts past the end, is [`FetchError::BadRange`].
    pub async fn get_range(&self, uri: &str, range: Range<u64>) -> Result<Bytes, FetchError> {
        self.fetch(uri, Some(range), self.options.max_bytes).await
    }

    /// All bytes or a range, with the caller's limit.
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
        // The client's resolver checks host names only, not literal addresses.
        if let ResolvedUri::Http(url) = &place
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
        place: &ResolvedUri,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, FetchError> {
        match place {
            ResolvedUri::Local(path) => {
                let (path, folders) = (path.clone(), Arc::clone(&self.folders));
                tokio::task::spawn_blocking(move || fetch_local::read(&path, &folders, range, limit))
                    .await
                    .unwrap_or(Err(FetchError::Failed))
            }
            ResolvedUri::Http(url) => self.http.get(url, range, limit).await,
            ResolvedUri::Store(store, path) => self.stores.get(store, path, range, limit).await,
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
