//! Sub-sums by session bucket: what the cluster-robust test needs of a scalar.

use super::codec::{DecodeError, Reader, Writer};

/// Number of session buckets; a session's bucket is the highest five bits of its keyed hash.
pub const SESSION_BUCKETS: usize = 32;

/// The session bucket of a keyed session hash.
#[must_use]
pub fn session_bucket(session: u64) -> u8 {
    (session >> 59) as u8
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    bucket: u8,
    n: u64,
    sum: i128,
}

/// Events and a fixed-point sum per session bucket, sparse until dense (sorted, at most 32 entries).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketSums {
    entries: Vec<Entry>,
}

impl BucketSums {
    /// Adds `n` events with a sum to one bucket.
    pub fn add(&mut self, bucket: u8, n: u64, sum: i128) {
        match self.entries.binary_search_by_key(&bucket, |e| e.bucket) {
            Ok(i) => {
                let e = &mut self.entries[i];
                e.n += n;
                e.sum = e.sum.saturating_add(sum);
            }
            Err(i) => self.entries.insert(i, Entry { bucket, n, sum }),
        }
    }

    /// Adds another's sums.
    pub fn merge(&mut self, other: &Self) {
        for e in &other.entries {
            self.add(e.bucket, e.n, e.sum);
        }
    }

    /// Takes off what was once added.
    pub fn subtract(&mut self, other: &Self) {
        for o in &other.entries {
            if let Ok(i) = self.entries.binary_search_by_key(&o.bucket, |e| e.bucket) {
                let e = &mut self.entries[i];
                e.n = e.n.saturating_sub(o.n);
                e.sum = e.sum.saturating_sub(o.sum);
            }
        }
        self.entries.retain(|e| e.n > 0 || e.sum != 0);
    }

    /// Events over all buckets.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.entries.iter().map(|e| e.n).sum()
    }

    /// Sum over all buckets.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.entries.iter().map(|e| e.sum).sum()
    }

    /// Bucket, events and sum of each bucket in use.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64, i128)> + '_ {
        self.entries.iter().map(|e| (e.bucket, e.n, e.sum))
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(self.entries.len() as u8);
        for e in &self.entries {
            w.u8(e.bucket);
            w.uint(e.n);
            w.int(e.sum);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.u8()? as usize;
        let mut entries: Vec<Entry> = Vec::with_capacity(n.min(SESSION_BUCKETS));
        for _ in 0..n {
            let e = Entry { bucket: r.u8()?, n: r.uint()?, sum: r.int()? };
            let sorted = entries.last().is_none_or(|l| l.bucket < e.bucket);
            if !sorted || e.bucket as usize >= SESSION_BUCKETS {
                return r.impossible("session bucket");
            }
            entries.push(e);
        }
        Ok(Self { entries })
    }
}
