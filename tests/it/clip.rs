//! Real images through the real CLIP: the vectors that the whole stage makes are those that Pillow and ONNX Runtime make.

use crate::support::*;
use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use driftglass::config::Provider;
use driftglass::embed::model::{Model, ModelOptions};
use driftglass::embed::preprocess::Preprocessing;
use driftglass::embed::runtime::{RuntimeOptions, start};
use std::path::Path;
use std::process::Command;

/// What `tests/clip.sh` says, or a line why the test is passed over.
fn clip(what: &str) -> Option<String> {
    let out = Command::new(script("clip.sh")).arg(what).output().expect("the script starts");
    let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if !out.status.success() {
        say(&format!("skipped real CLIP: {said}{}", String::from_utf8_lossy(&out.stderr).trim()));
        return None;
    }
    Some(said)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The reference was made in batches of eight, and this model's vectors depend on who else is in their batch.
const TOGETHER: usize = 8;

/// Copies of JPEG files as PNG, pixel by pixel as Pillow decodes them; `None` with a line where there is no Python for it.
fn pngs(data: &Path, files: &[&str], into: &Path) -> Option<()> {
    let python = Command::new("bash").arg(script("python.sh")).output().ok().filter(|o| o.status.success());
    let Some(python) = python else {
        say("skipped real CLIP: no Python for Pillow's pixels");
        return None;
    };
    let copy = "import sys\nfrom PIL import Image\nfor f in sys.argv[3:]: Image.open(f'{sys.argv[1]}/{f}').convert('RGB').save(f'{sys.argv[2]}/{f}.png')";
    let done = Command::new(String::from_utf8(python.stdout).unwrap().trim())
        .args(["-c", copy, text(&data.join("images")), text(into)])
        .args(files)
        .status()
        .expect("Python starts");
    done.success().then_some(())
}

/// Cosines in order: the least, the median, and the share of at least 0.999.
fn shares(mut cosines: Vec<f64>) -> (f64, f64, f64) {
    cosines.sort_by(f64::total_cmp);
    let close = cosines.iter().filter(|c| **c >= 0.999).count() as f64 / cosines.len() as f64;
    (cosines[0], cosines[cosines.len() / 2], close)
}

#[test]
fn images_embedded_here_are_those_of_the_reference() {
    let Some(data) = data("real images through CLIP") else { return };
    if clip("available").is_none() {
        return;
    }
    let (Some(file), Some(library)) = (clip("model"), clip("runtime")) else { return };
    let every = std::env::var("DRIFTGLASS_CLIP_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let csv = std::fs::read_to_string(data.join("embeddings/sd_cheatsheet.csv")).unwrap();
    let files: Vec<&str> = csv.lines().skip(1).map(|l| l.split(',').nth(1).unwrap()).collect();
    let reference = npy(&data.join("embeddings/sd_cheatsheet.npy"));

    let library = Some(library.into());
    let options = RuntimeOptions { provider: Provider::Cpu, library, device: 0, threads: 0 };
    let options_of_model = ModelOptions { input: None, output: None, size: 224 };
    let runtime = start(&options).unwrap();
    let mut model = Model::load(&runtime, file.as_ref(), &options_of_model).unwrap();
    assert_eq!(model.max_batch(), Some(1), "alone, so that an image's vector is its own");
    let preprocessing = Preprocessing::default();
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let batches: Vec<(usize, &[&str])> = files.chunks(TOGETHER).enumerate().step_by(every).collect();
    let chosen: Vec<&str> = batches.iter().flat_map(|b| b.1).copied().collect();
    if pngs(&data, &chosen, d).is_none() {
        return;
    }
    let (mut of_png, mut of_jpeg, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for (batch, files) in batches {
        for png in [true, false] {
            let mut tensors = vec![0.0; files.len() * preprocessing.len()];
            for (file, tensor) in files.iter().zip(tensors.chunks_mut(preprocessing.len())) {
                let path = if png { d.join(format!("{file}.png")) } else { data.join("images").join(file) };
                preprocessing.tensor(&std::fs::read(path).unwrap(), 1 << 24, tensor).unwrap();
            }
            let mut out = Vec::new();
            model.run_together(&tensors, files.len(), &mut out).unwrap();
            for (i, vector) in out.chunks(512).enumerate() {
                let row = batch * TOGETHER + i;
                let cosine = cosine(vector, &reference[row * 512..(row + 1) * 512]);
                if png { of_png.push(cosine) } else { of_jpeg.push(cosine) }
            }
            if batch == 0 && !png {
                model.run(&tensors, files.len(), &mut alone).unwrap();
            }
        }
    }
    let n = of_png.len();
    let ((least, median, close), jpeg) = (shares(of_png), shares(of_jpeg));
    say(&format!(
        "{n} real images from Pillow's pixels: least cosine {least:.6}, median {median:.7}, at least 0.999 for {:.1} %",
        100.0 * close
    ));
    say(&format!(
        "the same from JPEG bytes: least {:.4}, median {:.4}, at least 0.999 for {:.1} %",
        jpeg.0,
        jpeg.1,
        100.0 * jpeg.2
    ));
    assert!(close >= 0.99, "{close}");
    // This model rounds to eight bits as it runs: a thousandth of the pixels off by one level is already 0.02 away.
    assert!(jpeg.2 >= 0.99, "{jpeg:?}");
    drop(model);

    // The whole command makes the same of the first eight, each alone.
    let begin = driftglass::event::time::parse("2026-01-05T00:00:00Z").unwrap();
    let event = |(i, file): (usize, &&str)| {
        let at = driftglass::event::time::text(begin + i as i64 * 2_000_000);
        format!(
            r#"{{"request_id":"{i}","timestamp":"{at}","pipeline_stage":"generate","artifacts":{{"image_uri":"images/{file}"}}}}"#
        )
    };
    let events: Vec<String> = files[..TOGETHER].iter().enumerate().map(event).collect();
    std::fs::write(d.join("events.jsonl"), events.join("\n")).unwrap();
    let config = format!(
        "[privacy]\nkey = \"k\"\n[embedding]\nbase_uri = {:?}\nmodel = {file:?}\nruntime = {:?}\nprovider = \"cpu\"\n",
        text(&data),
        options.library.unwrap().display().to_string(),
    );
    std::fs::write(d.join("job.toml"), config).unwrap();
    let (config, out) = (d.join("job.toml"), d.join("out"));
    ok(&["replay", "-c", text(&config), "-o", text(&out), text(&d.join("events.jsonl")), "-q"]);
    let mut found = 0;
    for b in table(&out, "vectors") {
        let ids = b.column_by_name("request_id").unwrap().as_string::<i32>().clone();
        let vectors = b.column_by_name("vector").unwrap().as_list::<i32>().clone();
        for i in 0..b.num_rows() {
            let vector = vectors.value(i).as_primitive::<Float32Type>().values().to_vec();
            let row: usize = ids.value(i).parse().unwrap();
            let same = cosine(&vector, &alone[row * 512..(row + 1) * 512]);
            assert!(same > 0.999_999, "image {row}: {same}");
            found += 1;
        }
    }
    assert_eq!(found, TOGETHER);
}
