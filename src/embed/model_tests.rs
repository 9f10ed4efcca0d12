//! Tests of models: tiny ones of `fixtures/embed` always, on the built-in backend; the same and a
//! real one on ONNX Runtime where its library is at hand.

use super::model::{Model, ModelError, ModelOptions};
use super::runtime::{Backend, InferenceRuntime};
use super::runtime_tests::{alone_with_library, cpu, needed, tract};
use std::path::PathBuf;

/// Names the CLIP model (`tests/clip.sh model` prints it).
const CLIP: &str = "DRIFTGLASS_CLIP";
const SIZE: usize = 16;
const PICTURE: usize = 3 * SIZE * SIZE;
const WIDTH: usize = 8;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "embed", name].iter().collect()
}

fn options() -> ModelOptions {
    ModelOptions { input: None, output: None, size: 16 }
}

fn load(runtime: &InferenceRuntime, name: &str) -> Result<Model, ModelError> {
    Model::load(runtime, &fixture(name), &options())
}

/// A picture of one colour.
fn picture(colour: [f32; 3]) -> Vec<f32> {
    colour.into_iter().flat_map(|c| std::iter::repeat_n(c, SIZE * SIZE)).collect()
}

/// What `tiny.onnx` gives for a picture of one colour, by hand (see `models.py`).
fn by_hand(colour: [f32; 3]) -> Vec<f32> {
    let hidden: Vec<f32> = (0..4)
        .map(|i| {
            (0..3).map(|j| ((3 * i + j) % 5 - 2) as f32 / 4.0 * colour[j as usize]).sum::<f32>().max(0.0)
        })
        .collect();
    (0..WIDTH)
        .map(|j| {
            let sum: f32 = (0..4).map(|i| hidden[i] * ((2 * i + j) as i32 % 7 - 3) as f32 / 8.0).sum();
            sum + j as f32 / 16.0
        })
        .collect()
}

const COLOURS: [[f32; 3]; 6] = [
    [1.0, 0.5, 0.25],
    [0.0, 0.0, 0.0],
    [-1.0, 2.0, 0.5],
    [0.25, -0.75, 1.5],
    [1.0, 1.0, 1.0],
    [0.5, 0.0, -2.0],
];

/// A model embeds every number of pictures as it does each alone, and appends.
fn embeds(mut model: Model) {
    for n in 0..=COLOURS.len() {
        let batch: Vec<f32> = COLOURS[..n].iter().flat_map(|&c| picture(c)).collect();
        let mut out = vec![9.0];
        model.run(&batch, n, &mut out).unwrap();
        assert_eq!(out.len(), 1 + n * WIDTH);
        assert_eq!(out[0], 9.0);
        for (got, colour) in out[1..].chunks(WIDTH).zip(COLOURS) {
            for (got, wanted) in got.iter().zip(by_hand(colour)) {
                assert!((got - wanted).abs() < 1e-5, "{got} is not {wanted}, for {colour:?} among {n}");
            }
        }
    }
}

fn everything(runtime: &InferenceRuntime) {
    let model = load(runtime, "tiny.onnx").unwrap();
    assert_eq!((model.dimension(), model.backend()), (WIDTH, runtime.backend()));
    let bytes = std::fs::read(fixture("tiny.onnx")).unwrap();
    assert_eq!(model.file_hash(), blake3::hash(&bytes).to_hex().as_str());
    assert_eq!(model.id().len(), 16);
    embeds(model);

    let model = load(runtime, "fixed.onnx").unwrap();
    assert_eq!((model.dimension(), model.max_batch()), (WIDTH, Some(4)));
    embeds(model);

    another_output(runtime);
    misfits(runtime);
    no_models(runtime);
    wrong_batches(runtime);
}

fn another_output(runtime: &InferenceRuntime) {
    let first = load(runtime, "tiny.onnx").unwrap();
    let named = ModelOptions { output: Some("flat".into()), input: Some("pixels".into()), size: 16 };
    let mut second = Model::load(runtime, &fixture("tiny.onnx"), &named).unwrap();
    assert_eq!(second.dimension(), 4);
    assert_eq!(first.file_hash(), second.file_hash());
    assert_ne!(first.id(), second.id());
    let mut out = Vec::new();
    second.run(&picture([0.0, 0.0, 4.0]), 1, &mut out).unwrap();
    assert_eq!(out, [0.0, 0.0, 1.0, 0.0]);
}

/// Every refusal names the file and what was expected.
fn misfits(runtime: &InferenceRuntime) {
    let shape = "input pixels of shape [batch, 3, 16, 16] and type f32";
    for (name, expected) in [
        ("grey.onnx", shape),
        ("bytes.onnx", shape),
        ("map.onnx", "output positive of shape [batch, dimension] and type f32"),
        ("text.onnx", "images as the only input, found the inputs pixels, tokens"),
    ] {
        let error = load(runtime, name).unwrap_err();
        assert!(matches!(error, ModelError::Shape { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(expected), "{text}");
    }
    let refused = |options: ModelOptions| {
        Model::load(runtime, &fixture("tiny.onnx"), &options).unwrap_err().to_string()
    };
    let text = refused(ModelOptions { size: 32, ..options() });
    assert!(
        text.ends_with(
            "expected input pixels of shape [batch, 3, 32, 32] and type f32, found [?, 3, 16, 16]"
        ),
        "{text}"
    );
    let text = refused(ModelOptions { input: Some("image".into()), ..options() });
    assert!(text.ends_with("expected an input named image, found pixels"), "{text}");
    let text = refused(ModelOptions { output: Some("vector".into()), ..options() });
    assert!(text.ends_with("expected an output named vector, found embedding, flat"), "{text}");
}

fn no_models(runtime: &InferenceRuntime) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    let load = || Model::load(runtime, &file, &options()).unwrap_err();
    assert!(matches!(load(), ModelError::Read { .. }));
    let whole = std::fs::read(fixture("tiny.onnx")).unwrap();
    let others: [&[u8]; 4] =
        [b"", b"<html>not found</html>", b"version https://git-lfs", &whole[..whole.len() - 9]];
    for bytes in others {
        std::fs::write(&file, bytes).unwrap();
        let error = load();
        assert!(matches!(error, ModelError::NotOnnx { .. }), "{error}");
        assert!(error.to_string().ends_with("model.onnx is not an ONNX model"), "{error}");
    }
    // Well-formed as far as the fields go, and no graph that anything could run.
    std::fs::write(&file, b"\x08\x08\x3a\x05\x0a\x03\x22\x01Q").unwrap();
    let error = load();
    assert!(matches!(error, ModelError::Load { .. }), "{error}");
    assert!(error.to_string().contains("model.onnx"), "{error}");
}

fn wrong_batches(runtime: &InferenceRuntime) {
    let mut model = load(runtime, "tiny.onnx").unwrap();
    let mut out = vec![1.0];
    let error = model.run(&picture([0.0; 3])[1..], 1, &mut out).unwrap_err();
    assert_eq!(error.to_string(), format!("a batch of 1 images takes {PICTURE} values, not {}", PICTURE - 1));
    let error = model.run(&[0.0], usize::MAX, &mut out).unwrap_err();
    assert!(matches!(error, ModelError::Batch { .. }), "{error}");
    assert_eq!(out, [1.0]);
}

#[test]
fn the_built_in_backend_runs_models() {
    everything(&tract());
}

#[test]
fn a_model_may_go_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Model>();
    sendable::<InferenceRuntime>();
}

#[test]
fn onnx_runtime_runs_models() {
    alone_with_library(module_path!(), "onnx_runtime_alone");
}

#[test]
#[ignore = "runs in a process of its own, started by onnx_runtime_runs_models"]
fn onnx_runtime_alone() {
    let runtime = cpu();
    everything(&runtime);
    assert_eq!(load(&runtime, "tiny.onnx").unwrap().max_batch(), None);
}

#[test]
fn onnx_runtime_runs_clip() {
    if needed(CLIP).is_some() {
        alone_with_library(module_path!(), "clip_alone");
    }
}

#[test]
#[ignore = "runs in a process of its own, started by onnx_runtime_runs_clip"]
fn clip_alone() {
    let file = needed(CLIP).unwrap();
    let mut model = Model::load(&cpu(), &file, &ModelOptions { size: 224, ..options() }).unwrap();
    assert_eq!((model.dimension(), model.max_batch(), model.backend()), (512, Some(1), Backend::Cpu));
    let pixels = 3 * 224 * 224;
    let stripes: Vec<f32> = (0..pixels).map(|i| if i / 28 % 2 == 0 { 1.5 } else { -1.5 }).collect();
    let ramp: Vec<f32> = (0..pixels).map(|i| (i % 224) as f32 / 64.0 - 1.75).collect();
    let mut alone = Vec::new();
    model.run(&stripes, 1, &mut alone).unwrap();
    model.run(&ramp, 1, &mut alone).unwrap();
    let mut together = Vec::new();
    model.run(&[stripes, ramp].concat(), 2, &mut together).unwrap();
    assert!(alone.iter().all(|v| v.is_finite()));
    // This model quantises with the range of all it is given, and yet a picture's company must not
    // show.
    assert_eq!(alone, together);
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    assert!(cosine(&alone[..512], &alone[512..]) < 0.95, "two pictures look alike to it");
}
