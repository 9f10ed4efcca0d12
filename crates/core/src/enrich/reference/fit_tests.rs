//! Fits against numpy's decomposition, clusters that are there, and vectors that are refused.

use super::super::projection::tests::{Stream, fixture};
use super::*;
use serde_json::Value;

/// The vectors of `fixtures/reference.py` along a few directions.
fn factors(n: usize, dimension: usize, rank: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut stream = Stream(seed);
    let base: Vec<f64> = (0..dimension).map(|_| 2.0 * stream.next()).collect();
    let basis: Vec<Vec<f64>> = (0..rank).map(|_| (0..dimension).map(|_| stream.next()).collect()).collect();
    let mut vector = || {
        let mut row = base.clone();
        for (j, direction) in basis.iter().enumerate() {
            let f = stream.next() / (1.0 + j as f64);
            row.iter_mut().zip(direction).for_each(|(x, b)| *x += f * b);
        }
        row.iter().map(|x| *x as f32).collect()
    };
    (0..n).map(|_| vector()).collect()
}

fn project(reference: &Reference, vector: &[f32]) -> Vec<f64> {
    let (mut unit, mut out) = (Vec::new(), vec![0.0; reference.components()]);
    assert!(Reference::unit(vector, &mut unit));
    reference.project(&unit, &mut out);
    out
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn components_are_those_of_numpy() {
    for case in fixture()["fitted"].as_array().unwrap() {
        let int = |key: &str| case[key].as_u64().unwrap() as usize;
        let dimension = int("dimension");
        let vectors = factors(int("vectors"), dimension, int("rank"), case["seed"].as_u64().unwrap());
        let reference = Reference::fit(&vectors, 0, 1).unwrap();
        let eigenvalues = numbers(&case["eigenvalues"]);
        assert_eq!(reference.components(), eigenvalues.len(), "{dimension}");
        assert_eq!(reference.cluster_count(), 0);
        for (k, value) in eigenvalues.iter().enumerate() {
            let squared: f64 = (0..dimension).map(|d| reference.direction(d, k).powi(2)).sum();
            let got = squared.powi(-2);
            assert!((got / value - 1.0).abs() < 1e-6, "{dimension}: eigenvalue {k} {got}, expected {value}");
        }
        for (vector, expected) in vectors.iter().zip(case["projected"].as_array().unwrap()) {
            for (k, (got, expected)) in project(&reference, vector).iter().zip(numbers(expected)).enumerate()
            {
                assert!(
                    (got - expected).abs() < 1e-5,
                    "{dimension}: component {k} {got}, expected {expected}"
                );
            }
        }
        let about = reference.about();
        assert_eq!((about.method, about.vectors), (Method::Principal, int("vectors") as u64));
        assert!((about.explained - case["explained"].as_f64().unwrap()).abs() < 1e-6);
    }
}

#[test]
fn the_same_vectors_give_the_same_reference() {
    let vectors = factors(200, 20, 20, 1);
    let once = Reference::fit(&vectors, 12, 5).unwrap();
    let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    assert_eq!(Reference::fit(&slices, 12, 5).unwrap(), once);
    assert_eq!((once.components(), once.cluster_count()), (20, 8));
    let other = Reference::fit(&vectors, 12, 6).unwrap();
    assert_eq!(once.centre(), other.centre());
    assert_ne!(once.id(), other.id(), "the seed is of the clusters");
    assert_eq!(Reference::from_json(once.to_json().as_bytes()).unwrap(), once);
}

#[test]
fn clusters_are_found_and_the_largest_is_first() {
    let mut noise = Stream(9);
    // Groups of 40, 80 and 120 vectors along three axes.
    let group = |i: usize| {
        if i < 40 {
            2
        } else if i < 120 {
            1
        } else {
            0
        }
    };
    let vectors: Vec<Vec<f32>> = (0..240)
        .map(|i| (0..6).map(|d| (f64::from(u8::from(d == group(i))) + 0.05 * noise.next()) as f32).collect())
        .collect();
    let reference = Reference::fit(&vectors, 3, 1).unwrap();
    assert_eq!(reference.cluster_count(), 3);
    for (i, vector) in vectors.iter().enumerate() {
        assert_eq!(reference.cluster(&project(&reference, vector)), Some(group(i)), "vector {i}");
    }
    // One cluster per 25 vectors, however many were requested.
    assert!(Reference::fit(&vectors, 200, 1).unwrap().cluster_count() <= 9);
    assert_eq!(Reference::fit(&vectors[..24], 5, 1).unwrap().cluster_count(), 0);
}

#[test]
fn repeated_vectors_leave_no_cluster_empty() {
    let vectors: Vec<[f32; 3]> =
        (0..300).map(|i| if i % 3 == 0 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] }).collect();
    let reference = Reference::fit(&vectors, 12, 1).unwrap();
    assert_eq!((reference.components(), reference.cluster_count()), (1, 2));
    assert_eq!(reference.cluster(&project(&reference, &[0.0, 2.0, 0.0])), Some(0));
    assert_eq!(reference.cluster(&project(&reference, &[3.0, 0.0, 0.0])), Some(1));
}

#[test]
fn any_rank_is_decomposed() {
    for dimension in [1, 2, 3, 16, 65] {
        for rank in [1, 2, 5, dimension] {
            let got = Reference::fit(&factors(260, dimension, rank, 3), 0, 1);
            if dimension == 1 {
                // Numbers have two directions at most.
                assert!(got.is_err() || got.unwrap().components() == 1);
                continue;
            }
            let got = got.unwrap();
            assert!(
                (1..=(rank + 1).min(dimension).min(64)).contains(&got.components()),
                "{dimension} {rank}"
            );
            assert!((0.99..=1.0).contains(&got.about().explained) || rank > 64, "{:?}", got.about());
        }
    }
    // Axes that are never used, and tiny entries.
    let sparse: Vec<Vec<f32>> =
        (0..300).map(|i| (0..64).map(|d| if d == i % 7 { 1e-30 } else { 0.0 }).collect()).collect();
    assert_eq!(Reference::fit(&sparse, 0, 1).unwrap().components(), 6);
}

#[test]
fn vectors_that_cannot_be_used_are_refused() {
    let good = factors(20, 4, 4, 1);
    let refused = |vectors: &[Vec<f32>], expected: &str| {
        let error = Reference::fit(vectors, 2, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    };
    let with = |bad: &[f32]| [&good[..], &[bad.to_vec()]].concat();
    refused(&[], "there are 0");
    refused(&good[..15], "at least 16 vectors (4 for each component), there are 15");
    refused(&factors(255, 200, 4, 1), "at least 256 vectors");
    refused(&with(&[1.0; 5]), "vector 20 has 5 numbers, the first has 4");
    refused(&with(&[]), "vector 20 has 0 numbers");
    refused(&with(&[1.0, 0.0, f32::NAN, 0.0]), "vector 20 has a number that is not finite");
    refused(&with(&[0.0; 4]), "vector 20 is all zeros");
    refused(&vec![vec![]; 20], "the first has 0");
    refused(&vec![vec![1.0; 8193]; 2], "the first has 8193");
    refused(&vec![vec![0.1, 0.7, 0.3]; 20], "all point the same way");
    assert!(matches!(Reference::fit(&good, 257, 1), Err(FitError::Clusters(257))));
}
