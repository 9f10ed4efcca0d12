//! Reads objects from S3, Google Cloud Storage and Azure.

use super::error::{FetchConfigError, FetchError};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use url::Url;

/// The allowed stores, by scheme and bucket.
pub(super) struct AllowedStores(HashMap<String, Arc<dyn ObjectStore>>);

impl AllowedStores {
    /// Opens each store once, with credentials and endpoints from the environment as in the stores'
    /// own tools.
    pub fn open<'a>(keys: impl Iterator<Item = &'a str>) -> Result<Self, FetchConfigError> {
        let mut stores = HashMap::new();
        for key in keys {
            if stores.contains_key(key) {
                continue;
            }
            let wrong = |e: &dyn std::fmt::Display| FetchConfigError {
                key: "embedding.allow or embedding.base_uri",
                message: format!(
                    "names a store that can't be opened: {e}; fix it, or set the store's environment variables"
                ),
            };
            let url = Url::parse(key).map_err(|e| wrong(&e))?;
            let variables =
                std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
            let (store, _) = object_store::parse_url_opts(&url, variables).map_err(|e| wrong(&e))?;
            stores.insert(key.to_owned(), Arc::from(store));
        }
        Ok(Self(stores))
    }

    /// An object, or a range of it.
    pub async fn get(
        &self,
        key: &str,
        path: &Path,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, FetchError> {
        let store = self.0.get(key).ok_or(FetchError::NotAllowed)?;
        let want = range.as_ref().map(|r| r.end - r.start);
        if let Some(r) = &range {
            // Stores differ in their answers to a range past the end; only the size distinguishes
            // it from a failure.
            let size = store.head(path).await.map_err(|e| reason(&e))?.size;
            if r.start >= size {
                return Err(FetchError::BadRange);
            }
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = store.get_opts(path, options).await.map_err(|e| reason(&e))?;
        if want.is_none() && found.meta.size > limit {
            return Err(FetchError::TooLarge);
        }
        let most = usize::try_from(want.unwrap_or(limit)).unwrap_or(usize::MAX);
        let mut out = BytesMut::new();
        let mut parts = found.into_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| reason(&e))?;
            if part.len() > most - out.len() {
                return Err(FetchError::TooLarge);
            }
            out.extend_from_slice(&part);
        }
        Ok(out.freeze())
    }

    #[cfg(test)]
    pub fn put(&mut self, key: &str, store: Arc<dyn ObjectStore>) {
        self.0.insert(key.to_owned(), store);
    }
}

fn reason(e: &Error) -> FetchError {
    match e {
        Error::NotFound { .. } => FetchError::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => FetchError::Forbidden,
        Error::InvalidPath { .. } => FetchError::BadUri,
        // Network and server errors arrive as this one.
        Error::Generic { .. } => FetchError::Unavailable,
        _ => FetchError::Failed,
    }
}
