//! Vectors of images: fetched, computed, or read from the recordings of an earlier run.
//!
//! Does the I/O that [`crate::enrich::vectors`] doesn't. Every request results in a vector or in
//! the reason why there is none; URIs and image bytes never leave this module.

#[doc(hidden)]
pub mod address;
mod backend;
mod encoder;
mod error;
pub mod fetch;
mod fetch_http;
mod fetch_local;
mod fetch_store;
mod library;
pub mod model;
#[doc(hidden)]
pub mod npy;
pub mod preprocess;
mod recorded;
mod rows;
pub mod runtime;
mod setup;
pub mod style;
#[doc(hidden)]
pub mod uri;
mod vector_cache;
#[doc(hidden)]
pub mod vector_parquet;

#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod runtime_tests;

pub use encoder::EncoderCounts;
pub use error::EmbedError;
pub use recorded::Recordings;
pub use setup::vector_plan;

use crate::config::Embedding;
use crate::enrich::vectors::{VectorPlan, inline};
use crate::store::Storage;
use crate::store::vectors::VectorOutcome;
use encoder::Encoder;
use fetch::Fetcher;
use futures::StreamExt;
use lru::LruCache;
use model::Model;
use parking_lot::Mutex;
use preprocess::Preprocessing;
use rows::VectorFiles;
use runtime::Backend;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Number of URIs whose results are cached: re-rolls and thumbnails often name the same image.
const REMEMBERED: usize = 16_384;
/// Images in progress per image in a batch, so that the next batch is ready when one ends.
const AHEAD: usize = 3;

/// The reason for a request without a recording, if no other source exists.
pub const NOT_RECORDED: &str = "not_recorded";

/// Where a requested vector comes from.
#[derive(Debug, Clone, Copy)]
pub enum VectorOrigin<'a> {
    /// A vector as JSON.
    Inline(&'a str),
    /// A row of a file of vectors, by its URI.
    VectorFile(&'a str),
    /// An image, by its URI.
    Image(&'a str),
    /// A recording, by the request's hash and the event's time.
    Recorded,
    /// Nothing: the event's artifacts can't be parsed.
    Unreadable,
}

/// A request for the vector of one event.
#[derive(Debug, Clone, Copy)]
pub struct VectorRequest<'a> {
    /// Keyed hash of the request.
    pub request: u64,
    /// Event time, microseconds.
    pub time: i64,
    /// Where a requested vector comes from.
    pub origin: VectorOrigin<'a>,
}

/// Resolves requests for vectors.
pub struct Embedder {
    fetcher: Option<Arc<Fetcher>>,
    files: Option<VectorFiles>,
    encoder: Option<Encoder>,
    /// The backend of the model.
    backend: Option<Backend>,
    model: Arc<str>,
    recordings: Option<Recordings>,
    preprocessing: Preprocessing,
    max_pixels: u64,
    /// Maximum number of concurrent requests.
    concurrency: usize,
    fetches: Semaphore,
    decoders: Arc<Semaphore>,
    remembered: Mutex<LruCache<String, VectorOutcome>>,
    runtime: Handle,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("encoder", &self.encoder).finish_non_exhaustive()
    }
}

impl Embedder {
    /// Loads the model and whatever else the configuration needs. `here` is the job's own storage.
    ///
    /// # Errors
    /// When the model can't be loaded or a key is wrong.
    pub fn new(config: &Embedding, plan: &VectorPlan, here: &Storage) -> Result<Self, EmbedError> {
        let runtime = here.runtime().clone();
        let fetcher = setup::fetcher(config)?.map(Arc::new);
        let model = setup::model(config, plan.dimension)?;
        let backend = model.as_ref().map(Model::backend);
        let encoder =
            model.map(|m| Encoder::start(m, config.batch).map_err(EmbedError::Thread)).transpose()?;
        let recordings = config
            .recorded
            .as_deref()
            .map(|r| Recordings::open(r, &plan.model, runtime.clone()))
            .transpose()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            files: fetcher.clone().map(|f| VectorFiles::new(f, plan.dimension)),
            fetcher,
            encoder,
            backend,
            model: Arc::clone(&plan.model),
            recordings,
            preprocessing: setup::preprocessing(config),
            max_pixels: config.max_pixels,
            concurrency: config.concurrency.max(AHEAD * config.batch),
            fetches: Semaphore::new(config.concurrency),
            decoders: Arc::new(Semaphore::new(cores)),
            remembered: Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))),
            runtime,
        })
    }

    /// The provider of the model (`cuda`, `cpu`, `tract`) and the model's id, if there is a model.
    #[must_use]
    pub fn runs(&self) -> Option<(&'static str, &str)> {
        Some((self.backend?.name(), &self.model))
    }

    /// The model's counters, if there is a model.
    #[must_use]
    pub fn counts(&self) -> Option<&EncoderCounts> {
        self.encoder.as_ref().map(Encoder::counts)
    }

    /// The requested vectors, in order; `None` if `stop` became true before all were ready.
    ///
    /// # Errors
    /// When the model fails, or recordings can't be read or are another model's.
    pub fn resolve(
        &self,
        requests: &[VectorRequest<'_>],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<VectorOutcome>>, EmbedError> {
        if requests.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut out: Vec<Option<VectorOutcome>> = Vec::with_capacity(requests.len());
        for a in requests {
            out.push(self.recordings.as_ref().map_or(Ok(None), |r| r.get(a.request, a.time))?);
        }
        let left: Vec<usize> = (0..requests.len()).filter(|i| out[*i].is_none()).collect();
        let found: Vec<Result<Option<VectorOutcome>, EmbedError>> = self.runtime.block_on(
            futures::stream::iter(left.iter().map(|i| requests[*i].origin))
                .map(
                    |origin| async move { if stop() { Ok(None) } else { self.find(origin).await.map(Some) } },
                )
                .buffered(self.concurrency)
                .collect(),
        );
        for (i, found) in left.into_iter().zip(found) {
            match found? {
                Some(resolved) => out[i] = Some(resolved),
                None => return Ok(None),
            }
        }
        Ok(out.into_iter().collect())
    }

    async fn find(&self, origin: VectorOrigin<'_>) -> Result<VectorOutcome, EmbedError> {
        let refused = |reason: &str| Ok(Err(Arc::from(reason)));
        match origin {
            VectorOrigin::Inline(json) => Ok(inline(json).map(Arc::from).map_err(Arc::from)),
            VectorOrigin::Recorded => refused(NOT_RECORDED),
            VectorOrigin::Unreadable => refused("unreadable_artifacts"),
            VectorOrigin::VectorFile(uri) | VectorOrigin::Image(uri) => {
                // A row of a vector file has a fragment, so its URI differs from that of an image.
                if let Some(remembered) = self.remembered.lock().get(uri) {
                    return Ok(remembered.clone());
                }
                let (resolved, permanent) = match origin {
                    VectorOrigin::VectorFile(_) => self.row(uri).await,
                    _ => self.image(uri).await?,
                };
                if permanent {
                    self.remembered.lock().put(uri.to_owned(), resolved.clone());
                }
                Ok(resolved)
            }
        }
    }

    /// The reason if nothing may be fetched.
    fn no_source(&self) -> Arc<str> {
        Arc::from(if self.recordings.is_some() { NOT_RECORDED } else { "not_allowed" })
    }

    /// A row of a file, and whether the result is permanent.
    async fn row(&self, uri: &str) -> (VectorOutcome, bool) {
        let Some(files) = &self.files else { return (Err(self.no_source()), true) };
        let Ok(_permit) = self.fetches.acquire().await else { return (Err(Arc::from("unreachable")), false) };
        match files.row(uri).await {
            Ok(vector) => (Ok(Arc::from(vector)), true),
            Err(e) => (Err(Arc::from(e.reason())), is_permanent(e.reason())),
        }
    }

    /// An image's vector, and whether the result is permanent.
    async fn image(&self, uri: &str) -> Result<(VectorOutcome, bool), EmbedError> {
        let (Some(fetcher), Some(encoder)) = (&self.fetcher, &self.encoder) else {
            return Ok((Err(self.no_source()), true));
        };
        let bytes = {
            let Ok(_permit) = self.fetches.acquire().await else {
                return Ok((Err(Arc::from("unreachable")), false));
            };
            match fetcher.get(uri).await {
                Ok(bytes) => bytes,
                Err(e) => return Ok((Err(Arc::from(e.reason())), is_permanent(e.reason()))),
            }
        };
        Ok((self.encode(encoder, bytes).await?, true))
    }

    async fn encode(&self, encoder: &Encoder, bytes: bytes::Bytes) -> Result<VectorOutcome, EmbedError> {
        let permit = Arc::clone(&self.decoders).acquire_owned().await;
        let (preprocessing, max_pixels) = (self.preprocessing.clone(), self.max_pixels);
        let prepared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut tensor = vec![0.0; preprocessing.len()];
            preprocessing.tensor(&bytes, max_pixels, &mut tensor).map(|()| tensor)
        });
        let tensor = match prepared.await {
            Ok(Ok(tensor)) => tensor,
            Ok(Err(e)) => return Ok(Err(Arc::from(e.reason()))),
            Err(_) => return Ok(Err(Arc::from("corrupt_image"))),
        };
        match encoder.encode(tensor).await {
            Ok(vector) => Ok(Ok(vector)),
            Err(e) => Err(EmbedError::Encode(e)),
        }
    }

    /// Tensors of local image files; skips files that are not images.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn tensors(&self, files: &[std::path::PathBuf]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut out = Vec::new();
        for path in files {
            let bytes = std::fs::read(path).map_err(|e| EmbedError::Value {
                key: "images",
                message: format!("can't read {}: {e}", path.display()),
            })?;
            let mut tensor = vec![0.0; self.preprocessing.len()];
            if self.preprocessing.tensor(&bytes, self.max_pixels, &mut tensor).is_ok() {
                out.push(tensor);
            }
        }
        Ok(out)
    }

    /// Runs the model on prepared tensors.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn encode_tensors(&self, tensors: &[Vec<f32>]) -> Result<Vec<Arc<[f32]>>, EmbedError> {
        let encoder = self.encoder.as_ref().ok_or(EmbedError::NoModel)?;
        let all = futures::stream::iter(tensors.iter().cloned()).map(|t| encoder.encode(t));
        let done = self.runtime.block_on(all.buffered(self.concurrency).collect::<Vec<_>>());
        Ok(done.into_iter().collect::<Result<_, _>>()?)
    }

    /// The vectors of local image files, in order.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn encode_files(&self, files: &[std::path::PathBuf]) -> Result<Vec<VectorOutcome>, EmbedError> {
        let encoder = self.encoder.as_ref().ok_or(EmbedError::NoModel)?;
        let one = |path: std::path::PathBuf| async move {
            match tokio::fs::read(&path).await {
                Ok(bytes) => self.encode(encoder, bytes.into()).await,
                Err(_) => Ok(Err(Arc::from("not_found"))),
            }
        };
        let all = futures::stream::iter(files.iter().cloned()).map(one).buffered(self.concurrency);
        self.runtime.block_on(all.collect::<Vec<_>>()).into_iter().collect()
    }
}

/// Whether a failure is permanent.
fn is_permanent(reason: &str) -> bool {
    !matches!(reason, "timeout" | "unreachable" | "unavailable" | "bad_response" | "failed" | "not_found")
}
