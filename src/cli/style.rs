//! `driftglass style`: named styles that images are compared with, and the reference that projects
//! vectors.

use super::common::{runtime, say, storage};
use super::{CliError, ConfigFile, Global};
use crate::config::{Config, Embedding};
use crate::embed::style::{self, StyleFile};
use crate::embed::{Embedder, vector_plan};
use crate::enrich::reference::Reference;
use crate::enrich::vectors::VectorPlan;
use crate::event::text::{is_name, normal};
use crate::store::Storage;
use crate::store::vectors::{VectorOutcome, read_vectors};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Images embedded between two lines of progress.
const STEP: usize = 64;

/// Arguments.
#[derive(Debug, Args)]
pub struct StyleCommand {
    #[command(subcommand)]
    action: StyleAction,
}

#[derive(Debug, Subcommand)]
enum StyleAction {
    /// Make a style from images
    ///
    /// Images are compared with the style that embedding.target names, and with the style of the
    /// name in the event's style.collection.
    Build {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the style
        name: String,
        /// Images (JPEG, PNG, WebP), and folders of them
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// Learn projection and content clusters from images, or from the vectors of a job
    Fit {
        #[command(flatten)]
        config: ConfigFile,
        /// File to write; set it as embedding.reference
        file: PathBuf,
        /// Images, and folders of them; default: the output's vectors table
        #[arg(long, num_args = 1.., value_name = "IMAGE")]
        images: Vec<PathBuf>,
        /// Number of content clusters
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(0..=256))]
        clusters: u16,
        /// Maximum number of vectors, sampled by hash
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
        most: u32,
        /// Seed of the clustering
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// List the styles
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove a style
    Drop {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the style
        name: String,
    },
}

impl StyleCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// When the configuration is wrong, images can't be read, or the output fails.
    pub fn run(self, global: &Global) -> Result<(), CliError> {
        let runtime = runtime()?;
        match self.action {
            StyleAction::Build { config, name, images } => {
                let config = config.read()?;
                build(&config, &storage(&config, &runtime)?, &name, &images, global)
            }
            StyleAction::Fit { config, file, images, clusters, most, seed } => {
                let config = config.read()?;
                let storage = storage(&config, &runtime)?;
                let vectors = match images.is_empty() {
                    true => recorded(&storage, most as usize)?,
                    false => {
                        let (found, _) = embedded(&config, &storage, &images, global)?;
                        found.into_iter().flatten().map(|v| v.to_vec()).collect()
                    }
                };
                fit(&vectors, &file, usize::from(clusters), seed, global)
            }
            StyleAction::List { config } => list(&storage(&config.read()?, &runtime)?, global),
            StyleAction::Drop { config, name } => {
                let storage = storage(&config.read()?, &runtime)?;
                if !style::remove(&storage, &normal(&name)).map_err(CliError::from)? {
                    return Err(CliError::usage(format!("there is no style {name:?} in {}", storage.url())));
                }
                say(format_args!("dropped {name}; a running job keeps it until its next start"))?;
                Ok(())
            }
        }
    }
}

pub(super) fn section(config: &Config) -> Result<&Embedding, CliError> {
    config.embedding.as_ref().ok_or_else(|| {
        CliError::usage("the configuration has no [embedding]: set the model there, model = \"clip.onnx\"")
    })
}

/// The vectors of images, in the order of their paths.
fn embedded(
    config: &Config,
    storage: &Storage,
    images: &[PathBuf],
    global: &Global,
) -> Result<(Vec<VectorOutcome>, VectorPlan), CliError> {
    let section = section(config)?;
    let files = files_of(images)?;
    if files.is_empty() {
        return Err(CliError::usage("there is no JPEG, PNG or WebP file at these paths"));
    }
    // The target may be the style that is being made.
    let section = Embedding { target: None, recorded: None, ..section.clone() };
    let plan = vector_plan(&section, storage).map_err(CliError::from)?;
    let embedder = Embedder::new(&section, &plan, storage).map_err(CliError::from)?;
    let bar = indicatif::ProgressBar::new(files.len() as u64);
    if global.quiet || global.json {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut found = Vec::with_capacity(files.len());
    for part in files.chunks(STEP) {
        found.extend(embedder.encode_files(part).map_err(CliError::from)?);
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok((found, plan))
}

fn build(
    config: &Config,
    storage: &Storage,
    name: &str,
    images: &[PathBuf],
    global: &Global,
) -> Result<(), CliError> {
    // In the normal form that names of events have.
    let name = &*normal(name);
    if !is_name(name) {
        return Err(CliError::usage(format!(
            "{name:?} can't be the name of a style: use 1 to 128 characters on one line"
        )));
    }
    let (found, plan) = embedded(config, storage, images, global)?;
    let reasons = refusals(&found);
    let vectors = found.iter().flatten().map(AsRef::as_ref);
    let style = StyleFile::of(name, &plan.model, vectors)
        .ok_or_else(|| CliError::failed(format!("no usable image{reasons}")))?;
    style::save(storage, &style).map_err(CliError::from)?;
    if global.json {
        say(
            serde_json::json!({ "style": name, "images": style.images, "model": style.model, "concentration": style.concentration }),
        )?;
        return Ok(());
    }
    say(format_args!(
        "{name}: {} images{reasons}, concentration {:.3} (1: all alike); a running job uses it after its next start",
        style.images, style.concentration
    ))?;
    Ok(())
}

fn refusals(found: &[VectorOutcome]) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in found.iter().filter_map(|r| r.as_ref().err()) {
        *reasons.entry(reason).or_default() += 1;
    }
    let of: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
    if of.is_empty() { String::new() } else { format!(" ({} skipped)", of.join(", ")) }
}

/// The vectors that a job has recorded, at most `most`.
fn recorded(storage: &Storage, most: usize) -> Result<Vec<Vec<f32>>, CliError> {
    let mut kept: BTreeMap<(u64, i64), Vec<f32>> = BTreeMap::new();
    let mut model: Option<std::sync::Arc<str>> = None;
    for file in storage.list("vectors").map_err(CliError::failed)? {
        for (time, request, made_by, outcome) in read_vectors(storage, &file).map_err(CliError::failed)? {
            let Ok(vector) = outcome else { continue };
            if *model.get_or_insert_with(|| made_by.clone()) != made_by {
                return Err(CliError::usage(
                    "the vectors table has vectors of several models; fit from images, or from an output of one model",
                ));
            }
            kept.insert((request, time), vector.to_vec());
            if kept.len() > most {
                kept.pop_last();
            }
        }
    }
    if kept.is_empty() {
        return Err(CliError::usage(format!(
            "{} has no vectors: run or replay with [embedding] first, or give --images",
            storage.url()
        )));
    }
    Ok(kept.into_values().collect())
}

fn fit(
    vectors: &[Vec<f32>],
    file: &Path,
    clusters: usize,
    seed: u64,
    global: &Global,
) -> Result<(), CliError> {
    let name = file.file_stem().map_or_else(|| "reference".into(), |s| s.to_string_lossy().into_owned());
    let reference = Reference::fit(vectors, clusters, seed).map_err(CliError::usage)?.named(name);
    std::fs::write(file, reference.to_json())
        .map_err(|e| CliError::failed(format!("can't write {}: {e}", file.display())))?;
    let about = reference.about();
    if global.json {
        say(serde_json::json!({
            "reference": file.display().to_string(), "vectors": about.vectors, "components": reference.components(),
            "explained": about.explained, "clusters": reference.cluster_count(),
        }))?;
        return Ok(());
    }
    say(format_args!(
        "{}: {} directions explain {:.1} % of the variance of {} vectors, {} content clusters; set reference = {:?} under [embedding]",
        file.display(),
        reference.components(),
        100.0 * about.explained,
        about.vectors,
        reference.cluster_count(),
        // A relative path in the configuration is relative to the folder of that file.
        std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string(),
    ))?;
    Ok(())
}

fn list(storage: &Storage, global: &Global) -> Result<(), CliError> {
    let styles = style::list(storage).map_err(CliError::from)?;
    if global.json {
        let rows: Vec<_> = styles
            .iter()
            .map(|s| {
                serde_json::json!({ "style": s.name, "images": s.images, "model": s.model, "concentration": s.concentration })
            })
            .collect();
        say(serde_json::Value::Array(rows))?;
        return Ok(());
    }
    if styles.is_empty() {
        say("no styles yet: driftglass style build NAME IMAGES…")?;
    }
    for s in styles {
        say(format_args!(
            "{}: {} images, concentration {:.3}, model {}",
            s.name, s.images, s.concentration, s.model
        ))?;
    }
    Ok(())
}

/// The given files, and the images below the given folders, sorted.
pub(super) fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut out = Vec::new();
    for path in paths {
        let failed = |e| CliError::failed(format!("can't read {}: {e}", path.display()));
        if !path.is_dir() {
            std::fs::metadata(path).map_err(failed)?;
            out.push(path.clone());
            continue;
        }
        let mut folder: Vec<PathBuf> =
            std::fs::read_dir(path).map_err(failed)?.filter_map(Result::ok).map(|e| e.path()).collect();
        folder.retain(|p| p.is_dir() || is_image(p));
        folder.sort();
        out.extend(files_of(&folder)?);
    }
    Ok(out)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| matches!(e.as_str(), "jpg" | "jpeg" | "png" | "webp"))
}
