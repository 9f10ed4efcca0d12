//! An embedding model: the session of an ONNX file, its identity, and inference in batches.

use super::backend::Backend;
pub use super::error::ModelError;
use super::runtime::{InferenceRuntime, guarded};
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use std::path::{Path, PathBuf};

/// Colours of a picture.
const CHANNELS: usize = 3;

/// Settings of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// The input's name; otherwise the only one.
    pub input: Option<String>,
    /// The output's name; otherwise the first.
    pub output: Option<String>,
    /// Width and height of a picture.
    pub size: u32,
}

/// A loaded model. It computes one batch at a time.
#[derive(Debug)]
pub struct Model {
    session: Session,
    file: PathBuf,
    file_hash: String,
    id: String,
    input: String,
    output: String,
    size: usize,
    dimension: usize,
    /// The batch axis, where the model fixes it: every call takes exactly so many pictures.
    fixed: Option<usize>,
    /// Whether pictures must not share an inference.
    alone: bool,
    backend: Backend,
}

impl Model {
    /// Loads a model and runs it once on black pictures, so that one that can't run fails here.
    /// Weights in separate files are not supported, since the identity is that of one file.
    ///
    /// # Errors
    /// When the file is no ONNX model, the backend can't run it, or it is not an image encoder for
    /// pictures of this size.
    pub fn load(runtime: &InferenceRuntime, file: &Path, options: &ModelOptions) -> Result<Self, ModelError> {
        let bytes =
            std::fs::read(file).map_err(|source| ModelError::Read { file: file.to_owned(), source })?;
        if !is_onnx(&bytes) {
            return Err(ModelError::NotOnnx { file: file.to_owned() });
        }
        let file_hash = blake3::hash(&bytes).to_hex().to_string();
        let backend = runtime.backend();
        let session = guarded(|| runtime.session()?.commit_from_memory(&bytes))
            .map_err(|message| ModelError::Load { file: file.to_owned(), backend, message })?;
        // Such a model quantises by the range of all values of a batch, so other pictures affect
        // the result: in a batch of eight, CLIP's embeddings differed by up to 0.02 in cosine.
        let quantises = contains(&bytes, b"DynamicQuantize");
        drop(bytes);

        let fit = ShapeCheck { file, size: options.size as usize };
        let (input, fixed) = fit.input(session.inputs(), options.input.as_deref())?;
        let (output, declared) = fit.output(session.outputs(), options.output.as_deref())?;
        let mut hasher = blake3::Hasher::new();
        for part in [file_hash.as_str(), input.as_str(), output.as_str(), &options.size.to_string()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let mut model = Self {
            session,
            file: file.to_owned(),
            file_hash,
            id: hasher.finalize().to_hex()[..16].to_owned(),
            input,
            output,
            size: fit.size,
            dimension: 0,
            fixed,
            // Tract takes one core, where a batch would save little.
            alone: quantises || (backend == Backend::Tract && fixed.is_none()),
            backend,
        };
        model.dimension = model.measure(declared)?;
        Ok(model)
    }

    /// The model's identity (its file, input, output and picture size), as 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The file's BLAKE3 hash, as 64 hexadecimal digits.
    #[must_use]
    pub fn file_hash(&self) -> &str {
        &self.file_hash
    }

    /// The length of an embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Maximum number of pictures per inference, if limited: by the model, or to one if the
    /// pictures of a batch would affect each other's embeddings.
    #[must_use]
    pub fn max_batch(&self) -> Option<usize> {
        if self.alone { Some(1) } else { self.fixed }
    }

    /// What runs it.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Embeds `n` pictures (each 3 × size × size, channel by channel) and appends `n` × dimension
    /// values. Splits longer batches than the model takes. If the model fixes the length, a shorter
    /// batch is filled with copies of its last picture, since zeros could widen the range for
    /// quantisation.
    ///
    /// # Errors
    /// When `batch` has another length, or inference fails; `out` is then as it was.
    pub fn run(&mut self, batch: &[f32], n: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let picture = self.picture();
        if n.checked_mul(picture) != Some(batch.len()) {
            let expected = n.saturating_mul(picture);
            return Err(ModelError::Batch { images: n, expected, found: batch.len() });
        }
        let before = out.len();
        out.reserve(n * self.dimension);
        for part in batch.chunks(self.max_batch().unwrap_or(n).max(1) * picture) {
            if let Err(error) = self.run_part(part, out) {
                out.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// As [`Model::run`], in one inference regardless of [`Model::max_batch`]. To compare with
    /// vectors that were made in such batches.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_together(&mut self, batch: &[f32], n: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let expected = n.saturating_mul(self.picture());
        if expected != batch.len() {
            return Err(ModelError::Batch { images: n, expected, found: batch.len() });
        }
        self.run_part(batch, out)
    }

    /// One inference, on at most as many pictures as the model takes.
    fn run_part(&mut self, part: &[f32], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let picture = self.picture();
        let images = part.len() / picture;
        let before = out.len();
        match self.fixed {
            Some(takes) if images < takes => {
                let mut filled = Vec::with_capacity(takes * picture);
                filled.extend_from_slice(part);
                for _ in images..takes {
                    filled.extend_from_slice(&part[part.len() - picture..]);
                }
                self.infer(&filled, takes, out)?;
                out.truncate(before + images * self.dimension);
            }
            _ => self.infer(part, images, out)?,
        }
        Ok(())
    }

    /// Runs the session and appends its output, which must have `images` rows of the model's
    /// dimension, once that is known.
    fn infer(&mut self, values: &[f32], images: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let Self { session, file, input, output, size, dimension, .. } = self;
        let failed = |message: String| ModelError::Run { file: file.clone(), images, message };
        let found = guarded(|| {
            let tensor = TensorRef::from_array_view(([images, CHANNELS, *size, *size], values))?;
            let outputs = session.run(ort::inputs![input.as_str() => tensor])?;
            let Some(value) = outputs.get(&*output) else {
                return Err(ort::Error::new(format!("no output {output} came back")));
            };
            let (shape, data) = value.try_extract_tensor::<f32>()?;
            let fits = matches!(**shape, [rows, width] if usize::try_from(rows) == Ok(images) && width > 0
                    && (*dimension == 0 || usize::try_from(width) == Ok(*dimension)));
            if fits {
                out.extend_from_slice(data);
                return Ok(None);
            }
            Ok(Some(axes(shape)))
        });
        match found.map_err(failed)? {
            None => Ok(()),
            Some(found) => {
                let width = if *dimension == 0 { "dimension".to_owned() } else { dimension.to_string() };
                let expected = format!("output {output} of shape [{images}, {width}]");
                Err(ModelError::Shape { file: file.clone(), expected, found })
            }
        }
    }

    /// The length of an embedding, from a run on black pictures.
    fn measure(&mut self, declared: Option<usize>) -> Result<usize, ModelError> {
        let images = self.fixed.unwrap_or(1);
        let mut out = Vec::new();
        self.infer(&vec![0.0; images * self.picture()], images, &mut out)?;
        let dimension = out.len() / images;
        match declared {
            Some(declared) if declared != dimension => Err(ModelError::Shape {
                file: self.file.clone(),
                expected: format!("output {} of {declared} values, as it declares", self.output),
                found: dimension.to_string(),
            }),
            _ => Ok(dimension),
        }
    }

    /// Values of one picture.
    fn picture(&self) -> usize {
        CHANNELS * self.size * self.size
    }
}

/// Whether a model's inputs and outputs are those of an image encoder.
struct ShapeCheck<'a> {
    file: &'a Path,
    size: usize,
}

impl ShapeCheck<'_> {
    /// The input's name, and its batch where that is fixed.
    fn input(&self, inputs: &[Outlet], name: Option<&str>) -> Result<(String, Option<usize>), ModelError> {
        let outlet = self.named("input", inputs, name)?;
        if inputs.len() != 1 {
            return Err(
                self.error("images as the only input".into(), format!("the inputs {}", names(inputs)))
            );
        }
        let size = self.size;
        let expected = || format!("input {} of shape [batch, 3, {size}, {size}] and type f32", outlet.name());
        let fits = |axis: i64, wanted: usize| axis < 0 || usize::try_from(axis) == Ok(wanted);
        match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => match **shape {
                // Not declared: the first run will show.
                [] => Ok((outlet.name().to_owned(), None)),
                [batch, channels, height, width]
                    if batch != 0 && fits(channels, CHANNELS) && fits(height, size) && fits(width, size) =>
                {
                    Ok((outlet.name().to_owned(), usize::try_from(batch).ok()))
                }
                _ => Err(self.error(expected(), axes(shape))),
            },
            other => Err(self.error(expected(), other.to_string())),
        }
    }

    /// The output's name, and the embedding's length where that is declared.
    fn output(&self, outputs: &[Outlet], name: Option<&str>) -> Result<(String, Option<usize>), ModelError> {
        let outlet = self.named("output", outputs, name)?;
        let expected = || format!("output {} of shape [batch, dimension] and type f32", outlet.name());
        match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => match **shape {
                [] => Ok((outlet.name().to_owned(), None)),
                [_, width] if width != 0 => Ok((outlet.name().to_owned(), usize::try_from(width).ok())),
                _ => Err(self.error(expected(), axes(shape))),
            },
            other => Err(self.error(expected(), other.to_string())),
        }
    }

    fn named<'o>(
        &self,
        what: &str,
        outlets: &'o [Outlet],
        name: Option<&str>,
    ) -> Result<&'o Outlet, ModelError> {
        let found = match name {
            Some(name) => outlets.iter().find(|o| o.name() == name),
            None => outlets.first(),
        };
        found.ok_or_else(|| {
            let expected =
                name.map_or_else(|| format!("an {what}"), |name| format!("an {what} named {name}"));
            self.error(expected, if outlets.is_empty() { "none".into() } else { names(outlets) })
        })
    }

    fn error(&self, expected: String, found: String) -> ModelError {
        ModelError::Shape { file: self.file.to_owned(), expected, found }
    }
}

fn names(outlets: &[Outlet]) -> String {
    outlets.iter().map(Outlet::name).collect::<Vec<_>>().join(", ")
}

/// A shape as text; an axis that is open shows as a question mark.
fn axes(shape: &[i64]) -> String {
    let axes: Vec<String> =
        shape.iter().map(|&a| if a < 0 { "?".to_owned() } else { a.to_string() }).collect();
    format!("[{}]", axes.join(", "))
}

/// Whether bytes have the structure of an ONNX file: Protocol Buffers fields to the end, including
/// a graph. Distinguishes a truncated file, a saved web page or a pointer file from a model that
/// the backend can't run.
fn is_onnx(bytes: &[u8]) -> bool {
    const GRAPH: u64 = 7;
    let mut rest = bytes;
    let mut graph = false;
    while !rest.is_empty() {
        let Some(key) = varint(&mut rest) else { return false };
        let length = match key & 7 {
            0 => varint(&mut rest).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut rest).and_then(|n| usize::try_from(n).ok()),
            5 => Some(4),
            _ => None,
        };
        match length.and_then(|n| rest.split_at_checked(n)) {
            Some((_, after)) if key >> 3 != 0 => rest = after,
            _ => return false,
        }
        graph |= key == GRAPH << 3 | 2;
    }
    graph
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|w| w == word)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
