//! Files: exact round trips, and refusals that say why.

use super::super::projection::tests::arbitrary;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The text of a small reference after a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut file: Value = serde_json::from_str(&arbitrary(5, 3, 2, 1).to_json()).unwrap();
    change(&mut file);
    file.to_string()
}

fn refused(text: &str, expected: &str) {
    let error = Reference::from_json(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error:?} should say {expected:?}");
    assert!(!error.ends_with('.'), "{error}");
}

#[test]
fn a_random_reference_comes_back() {
    let reference = Reference::random(100).named("straße \"1\"\n");
    let back = Reference::from_json(reference.to_json().as_bytes()).unwrap();
    assert_eq!((back.id(), &back), (reference.id(), &reference));
}

#[test]
fn the_largest_reference_fits_the_limit() {
    let text = arbitrary(MAX_DIMENSION, MAX_COMPONENTS, MAX_CLUSTERS, 1).to_json();
    assert!(text.len() < MAX_BYTES, "{}", text.len());
    assert!(Reference::from_json(text.as_bytes()).is_ok());
}

#[test]
fn hostile_files_are_refused_with_the_reason() {
    refused("", "not a reference file");
    refused("[1]", "not a reference file");
    refused("{}", "missing field `format`");
    refused(&"[".repeat(100_000), "not a reference file");
    refused(&" ".repeat(MAX_BYTES + 1), "at most 8388608 bytes");
    refused(r#"{"format": 2, "matrix": []}"#, "of format 2, this version reads format 1");
    refused(&changed(|f| f["extra"] = json!(1)), "unknown field `extra`");
    refused(&changed(|f| f["about"]["method"] = json!("psychic")), "unknown variant `psychic`");
    refused(&changed(|f| f["about"]["explained"] = json!(1.5)), "from 0 to 1");
    refused(&changed(|f| f["dimension"] = json!(-5)), "invalid value");
    refused(&changed(|f| f["dimension"] = json!(0)), "the dimension must be from 1 to 8192, the file says 0");
    refused(&changed(|f| f["dimension"] = json!(u64::MAX)), "the dimension must be from 1 to 8192");
    refused(&changed(|f| f["components"] = json!(0)), "components must be from 1 to 5, the file says 0");
    refused(&changed(|f| f["components"] = json!(6)), "components must be from 1 to 5, the file says 6");
    refused(&changed(|f| f["dimension"] = json!(6)), "the centre must have 48 hex digits, the file has 40");
    refused(
        &changed(|f| f["components"] = json!(2)),
        "the directions must have 80 hex digits, the file has 120",
    );
    refused(&changed(|f| f["clusters"] = json!(vec![""; 257])), "clusters must be from 0 to 256");
    refused(
        &changed(|f| f["clusters"][1] = json!("00")),
        "a cluster must have 24 hex digits, the file has 2",
    );
    refused(
        &changed(|f| f["centre"] = json!("+f".repeat(20))),
        "the centre has a character that is no hex digit",
    );
    refused(
        &changed(|f| f["centre"] = json!("ä".repeat(20))),
        "the centre has a character that is no hex digit",
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e9] {
        let text = to_hex(&[0.0, bad, 0.0]);
        refused(&changed(|f| f["clusters"][0] = json!(text)), "a cluster has a number that is not finite");
    }
    refused(&changed(|f| f["centre"] = json!(to_hex(&[0.5; 5]))), "it was changed after it was written");
    refused(&changed(|f| f["id"] = json!("ff")), "the file says id \"ff\"");
    let whole = arbitrary(5, 3, 2, 1).to_json();
    refused(&whole[..whole.len() / 2], "not a reference file");
}

#[test]
fn every_share_comes_back_as_it_was() {
    for millionths in (0..=1_000_000u32).step_by(137) {
        let share = f64::from(millionths) / 1e6;
        let back: f64 = serde_json::from_str(&serde_json::to_string(&share).unwrap()).unwrap();
        assert_eq!(share.to_bits(), back.to_bits(), "{share}");
    }
}

proptest! {
    #[test]
    fn files_give_back_every_bit(d in 1usize..40, k in 1usize..=64, c in 0usize..5, seed: u64, name: String) {
        let reference = arbitrary(d, k.min(d), c, seed).named(name);
        let back = Reference::from_json(reference.to_json().as_bytes()).unwrap();
        prop_assert_eq!(back.parts().map(bits), reference.parts().map(bits));
        prop_assert_eq!(back, reference);
    }

    #[test]
    fn all_finite_numbers_have_their_digits(raw in prop::collection::vec(any::<u32>(), 0..20)) {
        let numbers: Vec<f32> =
            raw.into_iter().map(f32::from_bits).filter(|x| x.abs() <= MAX_NUMBER).collect();
        let back = from_hex("a test", &to_hex(&numbers), numbers.len()).unwrap();
        prop_assert_eq!(bits(back), bits(numbers));
    }

    #[test]
    fn damaged_files_are_an_error_and_no_panic(at: prop::sample::Index, byte: u8) {
        let whole = arbitrary(5, 3, 2, 1);
        let mut text = whole.to_json().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(read) = Reference::from_json(&text) {
            prop_assert_eq!(read.id(), whole.id());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_reference(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Reference::from_json(&bytes).is_err());
    }
}

fn bits(numbers: Vec<f32>) -> Vec<u32> {
    numbers.into_iter().map(f32::to_bits).collect()
}
