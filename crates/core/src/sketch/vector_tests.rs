use super::*;

fn sketch(vectors: &[([f64; 2], u8, u64)]) -> VectorSketch {
    let mut s = VectorSketch::default();
    for (unit, bucket, request) in vectors {
        s.add(unit, &[unit[0] - unit[1]], *bucket, u64::from(*bucket), (*request, &format!("r{request}")));
    }
    s
}

#[test]
fn means_and_bucket_sums_are_those_of_the_vectors() {
    let s = sketch(&[([1.0, 0.0], 3, 1), ([0.6, 0.8], 3, 2), ([0.0, -1.0], 30, 3)]);
    let mean = s.mean().unwrap();
    assert!((mean[0] - 1.6 / 3.0).abs() < 1e-7 && (mean[1] + 0.2 / 3.0).abs() < 1e-7, "{mean:?}");
    let sums: Vec<(u8, u64, f64)> = s.projected().map(|(b, n, mut p)| (b, n, p.next().unwrap())).collect();
    assert_eq!((sums[0].0, sums[0].1, sums[1].0, sums[1].1), (3, 2, 30, 1));
    assert!((sums[0].2 - 0.8).abs() < 1e-6 && (sums[1].2 - 1.0).abs() < 1e-6);
    assert_eq!((s.n(), s.projected_length(), s.sessions().count()), (3, 1, 2));
    assert_eq!(VectorSketch::default().mean(), None);
}

#[test]
fn a_sample_holds_one_vector_of_each_of_the_first_requests() {
    let all: Vec<_> = (0..40u64).map(|i| ([1.0, i as f64 / 40.0], (i % 32) as u8, i)).collect();
    let mut twice = all.clone();
    twice.push(([0.5, 0.25], 1, 0));
    twice.rotate_left(7);
    let s = sketch(&twice);
    let ids: Vec<&str> = s.samples().map(|(id, _)| id.as_ref()).collect();
    assert_eq!(ids, (0..16).map(|i| format!("r{i}")).collect::<Vec<_>>());
    let first: f64 = s.samples().next().unwrap().1.sum();
    assert_eq!(first, 0.25, "of two vectors of one request the smaller");
}

#[test]
fn what_subtraction_empties_is_gone() {
    let (a, b) = (sketch(&[([1.0, 0.0], 3, 1)]), sketch(&[([0.0, 1.0], 4, 2)]));
    let mut s = a.clone();
    s.merge(&b);
    s.subtract(&a);
    assert_eq!(s.projected().map(|p| (p.0, p.1)).collect::<Vec<_>>(), [(4, 1)]);
    assert_eq!(s.mean(), b.mean());
}
