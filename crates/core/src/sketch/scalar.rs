//! Numbers and rates: moments, quantiles and the session-wise sums of the test.

use super::codec::{DecodeError, Reader, Writer};
use super::distinct::{Distinct, Examples};
use super::fixed::{to_fixed, to_float};
use super::quantile::Quantiles;
use super::session::BucketSums;

/// The sketch of a numeric feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumericSketch {
    sum: i128,
    sum_sq: i128,
    quantiles: Quantiles,
    /// Events and sums of the value *on the test's scale* (latency: ln(ms + 1000)) per session bucket.
    events: BucketSums,
    /// Sum of squares on the test's scale.
    test_sq: i128,
    sessions: Distinct,
}

impl NumericSketch {
    /// Counts a value `x`, which the mean takes for `clipped` and the test for `scaled`; `by_session` keeps its quantile bucket apart
    /// by session bucket.
    pub fn add(&mut self, x: f64, clipped: f64, scaled: f64, bucket: u8, session: u64, by_session: bool) {
        let (sum, sum_sq) = (to_fixed(clipped), to_fixed(clipped * clipped));
        // Most features are tested on their own scale.
        let same = scaled.to_bits() == clipped.to_bits();
        let (test, test_sq) =
            if same { (sum, sum_sq) } else { (to_fixed(scaled), to_fixed(scaled * scaled)) };
        self.sum = self.sum.saturating_add(sum);
        self.sum_sq = self.sum_sq.saturating_add(sum_sq);
        self.quantiles.add(x, if by_session { bucket } else { 0 });
        self.events.add(bucket, 1, test);
        self.test_sq = self.test_sq.saturating_add(test_sq);
        self.sessions.add(session);
    }

    /// Adds another's sums and unites the sessions.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.sum_sq = self.sum_sq.saturating_add(other.sum_sq);
        self.test_sq = self.test_sq.saturating_add(other.test_sq);
        self.quantiles.merge(&other.quantiles);
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off the sums that were once added; sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        self.sum = self.sum.saturating_sub(other.sum);
        self.sum_sq = self.sum_sq.saturating_sub(other.sum_sq);
        self.test_sq = self.test_sq.saturating_sub(other.test_sq);
        self.quantiles.subtract(&other.quantiles);
        self.events.subtract(&other.events);
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.quantiles.memory_bytes() + self.events.memory_bytes() + self.sessions.memory_bytes()
    }

    /// Values counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Sum of the values, clipped as the feature has it.
    #[must_use]
    pub fn sum(&self) -> f64 {
        to_float(self.sum)
    }

    /// Mean of the values, clipped as the feature has it.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.n() > 0).then(|| self.sum() / self.n() as f64)
    }

    /// Standard deviation of the clipped values (of the population).
    #[must_use]
    pub fn sd(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((to_float(self.sum_sq) / self.n() as f64 - mean * mean).max(0.0).sqrt())
    }

    /// The quantiles of the values as they came.
    #[must_use]
    pub fn quantiles(&self) -> &Quantiles {
        &self.quantiles
    }

    /// Events and sums on the test's scale per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Sum of squares on the test's scale.
    #[must_use]
    pub fn test_sq(&self) -> f64 {
        to_float(self.test_sq)
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.int(self.sum);
        w.int(self.sum_sq);
        w.int(self.test_sq);
        self.quantiles.write(w);
        self.events.write(w);
        self.sessions.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sum: r.int()?,
            sum_sq: r.int()?,
            test_sq: r.int()?,
            quantiles: Quantiles::read(r)?,
            events: BucketSums::read(r)?,
            sessions: Distinct::read(r)?,
        })
    }
}

/// The sketch of a rate: events and those of them for which it holds, per session bucket, and examples of these. A volume is the
/// same without outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateSketch {
    events: BucketSums,
    sessions: Distinct,
    examples: Examples,
    /// Bit `hash(user) mod 64` of every user, of a volume only: whether its segment is named.
    users: u64,
}

impl RateSketch {
    /// Counts one event; `request` is the hash and the id of its request.
    pub fn add(&mut self, holds: bool, bucket: u8, session: u64, request: (u64, &str)) {
        self.events.add(bucket, 1, i128::from(holds));
        self.sessions.add(session);
        if holds {
            self.examples.add(request.0, request.1);
        }
    }

    /// Counts one event of a volume, which has no outcome; its request may serve as an example. A
    /// user that the event does not name adds no bit.
    pub fn count(&mut self, bucket: u8, session: u64, request: Option<(u64, &str)>, user: Option<u64>) {
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
        self.users |= user.map_or(0, |u| 1 << (u & 63));
        if let Some((hash, id)) = request {
            self.examples.add(hash, id);
        }
    }

    /// Adds another's counts and unites sessions, examples and users.
    pub fn merge(&mut self, other: &Self) {
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
        self.examples.merge(&other.examples);
        self.users |= other.users;
    }

    /// Takes off the sums that were once added; sessions, examples and users stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        self.events.subtract(&other.events);
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.events.memory_bytes() + self.sessions.memory_bytes() + self.examples.memory_bytes()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Events for which it holds.
    #[must_use]
    pub fn hits(&self) -> u64 {
        u64::try_from(self.events.sum()).unwrap_or(0)
    }

    /// Whether this is a volume: it names requests though nothing holds for any. Of one whose events all opted out it can't be
    /// told.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        self.hits() == 0 && self.examples.ids().next().is_some()
    }

    /// Events and hits per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    /// Requests for which it holds.
    #[must_use]
    pub fn examples(&self) -> &Examples {
        &self.examples
    }

    /// Bit `hash(user) mod 64` of every user of a volume's events.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Writes it without its users, or with them where there are any: the kind in front tells.
    pub(super) fn write(&self, w: &mut Writer) {
        self.events.write(w);
        self.sessions.write(w);
        self.examples.write(w);
        if self.users != 0 {
            w.uint(self.users);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>, with_users: bool) -> Result<Self, DecodeError> {
        Ok(Self {
            events: BucketSums::read(r)?,
            sessions: Distinct::read(r)?,
            examples: Examples::read(r)?,
            users: if with_users { r.uint()? } else { 0 },
        })
    }
}
