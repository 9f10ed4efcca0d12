//! Fixed-point numbers: sums of them are exact, so that merging is associative and subtracting
//! undoes adding.

/// Binary places of a fixed-point number: its unit is 2⁻⁴⁰, about 10⁻¹².
pub const PLACES: i32 = 40;
const UNIT: f64 = (1u64 << PLACES) as f64;
/// Largest magnitude that enters a sum, 2⁸⁰: 2⁷ such values fit an `i128` with its 2⁻⁴⁰ places;
/// sums saturate there.
const LIMIT: f64 = (1u128 << 80) as f64;

/// Below this an integral number fits an `i64`.
const FITS: f64 = (1u64 << 63) as f64;

/// The fixed-point value nearest to `x` (ties to even), clamped to ±2⁸⁰; a NaN is 0.
#[must_use]
pub fn to_fixed(x: f64) -> i128 {
    let scaled = (x.clamp(-LIMIT, LIMIT) * UNIT).round_ties_even();
    // Nearly all numbers fit 64 bits, for which the processor has an instruction.
    if scaled.abs() < FITS { i128::from(scaled as i64) } else { scaled as i128 }
}

/// Back to floating point: where a statistic begins.
#[must_use]
pub fn to_float(v: i128) -> f64 {
    v as f64 / UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_twelve_digits_and_clamps() {
        assert!((to_float(to_fixed(0.1)) - 0.1).abs() < 1e-12);
        assert_eq!(to_float(to_fixed(-3.5)), -3.5);
        assert_eq!(to_fixed(f64::NAN), 0);
        for x in [8_388_607.999_999, 8_388_608.0, -8_388_608.0, -8_388_609.5, 1e12, 0.5 / UNIT, 1.5 / UNIT] {
            assert_eq!(to_fixed(x), (x * UNIT).round_ties_even() as i128, "{x}");
        }
        assert_eq!(to_float(to_fixed(f64::INFINITY)), LIMIT);
    }
}
