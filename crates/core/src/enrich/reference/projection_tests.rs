//! Projections by bits, random directions, and what tells references apart.

use super::*;
use proptest::prelude::*;

/// The splitmix64 stream of `fixtures/reference.py`: numbers of [-1, 1).
pub(in crate::enrich) struct Stream(pub u64);

impl Stream {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next() as f32).collect()
    }
}

pub(in crate::enrich) fn fixture() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../../../fixtures/reference.json")).unwrap()
}

/// A reference of arbitrary numbers.
pub(in crate::enrich) fn arbitrary(
    dimension: usize,
    components: usize,
    clusters: usize,
    seed: u64,
) -> Reference {
    let mut stream = Stream(seed);
    let about = ReferenceInfo { method: Method::Principal, vectors: seed, explained: 0.123_457 };
    let centre = stream.take(dimension);
    let directions = stream.take(dimension * components);
    let clusters = stream.take(clusters * components);
    Reference::from_parts("of this test".into(), about, &centre, &directions, &clusters)
}

fn projected(reference: &Reference, vector: &[f32]) -> Vec<f64> {
    let (mut unit, mut out) = (vec![7.0], vec![7.0; reference.components()]);
    assert!(Reference::unit(vector, &mut unit));
    reference.project(&unit, &mut out);
    out
}

#[test]
fn every_bit_of_a_projection_is_as_computed_elsewhere() {
    for case in fixture()["applied"].as_array().unwrap() {
        let int = |key: &str| case[key].as_u64().unwrap();
        let (dimension, components) = (int("dimension") as usize, int("components") as usize);
        let reference = arbitrary(dimension, components, 0, int("seed"));
        let mut stream = Stream(int("seed"));
        stream.take(dimension * (components + 1));
        let vector: Vec<f32> = (0..dimension).map(|_| (3.0 * stream.next()) as f32).collect();
        let bits = |v: &[f64]| v.iter().map(|x| format!("{:016x}", x.to_bits())).collect::<Vec<_>>();
        let expected: Vec<_> =
            case["bits"].as_array().unwrap().iter().map(|b| b.as_str().unwrap().to_owned()).collect();
        let once = projected(&reference, &vector);
        assert_eq!(bits(&once), expected, "{dimension}");
        assert_eq!(bits(&projected(&reference, &vector)), bits(&once), "{dimension}");
    }
}

#[test]
fn random_directions_are_orthonormal_and_always_the_same() {
    for (dimension, id) in [
        (1, 0x75c2_c30b_bd67_6855_u64),
        (7, 0x3f29_4c85_8bf7_6a06),
        (64, 0x6f4b_45d0_dbcd_a49b),
        (65, 0xc219_2181_2509_b3b6),
        (512, 0x77ff_7e55_c335_7e10),
        (768, 0x853a_993b_3661_d1f0),
    ] {
        let r = Reference::random(dimension);
        assert_eq!((r.dimension(), r.components()), (dimension, dimension.min(64)));
        assert_eq!(r.cluster_count(), 0);
        assert_eq!(r.cluster(&vec![0.0; r.components()]), None);
        assert!(r.centre().iter().all(|x| *x == 0.0));
        for j in 0..r.components() {
            for k in 0..=j {
                let dot: f64 = (0..dimension).map(|d| r.direction(d, j) * r.direction(d, k)).sum();
                assert!((dot - f64::from(u8::from(j == k))).abs() < 1e-6, "{dimension}: {j} and {k}: {dot}");
            }
        }
        assert_eq!(format!("{:016x}", r.id()), format!("{id:016x}"), "{dimension}");
    }
}

#[test]
fn normal_numbers_are_normal() {
    let mut normal = Normal::new("test", 1);
    let x: Vec<f64> = (0..100_000).map(|_| normal.sample()).collect();
    let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / x.len() as f64;
    for (p, expected) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
        assert!((moment(p) - expected).abs() < 0.1, "moment {p} is {}", moment(p));
    }
}

#[test]
fn only_vectors_with_a_direction_have_a_unit() {
    let mut out = vec![1.0];
    for bad in [&[][..], &[0.0, -0.0], &[1.0, f32::NAN], &[f32::INFINITY, 1.0], &[f32::NEG_INFINITY; 9]] {
        assert!(!Reference::unit(bad, &mut out), "{bad:?}");
        assert!(out.is_empty());
    }
    for small in [1e-45, 1e-30, 1.0, f32::MAX] {
        assert!(Reference::unit(&[small, 0.0, -small], &mut out), "{small}");
        assert!((out[0] - 0.5f64.sqrt()).abs() < 1e-15 && out[2] == -out[0], "{out:?}");
    }
}

#[test]
fn a_projection_belongs_to_the_nearest_cluster_and_to_the_first_of_equals() {
    let about = ReferenceInfo { method: Method::Principal, vectors: 0, explained: 0.0 };
    let clusters = [1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
    let r = Reference::from_parts(String::new(), about, &[0.0; 2], &[1.0, 0.0, 0.0, 1.0], &clusters);
    assert_eq!(r.cluster_count(), 4);
    for (projected, nearest) in [([2.0, 0.1], 0), ([-0.1, 0.0], 1), ([0.0, 0.0], 0), ([0.0, 3.0], 2)] {
        assert_eq!(r.cluster(&projected), Some(nearest), "{projected:?}");
    }
    assert_eq!(r.cluster(&[f64::NAN, 0.0]), None);
    assert_eq!(r.cluster(&[f64::INFINITY, 0.0]), None);
}

#[test]
fn the_id_is_of_the_numbers_and_not_of_the_name() {
    let part = |i: usize, change: f32| {
        let mut parts = [vec![0.5; 4], vec![0.25; 8], vec![0.75; 2]];
        parts[i][1] += change;
        let about = ReferenceInfo { method: Method::Principal, vectors: 9, explained: 0.5 };
        Reference::from_parts("a".into(), about, &parts[0], &parts[1], &parts[2])
    };
    let same = part(0, 0.0).id();
    assert_eq!(part(1, 0.0).named("b").id(), same);
    for i in 0..3 {
        assert_ne!(part(i, 1e-6).id(), same, "part {i}");
    }
    // The same numbers in another shape.
    assert_ne!(arbitrary(2, 2, 1, 1).id(), arbitrary(3, 1, 2, 1).id());
}

proptest! {
    #[test]
    fn a_projection_is_the_sum_that_it_says(d in 1usize..80, k in 1usize..=64, seed: u64) {
        let k = k.min(d);
        let r = arbitrary(d, k, 3, seed);
        let vector = Stream(!seed).take(d);
        let out = projected(&r, &vector);
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        for (j, got) in out.iter().enumerate() {
            let moved = |i: usize| f64::from(vector[i]) / length - r.centre()[i];
            let expected: f64 = (0..d).map(|i| moved(i) * r.direction(i, j)).sum();
            prop_assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        }
        prop_assert!(r.cluster(&out).unwrap() < 3);
        // Powers of two change no digit.
        let scaled: Vec<f32> = vector.iter().map(|x| x * 1024.0).collect();
        prop_assert_eq!(projected(&r, &scaled), out);
    }
}
