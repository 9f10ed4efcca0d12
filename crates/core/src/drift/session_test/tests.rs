//! The session-aware test against its reference values, on hostile sums, and its rate of false
//! alarms on quiet traffic.

use ndarray::Array2;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::super::fixture::{assert_agrees, number, numbers};
use super::*;

fn array(case: &Value, key: &str) -> [f64; BUCKETS] {
    numbers(case, key).try_into().unwrap()
}

fn sums(case: &Value, s: &str, n: &str) -> Sums {
    let mut sums = Sums::new(case["dim"].as_u64().unwrap() as usize);
    sums.n = array(case, n);
    for (bucket, row) in case[s].as_object().unwrap() {
        let bucket: usize = bucket.parse().unwrap();
        for (j, x) in row.as_array().unwrap().iter().enumerate() {
            sums.s[[bucket, j]] = x.as_f64().unwrap();
        }
    }
    sums
}

fn assert_judged(got: Judgement, case: &Value, key: &str) {
    let what = format!("{} {}", case["feature"], case["name"]);
    match (got, case["insufficient"].as_str()) {
        (Judgement::PValue(p), None) => assert_agrees(p, number(case, key), &what),
        (Judgement::Insufficient(reason), Some(want)) => assert_eq!(format!("{reason:?}"), want, "{what}"),
        (got, want) => panic!("{what}: {got:?}, reference {want:?}"),
    }
}

#[test]
fn vectors_agree_with_the_reference() {
    let cases: Value =
        serde_json::from_str(include_str!("../../../../../fixtures/statistics/session_vectors.json"))
            .unwrap();
    let mut refused = 0;
    for case in cases.as_array().unwrap() {
        let (mut window, mut baseline) = (sums(case, "s1", "n1"), sums(case, "s2", "n2"));
        let totals: Vec<f64> = baseline.s.columns().into_iter().map(|column| column.sum()).collect();
        let events: f64 = baseline.n.iter().sum();
        let scales = match case["feature"].as_str().unwrap() {
            "tokens" | "several" => token_scales(&totals, events),
            "categories" => category_scales(&totals, events),
            _ => vec![1.0; totals.len()],
        };
        window.scale_columns(&scales);
        baseline.scale_columns(&scales);
        let kind = match case["kind"].as_str().unwrap() {
            "embedding" => VectorKind::Embedding,
            "tokens" => VectorKind::Tokens,
            "categories" => VectorKind::Categories,
            "several" => VectorKind::Several,
            _ => VectorKind::Bins,
        };
        assert_judged(PreparedVector::new(&baseline, kind).score(&window), case, "p");
        refused += usize::from(case["insufficient"].is_string());
    }
    assert!(refused >= 8, "the fixtures hold cases of each reason");
}

#[test]
fn scalars_agree_with_the_reference_with_and_without_a_tolerance() {
    let cases: Value =
        serde_json::from_str(include_str!("../../../../../fixtures/statistics/session_scalars.json"))
            .unwrap();
    for case in cases.as_array().unwrap() {
        let baseline = PreparedScalar::new(&array(case, "s2"), &array(case, "n2"), number(case, "q2"));
        let (s1, n1) = (array(case, "s1"), array(case, "n1"));
        assert_judged(baseline.score(&s1, &n1, 0.0), case, "p");
        if !case["p_beyond"].is_null() {
            assert_judged(baseline.score(&s1, &n1, number(case, "tolerance")), case, "p_beyond");
            let estimate = baseline.estimate(&s1, &n1).unwrap();
            let (got, want) = (estimate.difference, number(case, "difference"));
            // Sums of thousands of values: the last digits of a small difference are rounding.
            assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{got:e} {want:e}");
            for pair in case["half_widths"].as_array().unwrap() {
                let (level, want) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
                assert_agrees(estimate.half_width(level), want, "half width");
                // It is where the test reaches the level.
                let at = estimate.with_difference(estimate.half_width(level));
                assert_agrees(at.judge(0.0).p_value().unwrap(), level, "the level at the half width");
            }
        }
    }
}

/// A sample of the constant `value` in `buckets` buckets of 30 events.
fn constant(value: f64, buckets: usize) -> ([f64; BUCKETS], [f64; BUCKETS], f64) {
    let n = std::array::from_fn(|b| if b < buckets { 30.0 } else { 0.0 });
    (n.map(|n| n * value), n, value * value * 30.0 * buckets as f64)
}

#[test]
fn a_constant_that_stays_is_no_drift_and_one_that_changes_is() {
    // 0.1 and 7.3 are not binary fractions: their sums have rounding errors, which must not count
    // as variation.
    for value in [0.0, 0.1, 7.3, 30.0, 1e9] {
        let (s2, n2, q2) = constant(value, 32);
        let baseline = PreparedScalar::new(&s2, &n2, q2);
        for buckets in [8, 13, 32] {
            let (same, n1, _) = constant(value, buckets);
            assert_eq!(baseline.score(&same, &n1, 0.0), Judgement::PValue(1.0), "{value} in {buckets}");
            let (other, n1, _) = constant(value + 20.0, buckets);
            let p = baseline.score(&other, &n1, 0.0).p_value().unwrap();
            assert_agrees(p, 2.5f64.powi(-(buckets as i32)), "as much as the buckets can say");
            assert_eq!(baseline.score(&other, &n1, 25.0), Judgement::PValue(1.0), "within the tolerance");
            assert_eq!(baseline.estimate(&other, &n1).unwrap().half_width(0.05), 0.0);
        }
    }
}

#[test]
fn constant_vectors_are_judged_like_constants() {
    let all = |row: [f64; 2]| {
        let n = [30.0; BUCKETS];
        Sums { s: Array2::from_shape_fn((BUCKETS, 2), |(b, j)| n[b] * row[j]), n }
    };
    for kind in [VectorKind::Embedding, VectorKind::Tokens, VectorKind::Bins] {
        let baseline = PreparedVector::new(&all([0.1, 0.9]), kind);
        assert_eq!(baseline.score(&all([0.1, 0.9])), Judgement::PValue(1.0));
        assert!(baseline.score(&all([0.9, 0.1])).p_value().unwrap() < 1e-9);
    }
}

#[test]
fn too_little_data_names_its_reason() {
    let (s2, n2, q2) = constant(3.0, 32);
    let baseline = PreparedScalar::new(&s2, &n2, q2);
    let (s1, n1, _) = constant(3.0, 7);
    assert_eq!(baseline.score(&s1, &n1, 0.0), Judgement::Insufficient(Reason::FewWindowBuckets));
    let empty = [0.0; BUCKETS];
    assert_eq!(baseline.score(&empty, &empty, 0.0), Judgement::Insufficient(Reason::FewWindowBuckets));
    let (s1, n1, _) = constant(3.0, 8);
    let none = PreparedScalar::new(&empty, &empty, 0.0);
    assert_eq!(none.score(&s1, &n1, 0.0), Judgement::Insufficient(Reason::FewBaselineSessions));
    let few = PreparedScalar::new(&[1.0; BUCKETS], &[2.0; BUCKETS], 16.0);
    assert_eq!(few.score(&s1, &n1, 0.0), Judgement::Insufficient(Reason::FewBaselineEvents));
    assert_eq!(Reason::FewWindowBuckets.to_string(), "the window has too few sessions");
}

#[test]
fn sums_too_large_to_square_are_refused() {
    let (s1, n1, _) = constant(1.0, 32);
    let mut huge = s1;
    huge[0] = 1e300;
    let baseline = PreparedScalar::new(&s1, &n1, 1e300);
    assert_eq!(baseline.score(&huge, &n1, 0.0), Judgement::Insufficient(Reason::NotFinite));
    huge[0] = f64::NAN;
    assert_eq!(baseline.score(&huge, &n1, 0.0), Judgement::Insufficient(Reason::NotFinite));
}

/// Sessions of one to eight like requests, in random buckets; each request has a vector of four
/// components.
fn traffic(random: &mut ChaCha8Rng, sessions: usize, shift: f64) -> (Sums, f64) {
    let mut sums = Sums::new(4);
    let mut squares = 0.0;
    for _ in 0..sessions {
        let bucket = random.random_range(0..BUCKETS);
        let taste: [f64; 4] = std::array::from_fn(|_| random.random_range(-1.0..1.0) + shift);
        for _ in 0..random.random_range(1..=8) {
            let x = taste.map(|t| t + random.random_range(-0.3..0.3));
            sums.n[bucket] += 1.0;
            squares += x[0] * x[0];
            x.iter().enumerate().for_each(|(j, x)| sums.s[[bucket, j]] += x);
        }
    }
    (sums, squares)
}

#[test]
fn quiet_traffic_with_rerolls_alarms_as_rarely_as_the_level_says_and_drift_does_not() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let column = |sums: &Sums| -> [f64; BUCKETS] { std::array::from_fn(|b| sums.s[[b, 0]]) };
    let (mut quiet, mut found) = ([0; 2], [0; 2]);
    for _ in 0..40 {
        let (baseline, squares) = traffic(&mut random, 500, 0.0);
        let vector = PreparedVector::new(&baseline, VectorKind::Embedding);
        let scalar = PreparedScalar::new(&column(&baseline), &baseline.n, squares);
        for round in 0..30 {
            let shift = if round < 25 { 0.0 } else { 0.3 };
            let (window, _) = traffic(&mut random, 80, shift);
            let alarms = if round < 25 { &mut quiet } else { &mut found };
            let judged = [vector.score(&window), scalar.score(&column(&window), &window.n, 0.0)];
            for (count, judgement) in alarms.iter_mut().zip(judged) {
                *count += usize::from(judgement.p_value().unwrap() < 0.05);
            }
        }
    }
    // 1,000 quiet windows each: 5 % is 50 ± 7; iid tests alarm on a third and more of such traffic.
    assert!(quiet.iter().all(|alarms| (20..=80).contains(alarms)), "quiet: {quiet:?} of 1000");
    assert!(found.iter().all(|&alarms| alarms >= 190), "drift: {found:?} of 200");
}

#[test]
fn intervals_cover_the_true_change_as_often_as_they_claim() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let column = |sums: &Sums| -> [f64; BUCKETS] { std::array::from_fn(|b| sums.s[[b, 0]]) };
    for (sessions, shift) in [(40, 0.0), (80, 0.3), (400, 0.3)] {
        let (mut covered, mut judged) = (0, 0);
        for _ in 0..60 {
            let (baseline, squares) = traffic(&mut random, 500, 0.0);
            let prepared = PreparedScalar::new(&column(&baseline), &baseline.n, squares);
            for _ in 0..25 {
                let (window, _) = traffic(&mut random, sessions, shift);
                let estimate = prepared.estimate(&column(&window), &window.n).unwrap();
                judged += 1;
                covered += usize::from((estimate.difference - shift).abs() <= estimate.half_width(0.05));
            }
        }
        // 95 % ± 1.7 % of 1,500: windows that share a baseline vary together.
        assert!((0.925..0.985).contains(&(f64::from(covered as u32) / f64::from(judged))), "{covered}");
    }
}

/// Sums that a hostile or broken producer could cause.
fn hostile() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0f64, 2 => Just(0.0), 1 => Just(1.0),
        1 => prop::sample::select(vec![1e-320, -1e-200, 1e-30, 1e15, -1e100, 1e154, 1e200, -1e300, f64::MAX]),
    ]
}

fn bucket_sizes() -> impl Strategy<Value = [f64; BUCKETS]> {
    let size =
        prop_oneof![2 => Just(0.0), 6 => (1..60u32).prop_map(f64::from), 1 => Just(1e12), 1 => Just(1e17)];
    let ragged = prop::collection::vec(size, BUCKETS).prop_map(|n| n.try_into().unwrap());
    let one = (0..BUCKETS).prop_map(|only| std::array::from_fn(|b| if b == only { 500.0 } else { 0.0 }));
    prop_oneof![6 => ragged, 1 => one, 1 => Just([0.0; BUCKETS]), 1 => Just([40.0; BUCKETS])]
}

fn hostile_sums() -> impl Strategy<Value = Sums> {
    let dimension = 3;
    (prop::collection::vec(hostile(), BUCKETS * dimension), bucket_sizes())
        .prop_map(move |(s, n)| Sums { s: Array2::from_shape_vec((BUCKETS, dimension), s).unwrap(), n })
}

fn assert_sane(judgement: Judgement) -> Result<(), TestCaseError> {
    if let Judgement::PValue(p) = judgement {
        prop_assert!((0.0..=1.0).contains(&p), "{p}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn hostile_sums_give_a_probability_or_a_reason(window in hostile_sums(), baseline in hostile_sums(), q2 in hostile()) {
        for kind in [VectorKind::Embedding, VectorKind::Tokens, VectorKind::Bins] {
            assert_sane(PreparedVector::new(&baseline, kind).score(&window))?;
        }
        let column = |sums: &Sums| -> [f64; BUCKETS] { std::array::from_fn(|b| sums.s[[b, 0]]) };
        let scalar = PreparedScalar::new(&column(&baseline), &baseline.n, q2);
        assert_sane(scalar.score(&column(&window), &window.n, 0.0))?;
        assert_sane(scalar.score(&column(&window), &window.n, 1e-3))?;
        if let Ok(estimate) = scalar.estimate(&column(&window), &window.n) {
            let half = estimate.half_width(1e-6);
            prop_assert!(half >= 0.0 || half.is_nan(), "{half}");
        }
    }

    #[test]
    fn a_tolerance_never_makes_a_difference_more_significant(seed in 0..1000u64, tolerance in 0.0..0.5f64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let column = |sums: &Sums| -> [f64; BUCKETS] { std::array::from_fn(|b| sums.s[[b, 0]]) };
        let (baseline, squares) = traffic(&mut random, 200, 0.0);
        let (window, _) = traffic(&mut random, 60, 0.2);
        let prepared = PreparedScalar::new(&column(&baseline), &baseline.n, squares);
        let strict = prepared.score(&column(&window), &window.n, 0.0).p_value().unwrap();
        let lenient = prepared.score(&column(&window), &window.n, tolerance).p_value().unwrap();
        prop_assert!(lenient >= strict);
    }
}
