//! Loads what `[embedding]` configures: the model and its identity, reference, styles and head.

use super::error::EmbedError;
use super::fetch::{FetchOptions, Fetcher};
use super::model::{Model, ModelOptions};
use super::preprocess::Preprocessing;
use super::recorded::Recordings;
use super::runtime::{RuntimeOptions, start};
use super::style;
use crate::config::{Embedding, Provider};
use crate::enrich::hash::short_hash;
use crate::enrich::reference::Reference;
use crate::enrich::vectors::{Head, Takes, VectorPlan};
use crate::event::text::escape;
use crate::store::Storage;
use std::path::Path;
use std::sync::Arc;

fn value(key: &'static str, message: impl Into<String>) -> EmbedError {
    EmbedError::Value { key, message: message.into() }
}

/// How vectors are processed, from the configuration and its files. `storage` is the job's output,
/// which contains the styles.
///
/// # Errors
/// When a file can't be read or does not fit the model.
pub fn vector_plan(config: &Embedding, storage: &Storage) -> Result<VectorPlan, EmbedError> {
    let model = identity(config, storage)?;
    let reference = match &config.reference {
        None => Reference::random(config.dimension),
        Some(path) => {
            let text = read("embedding.reference", path)?;
            Reference::from_json(text.as_bytes())
                .map_err(|e| value("embedding.reference", format!("{}: {e}", path.display())))?
        }
    };
    let fits = |key, what: &str, n: usize| {
        if n == config.dimension {
            return Ok(());
        }
        Err(value(key, format!("{what} has {n} components, but embedding.dimension is {}", config.dimension)))
    };
    fits("embedding.reference", "the reference", reference.dimension())?;
    let styles = style::load(storage, &model)?;
    for s in &styles {
        fits("embedding.dimension", &format!("the style {}", s.name), s.centroid.len())?;
    }
    let target = config.target.as_deref().map(|name| {
        styles.iter().position(|s| *s.name == *escape(name)).ok_or_else(|| {
            let known: Vec<&str> = styles.iter().map(|s| s.name.as_ref()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            value(
                "embedding.target",
                format!(
                    "there is no style {name:?}; there are: {known}; make it with driftglass style build"
                ),
            )
        })
    });
    let head = match &config.head {
        None => None,
        Some(path) => {
            let head = Head::from_json(&read("embedding.head", path)?)
                .map_err(|e| value("embedding.head", format!("{} {e}", path.display())))?;
            fits("embedding.head", "the head", head.weights.len())?;
            Some(head)
        }
    };
    let reads = config.base_uri.is_some() || !config.allow.is_empty();
    Ok(VectorPlan {
        model,
        dimension: config.dimension,
        reference,
        target: target.transpose()?,
        styles,
        head,
        rate: config.rate,
        per_minute: config.per_minute,
        takes: Takes {
            vector_files: reads,
            images: reads && config.model.is_some(),
            recorded: config.recorded.is_some(),
        },
    })
}

fn read(key: &'static str, path: &Path) -> Result<String, EmbedError> {
    std::fs::read_to_string(path).map_err(|e| value(key, format!("can't read {}: {e}", path.display())))
}

/// The model's identity: from its file and preprocessing, from the recordings, or from the
/// configured name.
fn identity(config: &Embedding, storage: &Storage) -> Result<Arc<str>, EmbedError> {
    let own = match &config.model {
        None => None,
        Some(path) if !path.exists() && config.recorded.is_some() => None,
        Some(path) => {
            let file = std::fs::read(path)
                .map_err(|e| value("embedding.model", format!("can't read {}: {e}", path.display())))?;
            let p = preprocessing(config);
            let numbers: Vec<u8> = p.mean.iter().chain(&p.std).flat_map(|x| x.to_le_bytes()).collect();
            let hash = blake3::hash(&file);
            let made = [
                hash.as_bytes().as_slice(),
                &p.size.to_le_bytes(),
                &numbers,
                config.output.as_deref().unwrap_or_default().as_bytes(),
            ];
            Some(Arc::from(format!("onnx-{:016x}", short_hash(&made.concat()))))
        }
    };
    let recorded = match &config.recorded {
        None => None,
        Some(url) => Recordings::model_of(url, storage.runtime().clone())?,
    };
    match (own, recorded) {
        (Some(own), Some(found)) if own != found => {
            Err(EmbedError::OtherModel { found: found.to_string(), wanted: own.to_string() })
        }
        (Some(own), _) => Ok(own),
        (None, Some(found)) => Ok(found),
        (None, None) => Ok(Arc::from(format!("named-{}", config.name))),
    }
}

/// The preprocessing that the configuration asks for.
pub(super) fn preprocessing(config: &Embedding) -> Preprocessing {
    Preprocessing { size: config.size, mean: config.mean, std: config.std }
}

/// The fetcher, if anything may be fetched.
pub(super) fn fetcher(config: &Embedding) -> Result<Option<Fetcher>, EmbedError> {
    if config.base_uri.is_none() && config.allow.is_empty() {
        return Ok(None);
    }
    let options = FetchOptions {
        base_uri: config.base_uri.clone(),
        allow: config.allow.clone(),
        max_bytes: config.max_bytes.0,
        timeout: config.timeout.duration(),
        retries: config.retries,
        allow_private: config.allow_private,
    };
    Fetcher::new(options).map(Some).map_err(EmbedError::Fetch)
}

/// The model, if one is configured and present.
pub(super) fn model(config: &Embedding, dimension: usize) -> Result<Option<Model>, EmbedError> {
    let Some(path) = &config.model else { return Ok(None) };
    if !path.exists() && config.recorded.is_some() {
        return Ok(None);
    }
    let runtime = start(&RuntimeOptions {
        provider: config.provider,
        library: config.runtime.clone(),
        device: config.device,
        threads: config.threads,
    })?;
    let options =
        ModelOptions { input: config.input.clone(), output: config.output.clone(), size: config.size };
    let model = Model::load(&runtime, path, &options)?;
    if model.dimension() != dimension {
        return Err(value(
            "embedding.dimension",
            format!(
                "the model's vectors have {} components, not {dimension}; set dimension = {0}",
                model.dimension()
            ),
        ));
    }
    for note in runtime.notes() {
        tracing::info!("{note}");
    }
    tracing::info!(backend = model.backend().name(), "embedding images");
    if model.max_batch() == Some(1) && config.provider == Provider::Auto {
        // The vectors of such a model differ by about 0.01 between backends.
        tracing::warn!(
            "the model quantises at run time, so its vectors depend on the backend; set embedding.provider, so that every process uses the same"
        );
    }
    Ok(Some(model))
}
