//! The demo's images: small drawings in the styles of its traffic, the encoder for them, and what is learned from them.
//!
//! They are simple on purpose (stripes, shapes, strokes, dots), but go the way of real ones: files that events name, decoded,
//! prepared, run through ONNX.

use crate::cli::CliError;
use crate::config::Embedding;
use crate::embed::style::{StyleFile, save};
use crate::embed::{Embedder, vector_plan};
use crate::enrich::reference::Reference;
use crate::generate::{IMAGES, STYLES};
use crate::store::Storage;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

/// The encoder; `fixtures/demo/encoder.py` makes it.
const ENCODER: &[u8] = include_bytes!("../../../fixtures/demo/encoder.onnx");
/// Side of an image in pixels.
const SIDE: usize = 64;
/// Content clusters.
const CLUSTERS: usize = 5;

/// The `[embedding]` section of the demo's configuration. Half of the images are enough to judge by.
pub fn section(dir: &Path) -> Result<String, CliError> {
    let path = |name: &str| -> Result<toml::Value, CliError> {
        let path = std::path::absolute(dir.join(name)).map_err(CliError::failed)?;
        let text = path.to_str().ok_or_else(|| {
            CliError::usage(format!("{} is not a UTF-8 path; choose another --dir", path.display()))
        })?;
        Ok(toml::Value::String(text.to_owned()))
    };
    Ok(format!(
        "\n[embedding]\nbase_uri = {}\nmodel = {}           # made for the demo's drawings; take CLIP for real images\nreference = {}\n\
         size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\ndimension = 64\nprovider = \"tract\"\n\
         rate = 0.5                    # the default looks at all images\n",
        path("")?,
        path("encoder.onnx")?,
        path("reference.json")?,
    ))
}

/// Draws the images and learns styles and reference from them; the styles go into each of the outputs.
///
/// # Errors
/// When the folder can't be written.
pub fn prepare(dir: &Path, embedding: &Embedding, outputs: &[Storage]) -> Result<(), CliError> {
    let Some(storage) = outputs.first() else { return Ok(()) };
    let wrote = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes)
            .map_err(|e| CliError::failed(format!("can't write {}: {e}", path.display())))
    };
    std::fs::create_dir_all(dir.join("images")).map_err(CliError::failed)?;
    wrote(&dir.join("encoder.onnx"), ENCODER)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for (s, style) in STYLES.iter().enumerate() {
        for n in 0..IMAGES {
            let path = dir.join(format!("images/{style}-{n}.png"));
            wrote(&path, &draw(s, n)?)?;
            files.push(path);
        }
    }
    // Neither reference nor styles are there yet.
    let bare = Embedding { reference: None, ..embedding.clone() };
    let plan = vector_plan(&bare, storage).map_err(CliError::from)?;
    let embedder = Embedder::new(&bare, &plan, storage).map_err(CliError::from)?;
    let found = embedder.encode_files(&files).map_err(CliError::from)?;
    let vectors: Vec<Vec<f32>> = found.iter().flatten().map(|v| v.to_vec()).collect();
    for (style, of) in STYLES.iter().zip(found.chunks(IMAGES as usize)) {
        let vectors = of.iter().flatten().map(AsRef::as_ref);
        let style = StyleFile::of(style, &plan.model, vectors)
            .ok_or_else(|| CliError::failed("the demo's images have no vectors"))?;
        outputs.iter().try_for_each(|to| save(to, &style)).map_err(CliError::from)?;
    }
    // Each image stands for many requests; a fit asks for more vectors than there are drawings.
    let many: Vec<Vec<f32>> = vectors.iter().cycle().take(4 * vectors.len()).cloned().collect();
    let reference = Reference::fit(&many, CLUSTERS, 1).map_err(CliError::failed)?.named("demo");
    wrote(&dir.join("reference.json"), reference.to_json().as_bytes())
}

/// One drawing as PNG, the same every time.
fn draw(style: usize, number: u32) -> Result<Vec<u8>, CliError> {
    let mut rng = ChaCha8Rng::seed_from_u64(1000 * style as u64 + u64::from(number));
    let mut pixels = vec![[0u8; 3]; SIDE * SIDE];
    let base: [f64; 3] = std::array::from_fn(|_| rng.random_range(60.0..190.0));
    let (cx, cy, r) =
        (rng.random_range(20.0..44.0), rng.random_range(20.0..44.0), rng.random_range(9.0..18.0));
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((i % SIDE) as f64, (i / SIDE) as f64);
        let edge: f64 = ((x - cx).powi(2) + (y - cy).powi(2)).sqrt() - r;
        let inside = edge < 0.0;
        let value: [f64; 3] = match style {
            // A photo: light that falls off, grain.
            0 => base.map(|b| b + 1.2 * (y - 32.0) - 2.0 * edge.max(0.0) + rng.random_range(-14.0..14.0)),
            // An illustration: flat shapes, soft colours.
            1 => base.map(|b| if inside { 255.0 - b } else { 0.5 * b + 110.0 }),
            // A painting: broad strokes.
            2 => base.map(|b| b + 38.0 * ((x + 0.6 * y) / 3.0).sin() + if inside { 45.0 } else { 0.0 }),
            // Anime: pure colours, a dark outline, light eyes.
            3 if edge.abs() < 1.6 => [15.0; 3],
            3 if inside => [250.0, 0.6 * base[1] + 90.0, 225.0],
            3 => [0.4 * base[0] + 140.0, 240.0, 250.0],
            // A comic: dots, hard blacks.
            _ if edge.abs() < 2.5 => [0.0; 3],
            _ if (x as usize % 5 < 2) && (y as usize % 5 < 2) => [20.0, 20.0, 40.0],
            _ => {
                if inside {
                    [235.0, 205.0, 60.0]
                } else {
                    [225.0, 225.0, 215.0]
                }
            }
        };
        *pixel = value.map(|v| v.clamp(0.0, 255.0) as u8);
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, SIDE as u32, SIDE as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(CliError::failed)?;
    writer.write_image_data(pixels.as_flattened()).map_err(CliError::failed)?;
    writer.finish().map_err(CliError::failed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_the_same_every_time_and_differ_between_styles() {
        let all: Vec<Vec<u8>> = (0..STYLES.len()).map(|s| draw(s, 3).unwrap()).collect();
        assert_eq!(all[3], draw(3, 3).unwrap());
        assert!(all.windows(2).all(|w| w[0] != w[1]));
    }
}
