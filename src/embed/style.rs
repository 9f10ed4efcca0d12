//! Named styles: centroids of example images, stored in the job's output, to compare images with.

use super::error::EmbedError;
use crate::enrich::hash::short_hash;
use crate::enrich::reference::Reference;
use crate::enrich::vectors::Style;
use crate::event::text::{escape, looks_like_code};
use crate::store::Storage;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The folder of styles in an output.
const FOLDER: &str = "_styles";

/// A style as stored in its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StyleFile {
    /// Its name.
    pub name: String,
    /// Identity of the model of its vectors.
    pub model: String,
    /// Number of images.
    pub images: u64,
    /// How similar they are: the length of the mean of their unit vectors, 0 to 1.
    pub concentration: f64,
    /// The centroid, a unit vector.
    pub centroid: Vec<f32>,
}

impl StyleFile {
    /// A style made of vectors of any length; `None` if there are no usable vectors, or their mean
    /// is zero.
    #[must_use]
    pub fn of<'v>(name: &str, model: &str, vectors: impl Iterator<Item = &'v [f32]>) -> Option<Self> {
        let (mut sum, mut images, mut unit): (Vec<f64>, u64, Vec<f64>) = (Vec::new(), 0, Vec::new());
        for v in vectors {
            if !Reference::unit(v, &mut unit) || (!sum.is_empty() && sum.len() != unit.len()) {
                continue;
            }
            sum.resize(unit.len(), 0.0);
            sum.iter_mut().zip(&unit).for_each(|(s, x)| *s += x);
            images += 1;
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if images == 0 || length.is_nan() || length < 1e-9 {
            return None;
        }
        let centroid = sum.iter().map(|x| (x / length) as f32).collect();
        let concentration = length / images as f64;
        Some(Self { name: name.to_owned(), model: model.to_owned(), images, concentration, centroid })
    }
}

/// All styles of an output.
///
/// # Errors
/// When they can't be read.
pub fn list(storage: &Storage) -> Result<Vec<StyleFile>, EmbedError> {
    let mut out = Vec::new();
    for path in storage.list(FOLDER)? {
        let Some(bytes) = storage.get(&path)? else { continue };
        let style: StyleFile = serde_json::from_slice(&bytes).map_err(|e| EmbedError::Value {
            key: "embedding.target",
            message: format!("{path} is not a style ({e}); make it again with driftglass style build"),
        })?;
        out.push(style);
    }
    Ok(out)
}

/// The styles of a model, sorted by name. Skips styles of other models with a warning, since they
/// can't be compared.
///
/// # Errors
/// As [`list`].
pub fn load(storage: &Storage, model: &str) -> Result<Vec<Style>, EmbedError> {
    let mut out = Vec::new();
    for style in list(storage)? {
        if style.model != model {
            tracing::warn!(
                style = style.name,
                made_by = style.model,
                model,
                "style skipped: it was made with another model; make it again with driftglass style build"
            );
            continue;
        }
        let mut centroid = Vec::new();
        if Reference::unit(&style.centroid, &mut centroid) {
            // Escaped as in events, whose style collections it is compared with.
            out.push(Style { name: Arc::from(&*escape(&style.name)), centroid });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

/// Stores a style; replaces one of the same name.
///
/// # Errors
/// When the output fails.
pub fn save(storage: &Storage, style: &StyleFile) -> Result<(), EmbedError> {
    let json = serde_json::to_vec_pretty(style).unwrap_or_default();
    Ok(storage.put(&path(&style.name), json)?)
}

/// Removes a style; returns whether it existed.
///
/// # Errors
/// When the output fails.
pub fn remove(storage: &Storage, name: &str) -> Result<bool, EmbedError> {
    let there = storage.get(&path(name))?.is_some();
    if there {
        storage.delete(&path(name))?;
    }
    Ok(there)
}

/// A style's file. Uses a hash for a name that is not a valid file name; the file contains the
/// name.
fn path(name: &str) -> String {
    if looks_like_code(name) && !name.contains('/') {
        format!("{FOLDER}/{name}.json")
    } else {
        format!("{FOLDER}/named-{:016x}.json", short_hash(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_the_direction_of_its_images_whatever_their_length() {
        let vectors: [&[f32]; 4] = [&[2.0, 0.0], &[0.0, 0.5], &[0.0, 0.0], &[f32::NAN, 1.0]];
        let style = StyleFile::of("s", "m", vectors.into_iter()).unwrap();
        assert_eq!(style.images, 2);
        assert!((style.concentration - 0.5f64.sqrt()).abs() < 1e-12);
        assert!(style.centroid.iter().all(|x| (x - 0.5f32.sqrt()).abs() < 1e-6));
        let opposite: [&[f32]; 2] = [&[1.0, 0.0], &[-1.0, 0.0]];
        assert_eq!(StyleFile::of("s", "m", opposite.into_iter()), None);
    }

    #[test]
    fn styles_of_other_models_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        for (name, model) in [("b", "m"), ("a", "m"), ("c", "other")] {
            let style = StyleFile::of(name, model, [[1.0f32, 2.0].as_slice()].into_iter()).unwrap();
            save(&storage, &style).unwrap();
        }
        let names: Vec<_> = load(&storage, "m").unwrap().into_iter().map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(remove(&storage, "a").unwrap() && !remove(&storage, "a").unwrap());
    }

    #[test]
    fn a_style_has_the_name_of_its_collection_whatever_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        for name in ["Studio Ghibli", "../水墨/画", "#1"] {
            save(&storage, &StyleFile::of(name, "m", [[1.0f32, 2.0].as_slice()].into_iter()).unwrap())
                .unwrap();
        }
        let names: Vec<_> = load(&storage, "m").unwrap().into_iter().map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["../水墨/画", "Studio Ghibli", "\\#1"]);
        assert_eq!(storage.list(FOLDER).unwrap().len(), 3);
        assert!(remove(&storage, "Studio Ghibli").unwrap() && !remove(&storage, "Studio Ghibli").unwrap());
    }
}
