//! Upper tails of F, with relative precision down to the smallest p that a float holds.
//!
//! Alarms are decided at p far below 1e-6, where `1 − cdf` is useless, and degrees of freedom reach
//! from 1e-10 to 1e30 (the session test scales them by a squared ratio). statrs' `beta_reg` does
//! not cover that range. It forms `1 − x` and differences of large ln Γ, which on the F tails of
//! the fixtures costs up to 5e-9 at a second freedom of 3e6, 5e-6 at 1e9, 6e-3 at 1e12 and
//! everything at 1e20 (relative, against 50-digit arithmetic), and it stops after 140 terms,
//! converged or not.
//!
//! So the tails here take both `x` and `1 − x`, write densities in deviance form (Loader, "Fast and
//! accurate computation of binomial probabilities", 2000: no large logarithms cancel), and use the
//! continued fraction of DiDonato and Morris (ACM TOMS 708, 1992), whose terms stay of order one
//! for any freedom. ln Γ of small arguments is statrs'.

use std::f64::consts::PI;

use statrs::function::erf::erfc_inv;
use statrs::function::gamma::ln_gamma;

/// More terms than any sum or fraction here needs at degrees of freedom that occur; prevents an
/// endless loop.
const MAX_TERMS: u32 = 200_000;
/// Where a Lentz quotient would divide by zero.
const TINY: f64 = 1e-300;
/// More steps than a quantile needs.
const MAX_SECANTS: u32 = 40;
/// When a further factor no longer changes a product.
const DONE: f64 = 16.0 * f64::EPSILON;

/// P(X > x) for F with `d1` and `d2` degrees of freedom (both > 0, neither need be whole).
pub(super) fn f_sf(x: f64, d1: f64, d2: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    // Beyond 1e100 F is χ²/d1 to every digit; the bound keeps the sum finite.
    let d2 = d2.min(1e100);
    let scaled = d1 * x;
    if scaled.is_infinite() {
        return 0.0;
    }
    let whole = d2 + scaled;
    incomplete_beta(d2 / 2.0, d1 / 2.0, d2 / whole, scaled / whole)
}

/// The t > 0 that Student's t with `freedom` degrees of freedom exceeds on either side with
/// probability `level`: P(F > t²) for F with 1 and `freedom`. 0 < `level` < 1.
pub(super) fn two_sided_t(level: f64, freedom: f64) -> f64 {
    // Wallace's approximation of t by a normal quantile (1959), turned round.
    let d = freedom.clamp(0.1, 1e9);
    let z = std::f64::consts::SQRT_2 * erfc_inv(level) * (8.0 * d + 3.0) / (8.0 * d + 1.0);
    let start = (d * (z * z / d).min(600.0).exp_m1()).sqrt().max(1e-12);
    // Then secants of ln p over ln t, which bend little.
    let target = level.ln();
    let off = |t: f64| f_sf(t * t, 1.0, freedom).max(1e-320).ln() - target;
    let (mut before, mut t) = (start * 1.001, start);
    let mut off_before = off(before);
    for _ in 0..MAX_SECANTS {
        let now = off(t);
        let slope = (now - off_before) / (t / before).ln();
        if now == 0.0 || slope == 0.0 || !slope.is_finite() {
            break;
        }
        let step = (-now / slope).clamp(-1.0, 1.0);
        (before, off_before) = (t, now);
        t *= step.exp();
        // The next error is about the square of this step.
        if step.abs() < 1e-7 {
            break;
        }
    }
    t
}

/// k·ln(k/mean) + mean − k, the deviance of a count k from its mean: never negative, 0 where they
/// are equal. Σ deviance(q_i, p_i) over two distributions is KL(q‖p), without the cancellation of
/// the plain sum.
pub(super) fn deviance(k: f64, mean: f64) -> f64 {
    deviance_at(k, mean, mean - k)
}

/// [`deviance`] where `mean − k` is known better than by subtraction.
fn deviance_at(k: f64, mean: f64, difference: f64) -> f64 {
    let u = difference / k;
    if u.abs() > 0.4 {
        return k * (u - (mean / k).ln());
    }
    // u − ln(1+u) by ln(1+u) = 2·artanh(u/(u+2)).
    let r = u / (u + 2.0);
    let square = r * r;
    let (mut power, mut odd, mut sum) = (square, 3.0, 0.0);
    while power > 1e-18 * square {
        sum += power / odd;
        power *= square;
        odd += 2.0;
    }
    k * r * (u - 2.0 * sum)
}

/// ln Γ(x+1) − [(x+½)·ln x − x + ½·ln 2π]: what Stirling's formula leaves out, for x > 0.
fn stirling_error(x: f64) -> f64 {
    if x < 16.0 {
        return ln_gamma(x + 1.0) - (x + 0.5) * x.ln() + x - 0.5 * (2.0 * PI).ln();
    }
    let s = 1.0 / (x * x);
    let tail = 1.0 / 1680.0 - s * (1.0 / 1188.0 - s * 691.0 / 360_360.0);
    (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * tail))) / x
}

/// The regularised incomplete beta function I_x(a, b) with y = 1 − x given as exactly as x.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    // The fraction converges fast below x = (a+1)/(a+b+2), which is a·y − b·x > 2x − 1 without
    // cancellation.
    let p = if a * y - b * x > x - y { beta_fraction(a, b, x, y) } else { 1.0 - beta_fraction(b, a, y, x) };
    p.clamp(0.0, 1.0)
}

/// I_x(a, b) as its density in deviance form over the continued fraction of DiDonato and Morris.
fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let excess = a * y - b * x; // a − (a+b)·x
    let n = a + b;
    let ln_density = stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance_at(a, n * x, -excess)
        - deviance_at(b, n * y, excess);
    let density = (a / n * b / (2.0 * PI)).sqrt() * ln_density.exp();
    if density == 0.0 {
        return 0.0;
    }

    let mut f = off_zero(a * (excess + 1.0) / (a + 1.0));
    let mut c = f;
    let mut d = 0.0;
    for m in 1..MAX_TERMS {
        let m = f64::from(m);
        let (before, after) = (a + 2.0 * m - 1.0, a + 2.0 * m + 1.0);
        let numerator = (a + m - 1.0) / before * ((n + m - 1.0) / before) * m * (b - m) * x * x;
        let denominator = m + m * (b - m) * x / before + (a + m) / after * (excess + 1.0 + m * (1.0 + y));
        d = 1.0 / off_zero(denominator + numerator * d);
        c = off_zero(denominator + numerator / c);
        let factor = c * d;
        f *= factor;
        if (factor - 1.0).abs() <= DONE {
            break;
        }
    }
    density / f
}

fn off_zero(x: f64) -> f64 {
    if x.abs() < TINY { TINY } else { x }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::fixture::{assert_agrees, number};
    use super::*;

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../../../fixtures/statistics/tails.json")).unwrap()
    }

    #[test]
    fn f_tails_agree_with_the_reference_for_tiny_p_and_any_freedom() {
        for case in fixture()["f"].as_array().unwrap() {
            let got = f_sf(number(case, "x"), number(case, "d1"), number(case, "d2"));
            assert_agrees(got, number(case, "sf"), &case.to_string());
        }
    }

    #[test]
    fn a_huge_second_freedom_is_the_chi2_tail() {
        for case in fixture()["chi2"].as_array().unwrap() {
            let freedom = number(case, "df");
            let got = f_sf(number(case, "x") / freedom, freedom, 1e30);
            assert_agrees(got, number(case, "sf"), &case.to_string());
        }
    }

    #[test]
    fn tails_end_where_floats_end() {
        assert_eq!(f_sf(0.0, 1.0, 5.0), 1.0);
        assert_eq!(f_sf(f64::INFINITY, 1.0, 5.0), 0.0);
    }

    #[test]
    fn deviance_keeps_its_digits_where_count_and_mean_are_close() {
        assert_agrees(
            deviance(1.0, 1.0 + 2f64.powi(-30)),
            0.5 * 2f64.powi(-60),
            "half the squared difference",
        );
        assert_eq!(deviance(3.0, 3.0), 0.0);
    }

    proptest! {
        #[test]
        fn f_tails_are_probabilities_that_fall(
            x in 1e-9..1e9f64, d1 in 0.5..1e4f64, ln_d2 in -20.0..60.0f64,
        ) {
            let d2 = ln_d2.exp();
            let (p, beyond) = (f_sf(x, d1, d2), f_sf(x * 1.5, d1, d2));
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!(beyond <= p * (1.0 + 1e-12));
        }
    }
}
