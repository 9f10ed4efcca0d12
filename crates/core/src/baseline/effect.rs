//! How large a change is and how sure that is, in the unit in which people read the feature.

use crate::config::features::unscaled;
use crate::drift::{Effect, Estimate};

/// The share of intervals that miss the true change.
const MISSES: f64 = 0.05;

/// A change of a mean or a share, on the test's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The difference and its error.
    pub estimate: Estimate,
    /// The baseline's value.
    pub from: f64,
    /// The difference that is tolerated.
    pub tolerated: f64,
    /// `Some(c)`: the scale is ln(x + c).
    pub log: Option<f64>,
}

impl Change {
    /// In the feature's unit. `levels` are those of the test: how small a p-value must be for any
    /// difference, and for the part beyond what is tolerated; without them nothing is detectable.
    #[must_use]
    pub fn effect(&self, levels: Option<(f64, f64)>) -> Effect {
        let by = |difference: f64| unscaled(self.log, self.from + difference) - unscaled(self.log, self.from);
        let difference = self.estimate.difference;
        let half = self.estimate.half_width(MISSES);
        let detectable = levels.filter(|(any, beyond)| *any > 0.0 && *beyond > 0.0).map(|(any, beyond)| {
            by(self.estimate.half_width(any).max(self.tolerated + self.estimate.half_width(beyond)))
        });
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        Effect {
            value: finite(by(difference)),
            low: finite(by(difference - half)),
            high: finite(by(difference + half)),
            detectable: detectable.and_then(finite),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::{BUCKETS, PreparedScalar};

    fn change(log: Option<f64>, value: impl Fn(usize) -> f64) -> Change {
        let n = [40.0; BUCKETS];
        let baseline: [f64; BUCKETS] = std::array::from_fn(|b| 40.0 * (value(0) + 0.1 * (b % 5) as f64));
        let squares = baseline.iter().map(|s| s * s / 40.0).sum::<f64>();
        let window: [f64; BUCKETS] = std::array::from_fn(|b| 40.0 * (value(1) + 0.1 * (b % 7) as f64));
        let estimate = PreparedScalar::new(&baseline, &n, squares).estimate(&window, &n).unwrap();
        Change { estimate, from: value(0), tolerated: 0.1, log }
    }

    #[test]
    fn an_effect_is_in_the_features_unit() {
        let of = change(None, |i| [5.0, 6.0][i]);
        let plain = of.effect(Some((1e-6, 1e-3)));
        let (value, low, high) = (plain.value.unwrap(), plain.low.unwrap(), plain.high.unwrap());
        assert!(low < value && value < high && (value - 1.1).abs() < 0.1, "{plain:?}");
        assert!(plain.detectable.unwrap() < value, "it was found: {plain:?}");
        let logs = change(Some(1000.0), |i| [8.0, 8.5][i]).effect(None);
        let milliseconds = 8.6f64.exp() - 8f64.exp();
        assert!((logs.value.unwrap() / milliseconds - 1.0).abs() < 0.1, "{logs:?}");
        assert_eq!(logs.detectable, None);
    }

    #[test]
    fn what_is_detectable_is_where_the_verdict_turns() {
        let found = change(None, |i| [5.0, 5.4][i]);
        let levels = (1e-4, 1e-2);
        let detectable = found.effect(Some(levels)).detectable.unwrap();
        for (scale, drifts) in [(0.999, false), (1.001, true)] {
            let estimate = found.estimate.with_difference(scale * detectable);
            let (any, beyond) = (estimate.judge(0.0), estimate.judge(found.tolerated));
            let is_drift = any.p_value().unwrap() < levels.0 && beyond.p_value().unwrap() < levels.1;
            assert_eq!(is_drift, drifts, "{scale}");
        }
    }
}
