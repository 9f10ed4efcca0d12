//! Sub-sums by session bucket: what the cluster-robust test needs of a scalar.

use super::codec::{DecodeError, Reader, Writer};
use super::columns::spilled;
use smallvec::SmallVec;

/// Number of session buckets; a session's bucket is the highest five bits of its keyed hash.
pub const SESSION_BUCKETS: usize = 32;

/// The session bucket of a keyed session hash.
#[must_use]
pub fn session_bucket(session: u64) -> u8 {
    (session >> 59) as u8
}

/// What one bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BucketSum {
    n: u64,
    sum: i128,
}

/// Events and a fixed-point sum per session bucket, sparse until dense: an entry for every bucket in use, found by counting the bits
/// below its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketSums {
    used: u32,
    /// A pane of sparse traffic has one event: its sketches should be one piece of memory each.
    entries: SmallVec<[BucketSum; 1]>,
}

impl BucketSums {
    fn position(&self, bucket: u8) -> usize {
        (self.used & ((1 << bucket) - 1)).count_ones() as usize
    }

    fn uses(&self, bucket: u8) -> bool {
        self.used & 1 << bucket != 0
    }

    /// Adds `n` events with a sum to one bucket.
    pub fn add(&mut self, bucket: u8, n: u64, sum: i128) {
        let i = self.position(bucket);
        if self.uses(bucket) {
            let e = &mut self.entries[i];
            e.n = e.n.saturating_add(n);
            e.sum = e.sum.saturating_add(sum);
        } else {
            if self.entries.len() == self.entries.capacity() {
                // By leaps: lists that grow one by one are most of what filling a pane costs.
                let more = (3 * self.entries.len()).min(SESSION_BUCKETS - self.entries.len());
                self.entries.reserve_exact(more);
            }
            self.used |= 1 << bucket;
            self.entries.insert(i, BucketSum { n, sum });
        }
    }

    /// Adds another's sums.
    pub fn merge(&mut self, other: &Self) {
        if self.used == 0 {
            self.clone_from(other);
            return;
        }
        self.entries.reserve((other.used & !self.used).count_ones() as usize);
        for (bucket, n, sum) in other.iter() {
            self.add(bucket, n, sum);
        }
    }

    /// Takes off what was once added.
    pub fn subtract(&mut self, other: &Self) {
        for (bucket, n, sum) in other.iter() {
            let i = self.position(bucket);
            if !self.uses(bucket) {
                continue;
            }
            let e = &mut self.entries[i];
            e.n = e.n.saturating_sub(n);
            e.sum = e.sum.saturating_sub(sum);
            if e.n == 0 && e.sum == 0 {
                self.entries.remove(i);
                self.used &= !(1 << bucket);
            }
        }
    }

    /// Events over all buckets.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.entries.iter().fold(0, |sum, e| sum.saturating_add(e.n))
    }

    /// Sum over all buckets.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.entries.iter().fold(0, |sum, e| sum.saturating_add(e.sum))
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        spilled(&self.entries)
    }

    /// The buckets in use, as a bitmap.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Bucket, events and sum of each bucket in use.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64, i128)> + '_ {
        let buckets = (0..SESSION_BUCKETS as u8).filter(|b| self.uses(*b));
        buckets.zip(&self.entries).map(|(b, e)| (b, e.n, e.sum))
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(self.entries.len() as u8);
        for (bucket, n, sum) in self.iter() {
            w.u8(bucket);
            w.uint(n);
            w.int(sum);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.u8()? as usize;
        let mut out = Self { used: 0, entries: SmallVec::with_capacity(n.min(SESSION_BUCKETS)) };
        for _ in 0..n {
            let bucket = r.u8()?;
            // Ascending: none at or above it is in use yet.
            if bucket as usize >= SESSION_BUCKETS || out.used >> bucket != 0 {
                return r.impossible("session bucket");
            }
            out.used |= 1 << bucket;
            out.entries.push(BucketSum { n: r.uint()?, sum: r.int()? });
        }
        Ok(out)
    }
}
