//! `driftglass bench-embed`: images per second of the whole stage, and of the model alone on
//! prepared tensors.

use super::common::{runtime, say, storage};
use super::style::{files_of, section};
use super::{CliError, ConfigFile};
use crate::embed::{Embedder, vector_plan};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments.
#[derive(Debug, Args)]
pub struct BenchEmbed {
    #[command(flatten)]
    config: ConfigFile,
    /// Images and folders of images
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Maximum number of images
    #[arg(long, default_value_t = 200)]
    most: usize,
    /// Number of rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl BenchEmbed {
    /// Measures, and prints a line of JSON with the medians.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn run(self) -> Result<(), CliError> {
        let runtime = runtime()?;
        let config = self.config.read()?;
        let storage = storage(&config, &runtime)?;
        let section = section(&config)?;
        let plan = vector_plan(section, &storage).map_err(CliError::from)?;
        let embedder = Embedder::new(section, &plan, &storage).map_err(CliError::from)?;
        let mut files = files_of(&self.images)?;
        files.truncate(self.most);
        let tensors = embedder.tensors(&files).map_err(CliError::from)?;
        let (mut whole, mut alone, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds.max(1) {
            let started = Instant::now();
            embedder.encode_tensors(&tensors).map_err(CliError::from)?;
            let model = started.elapsed().as_secs_f64();
            let started = Instant::now();
            embedder.encode_files(&files).map_err(CliError::from)?;
            let stage = started.elapsed().as_secs_f64();
            alone.push(tensors.len() as f64 / model);
            whole.push(files.len() as f64 / stage);
            shares.push(model / stage * files.len() as f64 / tensors.len() as f64);
        }
        say(serde_json::json!({
            "images": files.len(), "model_alone_per_s": median(&mut alone), "whole_stage_per_s": median(&mut whole),
            "share": median(&mut shares),
        }))?;
        Ok(())
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
