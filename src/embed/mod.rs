//! Vectors of images: fetched, computed, or read from what an earlier run recorded.
//!
//! This room does the I/O that [`crate::enrich::vectors`] is free of. Whatever it is asked for comes back as a vector or as the reason
//! for which there is none; no URI and no byte of an image leaves it.

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
use crate::store::vectors::Resolved;
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

/// Addresses whose outcome is remembered: re-rolls and thumbnails name the same image many times.
const REMEMBERED: usize = 16_384;
/// Images on their way for each one in a run of the model, so that the next run is ready when one ends.
const AHEAD: usize = 3;

/// The reason given for a request that recordings do not hold, where there is nothing else to go by.
pub const NOT_RECORDED: &str = "not_recorded";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// A vector as JSON.
    Inline(&'a str),
    /// A row of a file of vectors, by its URI.
    VectorFile(&'a str),
    /// An image, by its URI.
    Image(&'a str),
    /// What was recorded; with the request's hash and the event's time.
    Recorded,
    /// What the event says can't be read.
    Unreadable,
}

/// A request whose vector is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Keyed hash of the request.
    pub request: u64,
    /// Event time, microseconds.
    pub time: i64,
    /// What is asked for.
    pub wanted: Wanted<'a>,
}

/// Finds vectors.
pub struct Embedder {
    fetcher: Option<Arc<Fetcher>>,
    files: Option<VectorFiles>,
    encoder: Option<Encoder>,
    /// What runs the model.
    backend: Option<Backend>,
    model: Arc<str>,
    recordings: Option<Recordings>,
    preprocessing: Preprocessing,
    max_pixels: u64,
    /// Asks that are followed at once.
    at_once: usize,
    fetches: Semaphore,
    decoders: Arc<Semaphore>,
    known: Mutex<LruCache<String, Resolved>>,
    runtime: Handle,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("encoder", &self.encoder).finish_non_exhaustive()
    }
}

impl Embedder {
    /// Loads the model and sets up what the configuration asks for. `here` is the job's own storage.
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
            at_once: config.concurrency.max(AHEAD * config.batch),
            fetches: Semaphore::new(config.concurrency),
            decoders: Arc::new(Semaphore::new(cores)),
            known: Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))),
            runtime,
        })
    }

    /// The provider that runs the model (`cuda`, `cpu`, `tract`) and the model's id, where one is run here.
    #[must_use]
    pub fn runs(&self) -> Option<(&'static str, &str)> {
        Some((self.backend?.name(), &self.model))
    }

    /// What the model has done, where there is one.
    #[must_use]
    pub fn counts(&self) -> Option<&EncoderCounts> {
        self.encoder.as_ref().map(Encoder::counts)
    }

    /// The vectors that are asked for, in order; `None` when it was told to stop before all were there.
    ///
    /// # Errors
    /// When the model fails, or recordings can't be read or are another model's.
    pub fn resolve(
        &self,
        asks: &[Ask<'_>],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<Resolved>>, EmbedError> {
        if asks.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut out: Vec<Option<Resolved>> = Vec::with_capacity(asks.len());
        for a in asks {
            out.push(self.recordings.as_ref().map_or(Ok(None), |r| r.get(a.request, a.time))?);
        }
        let left: Vec<usize> = (0..asks.len()).filter(|i| out[*i].is_none()).collect();
        let found: Vec<Result<Option<Resolved>, EmbedError>> = self.runtime.block_on(
            futures::stream::iter(left.iter().map(|i| asks[*i].wanted))
                .map(
                    |wanted| async move { if stop() { Ok(None) } else { self.find(wanted).await.map(Some) } },
                )
                .buffered(self.at_once)
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

    async fn find(&self, wanted: Wanted<'_>) -> Result<Resolved, EmbedError> {
        let refused = |reason: &str| Ok(Err(Arc::from(reason)));
        match wanted {
            Wanted::Inline(json) => Ok(inline(json).map(Arc::from).map_err(Arc::from)),
            Wanted::Recorded => refused(NOT_RECORDED),
            Wanted::Unreadable => refused("unreadable_artifacts"),
            Wanted::VectorFile(uri) | Wanted::Image(uri) => {
                // A vector file and an image of one name are told apart by the fragment.
                if let Some(known) = self.known.lock().get(uri) {
                    return Ok(known.clone());
                }
                let (resolved, lasting) = match wanted {
                    Wanted::VectorFile(_) => self.row(uri).await,
                    _ => self.image(uri).await?,
                };
                if lasting {
                    self.known.lock().put(uri.to_owned(), resolved.clone());
                }
                Ok(resolved)
            }
        }
    }

    /// The reason where nothing can be fetched.
    fn nowhere(&self) -> Arc<str> {
        Arc::from(if self.recordings.is_some() { NOT_RECORDED } else { "not_allowed" })
    }

    /// A row of a file, and whether asking again would come to the same.
    async fn row(&self, uri: &str) -> (Resolved, bool) {
        let Some(files) = &self.files else { return (Err(self.nowhere()), true) };
        let Ok(_permit) = self.fetches.acquire().await else { return (Err(Arc::from("unreachable")), false) };
        match files.row(uri).await {
            Ok(vector) => (Ok(Arc::from(vector)), true),
            Err(e) => (Err(Arc::from(e.reason())), is_lasting(e.reason())),
        }
    }

    /// An image's vector, and whether asking again would come to the same.
    async fn image(&self, uri: &str) -> Result<(Resolved, bool), EmbedError> {
        let (Some(fetcher), Some(encoder)) = (&self.fetcher, &self.encoder) else {
            return Ok((Err(self.nowhere()), true));
        };
        let bytes = {
            let Ok(_permit) = self.fetches.acquire().await else {
                return Ok((Err(Arc::from("unreachable")), false));
            };
            match fetcher.get(uri).await {
                Ok(bytes) => bytes,
                Err(e) => return Ok((Err(Arc::from(e.reason())), is_lasting(e.reason()))),
            }
        };
        Ok((self.encode(encoder, bytes).await?, true))
    }

    async fn encode(&self, encoder: &Encoder, bytes: bytes::Bytes) -> Result<Resolved, EmbedError> {
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

    /// Tensors of image files of one's own, without those that are none.
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

    /// Runs the model on tensors that are ready.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn encode_tensors(&self, tensors: &[Vec<f32>]) -> Result<Vec<Arc<[f32]>>, EmbedError> {
        let encoder = self.encoder.as_ref().ok_or(EmbedError::NoModel)?;
        let all = futures::stream::iter(tensors.iter().cloned()).map(|t| encoder.encode(t));
        let done = self.runtime.block_on(all.buffered(self.at_once).collect::<Vec<_>>());
        Ok(done.into_iter().collect::<Result<_, _>>()?)
    }

    /// The vectors of image files of one's own, in order.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn encode_files(&self, files: &[std::path::PathBuf]) -> Result<Vec<Resolved>, EmbedError> {
        let encoder = self.encoder.as_ref().ok_or(EmbedError::NoModel)?;
        let one = |path: std::path::PathBuf| async move {
            match tokio::fs::read(&path).await {
                Ok(bytes) => self.encode(encoder, bytes.into()).await,
                Err(_) => Ok(Err(Arc::from("not_found"))),
            }
        };
        let all = futures::stream::iter(files.iter().cloned()).map(one).buffered(self.at_once);
        self.runtime.block_on(all.collect::<Vec<_>>()).into_iter().collect()
    }
}

/// Whether a refusal would be the same a minute later.
fn is_lasting(reason: &str) -> bool {
    !matches!(reason, "timeout" | "unreachable" | "unavailable" | "bad_response" | "failed" | "not_found")
}
