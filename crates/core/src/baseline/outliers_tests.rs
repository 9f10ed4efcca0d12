//! One absurd value in a week must not hide what follows it: every built-in feature that is tested by its mean, with
//! a value at either end of its field's range, still finds a fall or rise by two standard deviations.

use super::about::BaselineInfo;
use super::about::UnseenDays;
use super::prepared::Prepared;
use super::week::BlocksOfWeek;
use crate::config::features::{Feature, FeatureKind, FieldSource, Test, builtin, clipped, scaled};
use crate::event::Num;
use crate::sketch::{Body, NumericSketch, Sketch, SketchId, session_bucket};

/// What a service sends: mean, standard deviation, and whether they are those of the logarithm.
fn usual(field: Num) -> (f64, f64, bool) {
    match field {
        Num::Latency => (8.0, 0.3, true),
        Num::QueueWait => (6.0, 0.8, true),
        Num::Cost => (-6.0, 0.3, true),
        Num::Steps => (25.0, 4.0, false),
        Num::Cfg => (7.0, 1.0, false),
        Num::ClipI => (0.3, 0.02, false),
        Num::Aesthetic => (5.5, 0.5, false),
        Num::StyleDistance => (0.25, 0.05, false),
        Num::Rerolls => (3.0, 1.0, false),
        other => panic!("say what {other:?} usually is"),
    }
}

/// Numbers that are spread as a normal distribution is, near enough: the sum of twelve, the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (self.0 >> 33) as f64 / (1u64 << 31) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }
}

struct Days<'f> {
    feature: &'f Feature,
    noise: Noise,
    sessions: u64,
}

impl Days<'_> {
    fn add(&self, to: &mut NumericSketch, x: f64, session: u64) {
        let mean = clipped(self.feature.clip, x);
        to.add(x, mean, scaled(self.feature.log, mean), session_bucket(session), session, false);
    }

    /// Days of 150 sessions with three events each, all moved by so many standard deviations.
    fn fill(&mut self, to: &mut NumericSketch, days: u64, moved: f64) {
        let FieldSource::Num(field) = self.feature.from else { unreachable!("a number") };
        let (mean, sd, log) = usual(field);
        for _ in 0..days * 150 {
            self.sessions += 1;
            let session = self.sessions.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for _ in 0..3 {
                let x = mean + sd * (moved + self.noise.next());
                self.add(to, if log { x.exp() } else { x }, session);
            }
        }
    }
}

fn sketch(body: NumericSketch) -> Sketch {
    Sketch { id: SketchId(1), body: Body::Numeric(body) }
}

/// The larger of the two p-values that a verdict asks for, a day after a week in which one value was `absurd`.
fn p_after(feature: &Feature, absurd: Option<f64>, moved: f64) -> f64 {
    let mut days = Days { feature, noise: Noise(7), sessions: 0 };
    let (mut week, mut day) = (NumericSketch::default(), NumericSketch::default());
    days.fill(&mut week, 7, 0.0);
    if let Some(x) = absurd {
        days.add(&mut week, x, 77 << 50);
    }
    days.fill(&mut day, 1, moved);
    let about = BaselineInfo {
        name: "b".into(),
        id: "1".into(),
        days: 7,
        enough_days: true,
        blocks: BlocksOfWeek::ALL,
        unseen: UnseenDays::default(),
        hours: 168.0,
    };
    let compared = Prepared::new(about, feature, &sketch(week), None).compare(feature, &sketch(day), None);
    let compared = compared.unwrap();
    compared.scores.p_value.unwrap().max(compared.material_p.unwrap())
}

#[test]
fn one_value_at_the_end_of_its_range_hides_nothing_that_follows() {
    let means = |f: &&Feature| f.kind == FeatureKind::Numeric && f.test == Test::Mean;
    for feature in builtin().iter().filter(means) {
        let FieldSource::Num(field) = feature.from else { unreachable!("a number") };
        let range = field.range();
        for moved in [-2.0, 2.0] {
            let clean = p_after(feature, None, moved);
            for absurd in [range.low, range.high] {
                let p = p_after(feature, Some(absurd), moved);
                println!(
                    "{:>24} {moved:>4} after {absurd:>12}: p {p:.1e}, without it {clean:.1e}",
                    feature.name
                );
                assert!(p < 1e-7, "{} {moved} after {absurd}: p {p:e}, without it {clean:e}", feature.name);
            }
        }
        assert!(p_after(feature, None, 0.0) > 1e-3, "{}", feature.name);
        assert!(p_after(feature, Some(range.high), 0.0) > 1e-3, "{}", feature.name);
    }
}

#[test]
fn without_bounds_the_same_value_hides_it() {
    let all = builtin();
    let steps = all.iter().find(|f| f.name == "steps").unwrap().clone().bounded(None, None);
    let high = Num::Steps.range().high;
    let p = p_after(&steps, Some(high), -2.0);
    assert!(p > 1e-3, "{p:e}");
}
