//! What the vector of an image becomes: a unit vector and its projection, a content cluster, a distance from a style, a score.
//!
//! Pure: vectors come in, whoever fetched or computed them.

use super::batch::{Batch, Candidate, ImageSource, Value};
use super::hash::short_hash;
use super::reference::Reference;
use crate::config::features::{Feature, FieldSource};
use crate::event::{Event, Num, repair};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// A named style: the mean of its images' unit vectors, of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Its name.
    pub name: Arc<str>,
    /// Its centroid.
    pub centroid: Vec<f64>,
}

/// A linear score of unit vectors: `bias + scale · Σ weight · component`.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// One per component.
    pub weights: Vec<f64>,
    /// The score of the zero vector.
    pub bias: f64,
    /// What the unit vector is multiplied with first.
    pub scale: f64,
}

/// The file of a [`Head`].
#[derive(Deserialize)]
struct HeadFile {
    weights: Vec<f64>,
    bias: f64,
    #[serde(alias = "input_normalisation", alias = "normalization")]
    normalisation: String,
}

impl Head {
    /// Reads a head: `weights`, `bias` and `normalisation` (`l2`, or `l2 * sqrt(dimension)`).
    ///
    /// # Errors
    /// A message that says what the file lacks.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let file: HeadFile = serde_json::from_str(text)
            .map_err(|e| format!("is no linear head ({e}); it needs weights, bias and normalisation"))?;
        let words: String = file.normalisation.chars().filter(|c| !c.is_whitespace()).collect();
        let root = (file.weights.len() as f64).sqrt();
        let scale = match words.trim_start_matches("l2") {
            "" if !words.is_empty() => 1.0,
            s if s.contains("sqrt(") => root,
            _ => {
                return Err(format!(
                    "normalisation {:?} is not known; write \"l2\" or \"l2 * sqrt(dimension)\"",
                    file.normalisation
                ));
            }
        };
        if file.weights.is_empty() || !file.weights.iter().chain([&file.bias]).all(|x| x.is_finite()) {
            return Err("has no weights, or some that are not finite".into());
        }
        Ok(Self { weights: file.weights, bias: file.bias, scale })
    }

    fn score(&self, unit: &[f64]) -> f64 {
        let sum = self.weights.iter().zip(unit).fold(0.0, |sum, (w, x)| sum + w * x);
        self.bias + self.scale * sum
    }
}

/// Which of an event's artifacts the job can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Takes {
    /// Files of vectors.
    pub vector_files: bool,
    /// Images.
    pub images: bool,
    /// Vectors recorded by an earlier run.
    pub recorded: bool,
}

/// What vectors are made into.
#[derive(Debug, Clone)]
pub struct VectorPlan {
    /// Identity of the model: a hash of its file and preprocessing, or the name that the configuration gives it.
    pub model: Arc<str>,
    /// Components of a vector.
    pub dimension: usize,
    /// Projection and content clusters.
    pub reference: Reference,
    /// The named styles.
    pub styles: Vec<Style>,
    /// The style that an event without one of its own is measured against.
    pub target: Option<usize>,
    /// A score for events that carry none.
    pub head: Option<Head>,
    /// Share of requests that are looked at.
    pub rate: f64,
    /// Looked at per minute, partition and stratum, at most.
    pub per_minute: u32,
    /// What can be followed.
    pub takes: Takes,
}

/// The parts of `artifacts` that lead to a vector.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Artifacts<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    embedding_uri: Option<String>,
    image_uri: Option<String>,
    thumb_uri: Option<String>,
}

impl VectorPlan {
    /// What the values of a source owe to models and files, for the identity of their sketches; `None` where nothing.
    #[must_use]
    pub fn made_by(&self, from: FieldSource) -> Option<String> {
        let numbers = |all: &mut dyn Iterator<Item = f64>| -> u64 {
            let bytes: Vec<u8> = all.flat_map(f64::to_le_bytes).collect();
            short_hash(&bytes)
        };
        match from {
            FieldSource::Embedding | FieldSource::Content => {
                Some(format!("{}|{:016x}", self.model, self.reference.id()))
            }
            FieldSource::Num(Num::StyleDistance) | FieldSource::Style if !self.styles.is_empty() => {
                let names: Vec<&str> = self.styles.iter().map(|s| s.name.as_ref()).collect();
                let all = numbers(&mut self.styles.iter().flat_map(|s| s.centroid.iter().copied()));
                let target = if from == FieldSource::Style { None } else { self.target };
                Some(format!("{}|{}|{all:016x}|{target:?}", self.model, names.join("|")))
            }
            FieldSource::Num(Num::Aesthetic) => self.head.as_ref().map(|h| {
                let all = numbers(&mut h.weights.iter().copied().chain([h.bias, h.scale]));
                format!("{}|{all:016x}", self.model)
            }),
            _ => None,
        }
    }

    /// Where an event's vector comes from, if its image is to be looked at: by the hash of the request, so that every run picks the same.
    pub(super) fn source(
        &self,
        event: &Event<'_>,
        request: u64,
        addresses: &mut String,
    ) -> Option<ImageSource> {
        if self.takes.recorded && event.request_hash.is_some() {
            return Some(ImageSource::Recorded);
        }
        let json = event.artifacts.as_deref()?;
        let share = (request >> 11) as f64 / (1u64 << 53) as f64;
        if share >= self.rate {
            return None;
        }
        let repaired;
        let artifacts = match serde_json::from_str::<Artifacts<'_>>(json) {
            Ok(artifacts) => artifacts,
            Err(_) => {
                // What nobody reads, a key or a text that can't be, must not cost the image.
                repaired = repair(json);
                match repaired.as_deref().map(serde_json::from_str) {
                    Some(Ok(artifacts)) => artifacts,
                    _ => return Some(ImageSource::Unreadable),
                }
            }
        };
        let mut keep = |text: &str| {
            let from = addresses.len() as u32;
            addresses.push_str(text);
            from..addresses.len() as u32
        };
        let said = |uri: Option<String>| uri.filter(|u| !u.is_empty());
        if let Some(inline) = artifacts.embedding.map(RawValue::get).filter(|t| !matches!(*t, "null" | "[]"))
        {
            return Some(ImageSource::Inline(keep(inline)));
        }
        if let Some(uri) =
            said(artifacts.embedding_uri).filter(|_| self.takes.vector_files || self.takes.recorded)
        {
            return Some(ImageSource::VectorFile(keep(&uri)));
        }
        let image = said(artifacts.image_uri).or(said(artifacts.thumb_uri));
        image.filter(|_| self.takes.images || self.takes.recorded).map(|uri| ImageSource::Image(keep(&uri)))
    }

    /// Takes a vector into the batch and sets the values that follow from it.
    ///
    /// # Errors
    /// The reason for which it is refused: `wrong_dimension`, `zero_vector` or `not_finite`.
    pub fn place(
        &self,
        features: &[Feature],
        batch: &mut Batch,
        candidate: &Candidate,
        vector: &[f32],
    ) -> Result<(), &'static str> {
        if vector.len() != self.dimension {
            return Err("wrong_dimension");
        }
        if !vector.iter().all(|x| x.is_finite()) {
            return Err("not_finite");
        }
        let mut unit = Vec::new();
        if !Reference::unit(vector, &mut unit) {
            return Err("zero_vector");
        }
        let at = batch.projections.len();
        batch.projections.resize(at + self.reference.components(), 0.0);
        self.reference.project(&unit, &mut batch.projections[at..]);
        let stage = batch.rows[candidate.row as usize].stage;
        let from = candidate.row as usize * features.len();
        for (feature, value) in features.iter().zip(&mut batch.values[from..]) {
            if !feature.stages.contains(stage) {
                continue;
            }
            match feature.from {
                FieldSource::Embedding => *value = Value::Vector(batch.vectors),
                FieldSource::Content => {
                    if let Some(c) = self.reference.cluster(&batch.projections[at..]) {
                        *value = Value::Text(format!("cluster-{c:03}").into());
                    }
                }
                FieldSource::Style => {
                    if let Some(style) = self.nearest(&unit) {
                        *value = Value::Text(Arc::clone(&style.name));
                    }
                }
                FieldSource::Num(Num::StyleDistance) => {
                    if let Some(style) = self.style_of(candidate.collection.as_deref()) {
                        *value = Value::Num(cosine_distance(&unit, &style.centroid));
                    }
                }
                FieldSource::Num(Num::Aesthetic) if *value == Value::Missing => {
                    if let Some(head) = &self.head {
                        *value = Value::Num(head.score(&unit));
                    }
                }
                _ => {}
            }
        }
        batch.units.extend(unit);
        batch.vectors += 1;
        Ok(())
    }

    /// The named style that a vector of length one is nearest to, where there are two to choose from; of equally near ones the first.
    #[must_use]
    pub fn nearest(&self, unit: &[f64]) -> Option<&Style> {
        let (first, others) = self.styles.split_first()?;
        if others.is_empty() {
            return None;
        }
        let mut best = (cosine_distance(unit, &first.centroid), first);
        for style in others {
            let distance = cosine_distance(unit, &style.centroid);
            if distance < best.0 {
                best = (distance, style);
            }
        }
        Some(best.1)
    }

    /// The named style of an event's collection, or the target.
    fn style_of(&self, collection: Option<&str>) -> Option<&Style> {
        let own = collection.and_then(|c| self.styles.iter().find(|s| *s.name == *c));
        own.or_else(|| self.target.map(|t| &self.styles[t]))
    }
}

/// 1 − cos of two vectors of length one, summed in order so that every machine gets the same bits.
fn cosine_distance(a: &[f64], b: &[f64]) -> f64 {
    1.0 - a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y)
}

/// The vector that an event carries: a JSON array of numbers.
///
/// # Errors
/// `not_a_vector` when it is anything else.
pub fn inline(json: &str) -> Result<Vec<f32>, &'static str> {
    serde_json::from_str(json).map_err(|_| "not_a_vector")
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod tests;
