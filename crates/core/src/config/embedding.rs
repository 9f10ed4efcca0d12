//! `[embedding]`: where images' vectors come from, what they are compared with, and the limits on
//! fetching.

use super::units::{Size, Span};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// ONNX Runtime where its library is found, on the GPU where there is one; else the built-in
    /// runtime.
    #[default]
    Auto,
    /// ONNX Runtime on the GPU, or an error.
    Cuda,
    /// ONNX Runtime on the CPU.
    Cpu,
    /// The built-in runtime, which needs no installation.
    Tract,
}

impl Provider {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
            Self::Tract => "tract",
        }
    }
}

/// `[embedding]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// What relative `image_uri`, `thumb_uri` and `embedding_uri` are relative to: a folder or a
    /// URL.
    pub base_uri: Option<String>,
    /// Prefixes of allowed absolute URIs; none: only `base_uri` is read.
    pub allow: Vec<String>,
    /// Whether allowed URLs may lead to private addresses.
    pub allow_private: bool,
    /// The image encoder, an ONNX file; without it only vectors that events carry or name are used.
    pub model: Option<PathBuf>,
    /// The model's input; its first where absent.
    pub input: Option<String>,
    /// The model's output; its first where absent.
    pub output: Option<String>,
    /// Side of the model's input in pixels.
    pub size: u32,
    /// Mean of the model's input by channel.
    pub mean: [f32; 3],
    /// Standard deviation of the model's input by channel.
    pub std: [f32; 3],
    /// What runs the model.
    pub provider: Provider,
    /// ONNX Runtime's library; found by `ORT_DYLIB_PATH` or an installed `onnxruntime` package
    /// where absent.
    pub runtime: Option<PathBuf>,
    /// The GPU.
    pub device: i32,
    /// Threads of the model on the CPU; 0: one per core.
    pub threads: usize,
    /// Images in one run of the model, at most.
    pub batch: usize,
    /// Which model made the vectors that events carry, where no `model` is configured.
    pub name: String,
    /// Components of a vector, where no `model` is configured.
    pub dimension: usize,
    /// The file of a reference (`driftglass style fit`): projection and content clusters. Absent:
    /// fixed random directions, no clusters.
    pub reference: Option<PathBuf>,
    /// The named style that events are measured against which have no `style.collection`, or one
    /// that is not a named style.
    pub target: Option<String>,
    /// A linear head for the aesthetic score of events that carry none: a JSON file.
    pub head: Option<PathBuf>,
    /// Share of requests whose image is sampled.
    pub rate: f64,
    /// The most images sampled per minute of event time, partition and combination of segment
    /// values.
    pub per_minute: u32,
    /// A `vectors` table, or the output that has one: its vectors are used instead of fetching and
    /// embedding.
    pub recorded: Option<String>,
    /// Largest file.
    pub max_bytes: Size,
    /// Most pixels.
    pub max_pixels: u64,
    /// Time for one attempt to fetch.
    pub timeout: Span,
    /// Attempts after the first.
    pub retries: u32,
    /// Fetches at once.
    pub concurrency: usize,
}

impl Default for Embedding {
    fn default() -> Self {
        Self {
            base_uri: None,
            allow: Vec::new(),
            allow_private: false,
            model: None,
            input: None,
            output: None,
            size: 224,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            provider: Provider::Auto,
            runtime: None,
            device: 0,
            threads: 0,
            batch: 16,
            name: "clip-vit-b16".into(),
            dimension: 512,
            reference: None,
            target: None,
            head: None,
            rate: 1.0,
            per_minute: 60,
            recorded: None,
            max_bytes: Size(16 << 20),
            max_pixels: 40_000_000,
            timeout: Span(10 * crate::event::time::SECOND),
            retries: 3,
            concurrency: 16,
        }
    }
}
