//! Checked against Pillow: `fixtures/preprocess.py` writes the images and some values of their
//! tensors.

use super::*;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Fixtures {
    images: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    file: String,
    size: u32,
    mean: f64,
    samples: Vec<(usize, f32)>,
}

const LIMIT: u64 = 1_000_000;

fn read(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/preprocess").join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn fixtures() -> Vec<Expected> {
    serde_json::from_slice::<Fixtures>(&read("expected.json")).unwrap().images
}

fn tensor_at(size: u32, bytes: &[u8], max_pixels: u64) -> Result<Vec<f32>, ImageError> {
    let preprocessing = Preprocessing { size, ..Preprocessing::default() };
    let mut out = vec![f32::NAN; preprocessing.len()];
    preprocessing.tensor(bytes, max_pixels, &mut out).map(|()| out)
}

fn refusal(bytes: &[u8], max_pixels: u64) -> &'static str {
    tensor_at(8, bytes, max_pixels).map_or_else(ImageError::reason, |_| "none")
}

/// `bytes` with those from `at` on replaced.
fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

#[test]
fn agrees_with_pillow() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 30);
    for expected in fixtures {
        let tensor = tensor_at(expected.size, &read(&expected.file), LIMIT).unwrap();
        // In levels of 0 to 255.
        let levels = 255.0 * 0.27;
        let (each, together) = (5e-3, 1e-3);
        for &(at, value) in &expected.samples {
            let off = (tensor[at] - value).abs() * levels;
            assert!(off <= each, "{}[{at}]: {} for {value}", expected.file, tensor[at]);
        }
        let mean = tensor.iter().map(|&v| f64::from(v)).sum::<f64>() / tensor.len() as f64;
        let off = (mean - expected.mean).abs() * f64::from(levels);
        assert!(off <= together, "{}: mean {mean} for {}", expected.file, expected.mean);
    }
}

#[test]
fn refuses_what_is_cut_off() {
    for Expected { file, .. } in fixtures() {
        let bytes = read(&file);
        for keep in [bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 40] {
            // The first of two frames may well be whole.
            if !file.starts_with("animated.png") {
                let reason = refusal(&bytes[..keep], LIMIT);
                assert_eq!(reason, "corrupt_image", "{file} at {keep} of {}", bytes.len());
            }
        }
        if !file.ends_with(".png") {
            assert_eq!(refusal(&bytes[..bytes.len() - 1], LIMIT), "corrupt_image", "{file}");
        }
        let mut longer = bytes.clone();
        longer.extend(b"\0\x01\x02\x03 whatever a server appended");
        assert_eq!(refusal(&longer, LIMIT), "none", "{file}");
    }
}

#[test]
fn decides_by_content() {
    assert_eq!(refusal(b"", LIMIT), "not_an_image");
    assert_eq!(refusal(b"<svg xmlns=", LIMIT), "not_an_image");
    assert_eq!(refusal(b"RIFF\x24\0\0\0WAVEfmt ", LIMIT), "not_an_image");
    assert_eq!(refusal(b"GIF89a\x01\0\x01\0", LIMIT), "unsupported_format");
    assert_eq!(refusal(b"\0\0\0\x1cftypavif", LIMIT), "unsupported_format");
    for magic in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"RIFF\x04\0\0\0WEBP"] {
        assert_eq!(refusal(magic, LIMIT), "corrupt_image");
    }
    // An arithmetic-coded frame.
    let jpeg = read("fine.jpg");
    let frame = find(&jpeg, b"\xff\xc0\0\x11");
    assert_eq!(refusal(&patched(&jpeg, frame + 1, &[0xc9]), LIMIT), "unsupported_format");
}

#[test]
fn checks_sizes_before_decoding() {
    let (png, jpeg) = (read("tall.png"), read("fine.jpg"));
    let (lossy, lossless, extended) = (read("lossy.webp"), read("lossless.webp"), read("animated.webp"));
    for bytes in [&png, &jpeg, &lossless] {
        assert_eq!(refusal(bytes, 37 * 61), "none");
        assert_eq!(refusal(bytes, 37 * 61 - 1), "too_many_pixels");
    }
    // Headers that state what no memory holds, or nothing.
    let frame = find(&jpeg, b"\xff\xc0\0\x11\x08") + 5;
    assert_eq!(refusal(&patched(&jpeg, frame, &[255; 4]), LIMIT), "too_many_pixels");
    assert_eq!(refusal(&patched(&jpeg, frame, &[0; 2]), LIMIT), "no_pixels");
    let frame = find(&lossy, b"\x9d\x01\x2a") + 3;
    assert_eq!(refusal(&patched(&lossy, frame, &[0xff, 0x3f, 0xff, 0x3f]), LIMIT), "too_many_pixels");
    assert_eq!(refusal(&patched(&lossy, frame, &[0; 2]), LIMIT), "no_pixels");
    let canvas = find(&extended, b"VP8X") + 12;
    assert_eq!(refusal(&patched(&extended, canvas, &[255; 6]), LIMIT), "too_many_pixels");
    // A frame larger than its canvas.
    let frame = find(&extended, b"VP8L") + 9;
    assert_eq!(refusal(&patched(&extended, frame, &[255, 255, 255, 15]), LIMIT), "corrupt_image");
    // Frames in frames, as deep as the file is long.
    let mut nested = [b"ANMF\0\0\0\0".as_slice(), &[0; 16]].concat().repeat(50_000);
    for at in (0..nested.len()).step_by(24) {
        let inside = (nested.len() - at - 8) as u32;
        nested[at + 4..at + 8].copy_from_slice(&inside.to_le_bytes());
    }
    let length = (nested.len() as u32 + 22).to_le_bytes();
    let head = [b"RIFF".as_slice(), &length, b"WEBPVP8X\x0a\0\0\0\x02\0\0\0\0\0\0\0\0\0"].concat();
    assert_eq!(refusal(&[head, nested].concat(), LIMIT), "corrupt_image");
    // A checksum protects the header of a PNG.
    assert_eq!(refusal(&patched(&png, 16, &[0x7f; 8]), LIMIT), "corrupt_image");
}

#[test]
fn refuses_a_flood_of_scans() {
    let jpeg = read("progressive.jpg");
    let end = jpeg.len() - 2;
    let last = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let flooded = |times: usize| [&jpeg[..end], &jpeg[last..end].repeat(times), &jpeg[end..]].concat();
    assert_eq!(refusal(&flooded(1), LIMIT), "none");
    assert_eq!(refusal(&flooded(100), LIMIT), "corrupt_image");
}

#[test]
fn survives_damage() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for Expected { file, .. } in fixtures() {
        let bytes = read(&file);
        for _ in 0..40 {
            let mut damaged = bytes.clone();
            for _ in 0..=random(6) {
                let at = if random(2) == 0 { random(bytes.len().min(200)) } else { random(bytes.len()) };
                damaged[at] = [random(256) as u8, 0, 255, damaged[at] ^ 1][random(4)];
            }
            // Any answer will do, a panic will not.
            let _ = tensor_at(8, &damaged, 100_000);
        }
    }
}

#[test]
fn the_default_is_clip() {
    let clip = Preprocessing::default();
    assert_eq!((clip.len(), clip.is_empty()), (3 * 224 * 224, false));
    let json = serde_json::to_string(&clip).unwrap();
    assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), clip);
    assert_eq!(tensor_at(0, &read("dot.png"), LIMIT), Ok(Vec::new()));
}
