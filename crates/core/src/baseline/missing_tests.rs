//! What is found of fields that vanish, and what quiet traffic is called.

use super::*;
use crate::config::features::builtin;
use crate::config::watched::{MISSING, group};
use crate::event::Stage;
use crate::sketch::session_bucket;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const GENERATE: u8 = 4;
const FAILED: u8 = 5;
const UPSCALE: u8 = 6;

/// How often events lack each field, and what share of events belongs to other groups.
#[derive(Clone)]
struct Traffic {
    lacking: Vec<f64>,
    upscale: f64,
    failed: f64,
}

impl Traffic {
    fn of(lacking: &[f64]) -> Self {
        Self { lacking: lacking.to_vec(), upscale: 0.0, failed: 0.0 }
    }

    /// Sessions of one to eight requests that are alike: a client that leaves a field out does so
    /// in most of them.
    fn sketch(&self, random: &mut ChaCha8Rng, sessions: usize) -> MissingSketch {
        let mut out = MissingSketch::default();
        for _ in 0..sessions {
            let session = random.random::<u64>();
            let draw = |random: &mut ChaCha8Rng, p: &f64| random.random_bool(*p);
            let client: Vec<bool> = self.lacking.iter().map(|p| draw(random, p)).collect();
            for _ in 0..random.random_range(1..=8) {
                let mut fields = 0;
                for (i, p) in self.lacking.iter().enumerate() {
                    let lacks = if random.random_bool(0.7) { client[i] } else { draw(random, p) };
                    fields |= u64::from(lacks) << i;
                }
                // An upscaled image has none of the first four, a failed request none at all.
                let (group, fields) = match random.random::<f64>() {
                    x if x < self.upscale => (UPSCALE, fields | 0b1111),
                    x if x < self.upscale + self.failed => (FAILED, u64::MAX >> 50),
                    _ => (GENERATE, fields),
                };
                out.add(group, fields, session_bucket(session), session);
            }
        }
        out
    }
}

fn p(judged: (Judgement, Judgement)) -> (f64, f64) {
    (judged.0.p_value().unwrap(), judged.1.p_value().unwrap())
}

fn prepared(baseline: &MissingSketch) -> PreparedMissing {
    let features = builtin();
    let watched = features.iter().find(|f| f.name == MISSING).unwrap().watched.clone();
    PreparedMissing::new(baseline, watched)
}

#[test]
fn quiet_traffic_is_called_drift_as_rarely_as_the_level_says() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    // Fields that all have, that none has, and that some lack, seldom and often.
    let quiet =
        Traffic { upscale: 0.3, failed: 0.02, ..Traffic::of(&[0.0, 1.0, 0.002, 0.02, 0.3, 0.5, 0.95]) };
    let (mut at_5, mut at_1, mut at_01, mut all) = (0, 0, 0, 0);
    for _ in 0..60 {
        let baseline = prepared(&quiet.sketch(&mut random, 800));
        for _ in 0..25 {
            let (p, material) = p(baseline.score(&quiet.sketch(&mut random, 45), 0.05));
            assert!(material >= p);
            all += 1;
            at_5 += u32::from(p < 0.05);
            at_1 += u32::from(p < 0.01);
            at_01 += u32::from(p < 0.001);
        }
    }
    assert_eq!(all, 1500);
    assert!(
        at_5 <= 90 && at_1 <= 25 && at_01 <= 5,
        "{at_5} below 0.05, {at_1} below 0.01, {at_01} below 0.001"
    );
}

#[test]
fn a_field_that_vanishes_is_certain_in_a_window_of_forty_sessions() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let third = prepared(&MissingSketch::default()).watched.unwrap().name(GENERATE, 2).unwrap();
    for (then, now) in [(0.0, 1.0), (0.02, 1.0), (0.05, 0.95), (0.3, 1.0), (0.0, 0.95)] {
        let baseline = prepared(&Traffic::of(&[0.02, 1.0, then, 0.4]).sketch(&mut random, 700));
        for _ in 0..20 {
            let window = Traffic::of(&[0.02, 1.0, now, 0.4]).sketch(&mut random, 40);
            let (p, material) = p(baseline.score(&window, 0.05));
            assert!(
                p < 1e-5 && material < 1e-5,
                "{then} → {now}: p {p}, {material} beyond what is tolerated"
            );
            let named = baseline.contributors(&window);
            assert!(named[0].contribution > 0.5, "{named:?}");
            assert_eq!(named[0].key, third, "the third field that generate is watched for");
            assert!((named[0].share - now).abs() < 0.1 && (named[0].baseline_share - then).abs() < 0.1);
            assert!(baseline.distances(&window).unwrap().psi_excess > 0.5);
        }
    }
}

#[test]
fn other_stages_and_more_failures_are_no_missing_fields() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let before = Traffic { upscale: 0.1, failed: 0.02, ..Traffic::of(&[0.1, 0.0, 0.5, 0.0, 0.05]) };
    let after = Traffic { upscale: 0.5, failed: 0.3, ..before.clone() };
    let baseline = prepared(&before.sketch(&mut random, 2000));
    let low = (0..100).filter(|_| p(baseline.score(&after.sketch(&mut random, 60), 0.0)).0 < 0.01).count();
    assert!(low <= 4, "{low} of 100 below 0.01");
}

#[test]
fn fields_that_came_stand_behind_those_that_went() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let baseline = prepared(&Traffic::of(&[0.0, 1.0, 0.1]).sketch(&mut random, 900));
    let window = Traffic::of(&[0.6, 0.0, 0.1]).sketch(&mut random, 60);
    let named = baseline.contributors(&window);
    let signs: Vec<bool> = named.iter().map(|c| c.contribution > 0.0).collect();
    assert!(signs.is_sorted_by(|a, b| a >= b) && signs.contains(&false) && signs[0], "{named:?}");
    assert!(p(baseline.score(&window, 0.05)).1 < 1e-6);
}

#[test]
fn nothing_missing_is_nothing_apart_and_too_little_is_no_verdict() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let whole = Traffic::of(&[0.0, 1.0]);
    let baseline = prepared(&whole.sketch(&mut random, 400));
    let window = whole.sketch(&mut random, 40);
    assert_eq!(p(baseline.score(&window, 0.05)), (1.0, 1.0));
    assert_eq!(baseline.distances(&window).map(|d| d.psi), Some(0.0));
    assert!(baseline.contributors(&window).is_empty());
    let few = whole.sketch(&mut random, 3);
    assert_eq!(baseline.score(&few, 0.05).0, Judgement::Insufficient(Reason::FewWindowBuckets));
    assert_eq!(baseline.distances(&few), None);
    let small = prepared(&whole.sketch(&mut random, 5));
    assert!(small.score(&window, 0.05).0.p_value().is_none());
    let elsewhere = prepared(&MissingSketch::default());
    assert_eq!(elsewhere.score(&window, 0.05).0, Judgement::Insufficient(Reason::FewWindowBuckets));
}

#[test]
fn shares_are_of_the_events_of_their_stage() {
    let features = builtin();
    let watched = features.iter().find(|f| f.name == MISSING).unwrap().watched.clone().unwrap();
    let mut s = MissingSketch::default();
    for i in 0..8 {
        s.add(group(Stage::Generate, false), u64::from(i % 4 == 0), 0, i);
        s.add(group(Stage::Deliver, false), 1, 0, i);
    }
    let shares = missing_shares(&s, &watched);
    assert_eq!(shares.iter().map(|s| s.1).collect::<Vec<_>>(), [1.0, 0.25]);
    assert!(shares[0].0.starts_with("deliver ") && shares[1].0.starts_with("generate "), "{shares:?}");
    assert_eq!(
        [GENERATE, FAILED, UPSCALE],
        [(Stage::Generate, false), (Stage::Generate, true), (Stage::Upscale, false)]
            .map(|(s, f)| group(s, f))
    );
}
