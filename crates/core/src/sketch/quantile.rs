//! Quantiles as counts of log-linear buckets, in the manner of DDSketch and HDR histograms.
//!
//! A value's bucket is read off its bits (sign, exponent and the seven highest bits of the mantissa), so integers alone
//! decide it: the same value falls in the same bucket on every machine, which the logarithm of the published
//! libraries does not promise, and counts subtract. A quantile is off by at most [`RELATIVE_ERROR`].

use super::codec::{DecodeError, Reader, Writer};
use super::columns::Columns;
use super::session::SESSION_BUCKETS;

const MANTISSA_BITS: u32 = 7;
const SHIFT: u32 = 52 - MANTISSA_BITS;
/// Magnitudes below 2⁻⁴⁰ count as zero.
const SMALLEST: i32 = ((1023 - 40) << MANTISSA_BITS) - 1;
/// The bucket of 2⁸⁰, the largest magnitude that a sum takes either (see `fixed`).
const LARGEST: i32 = ((1023 + 80) << MANTISSA_BITS) - SMALLEST;
/// Largest relative error of a quantile: half a bucket, 2⁻⁸.
pub const RELATIVE_ERROR: f64 = 1.0 / 256.0;

/// The bucket of a value; ordered as the values are. Zero's is 0, negative values have negative buckets.
#[must_use]
pub fn bucket_of(x: f64) -> i32 {
    let magnitude = ((x.abs().to_bits() >> SHIFT) as i32 - SMALLEST).clamp(0, LARGEST);
    if x < 0.0 { -magnitude } else { magnitude }
}

/// The middle of a bucket: the value that stands for all in it.
#[must_use]
pub fn value_of(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let bits = |b: i32| f64::from_bits(((b + SMALLEST) as u64) << SHIFT);
    let magnitude = bucket.unsigned_abs() as i32;
    let middle = (bits(magnitude) + bits(magnitude + 1)) / 2.0;
    if bucket < 0 { -middle } else { middle }
}

/// A value bucket and a session bucket as one number, in the order of the pair.
fn key(bucket: i32, session: u8) -> i32 {
    debug_assert!(usize::from(session) < SESSION_BUCKETS, "no session bucket: {session}");
    bucket * SESSION_BUCKETS as i32 + i32::from(session)
}

fn bucket(key: i32) -> i32 {
    key.div_euclid(SESSION_BUCKETS as i32)
}

fn session(key: i32) -> u8 {
    key.rem_euclid(SESSION_BUCKETS as i32) as u8
}

/// Counts per value bucket and session bucket, sorted. A feature tested by its mean keeps all under session bucket 0;
/// one tested by its shape keeps them apart, since the shares of a baseline's deciles need sub-sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quantiles {
    counts: Columns<[i32; 4], [u64; 2]>,
}

impl Quantiles {
    /// Counts one value.
    pub fn add(&mut self, x: f64, session: u8) {
        *self.counts.at(key(bucket_of(x), session)) += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts, |n, o| *n = n.saturating_add(*o));
    }

    /// Takes off what was once added.
    pub fn subtract(&mut self, other: &Self) {
        self.counts.subtract(&other.counts, |n, o| {
            *n = n.saturating_sub(*o);
            *n > 0
        });
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes()
    }

    /// Values counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.counts.values().iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The representative values in ascending order, each once, with its count.
    #[must_use]
    pub fn values(&self) -> Vec<(f64, u64)> {
        let mut out: Vec<(f64, u64)> = Vec::new();
        let mut last = None;
        for (k, n) in self.counts.iter() {
            match out.last_mut() {
                Some(o) if last == Some(bucket(k)) => o.1 = o.1.saturating_add(n),
                _ => out.push((value_of(bucket(k)), n)),
            }
            last = Some(bucket(k));
        }
        out
    }

    /// Representative value, session bucket and count of every entry, ascending by value.
    pub fn by_session(&self) -> impl Iterator<Item = (f64, u8, u64)> + '_ {
        self.counts.iter().map(|(k, n)| (value_of(bucket(k)), session(k), n))
    }

    /// The value below or at which the share `q` of the values lies (the inverse of the empirical distribution).
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let n = self.n();
        if n == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * n as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(k, n)| {
            seen = n.saturating_add(seen);
            (seen >= rank).then(|| value_of(bucket(k)))
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.uint(self.counts.len() as u64);
        let mut last = 0;
        for (k, n) in self.counts.iter() {
            w.int(i128::from(bucket(k)) - last);
            last = i128::from(bucket(k));
            w.u8(session(k));
            w.uint(n);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.length()?;
        let mut counts = Columns::with_capacity(n);
        let mut last = 0;
        for _ in 0..n {
            let Some(bucket) = r.int()?.checked_add(last) else { return r.impossible("bucket") };
            last = bucket;
            let Ok(bucket) = i32::try_from(bucket) else { return r.impossible("bucket") };
            let (session, count) = (r.u8()?, r.uint()?);
            let possible = bucket.unsigned_abs() <= LARGEST.unsigned_abs()
                && usize::from(session) < SESSION_BUCKETS
                && count > 0;
            if !possible || !counts.push(key(bucket, session), count) {
                return r.impossible("bucket");
            }
        }
        Ok(Self { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_stands_for_its_values(x in prop_oneof![-1e12f64..1e12, -1.0f64..1.0, 1e-9f64..1e-6]) {
            let back = value_of(bucket_of(x));
            prop_assert!((back - x).abs() <= x.abs() * RELATIVE_ERROR + 1e-12, "{x} became {back}");
        }

        #[test]
        fn buckets_are_ordered(x in -1e9f64..1e9, y in -1e9f64..1e9) {
            if x < y {
                prop_assert!(bucket_of(x) <= bucket_of(y));
            }
        }
    }

    #[test]
    fn quantiles_are_within_the_stated_error() {
        let mut q = Quantiles::default();
        for i in 1..=10_000 {
            q.add(f64::from(i), (i % 32) as u8);
        }
        for (p, want) in [(0.5, 5000.0), (0.95, 9500.0), (0.99, 9900.0), (0.0, 1.0), (1.0, 10_000.0)] {
            let got = q.quantile(p).unwrap();
            assert!((got - want).abs() <= want * RELATIVE_ERROR, "p{p}: {got} for {want}");
        }
        assert_eq!(q.values().iter().map(|v| v.1).sum::<u64>(), 10_000);
        assert!(Quantiles::default().quantile(0.5).is_none());
    }
}
