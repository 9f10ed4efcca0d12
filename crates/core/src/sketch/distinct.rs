//! Unions: distinct ids and example requests by the smallest hashes. They merge but do not subtract.

use super::codec::{DecodeError, HashList, Reader, Writer};
use super::columns::{insert_new, spilled};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::sync::Arc;

/// Hashes kept for a distinct count.
pub const DISTINCT_K: usize = 256;

/// Distinct count by the `k` smallest hashes (bottom-k, Bar-Yossef et al. 2002): exact below 256 ids, standard error about 6 %
/// above. Any order and split of the input leaves the same hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distinct {
    hashes: HashList,
}

impl Distinct {
    /// Counts an id by its (uniform, keyed) hash.
    pub fn add(&mut self, hash: u64) {
        if self.hashes.len() == DISTINCT_K && hash > self.hashes[DISTINCT_K - 1] {
            return;
        }
        if let Err(i) = self.hashes.binary_search(&hash) {
            self.hashes.truncate(DISTINCT_K - 1);
            if self.hashes.len() == self.hashes.capacity() {
                // By leaps, as for session buckets.
                self.hashes.reserve_exact((3 * self.hashes.len()).min(DISTINCT_K));
            }
            self.hashes.insert(i, hash);
        }
    }

    /// The union of both.
    pub fn merge(&mut self, other: &Self) {
        // Ascending until the union is full: how many of both are in it, and how many of these are new.
        let (a, b) = (&self.hashes, &other.hashes);
        let (mut i, mut j, mut new) = (0, 0, 0);
        while i + new < DISTINCT_K && j < b.len() {
            match a.get(i).map_or(Ordering::Greater, |x| x.cmp(&b[j])) {
                Ordering::Less => i += 1,
                Ordering::Equal => {
                    i += 1;
                    j += 1;
                }
                Ordering::Greater => {
                    j += 1;
                    new += 1;
                }
            }
        }
        // What is left of the own hashes stays as far as it fits.
        let own = a.len().min(DISTINCT_K - new);
        self.hashes.truncate(own);
        self.hashes.resize(own + new, 0);
        // Keys without values.
        let (mine, theirs) = (&mut [(); DISTINCT_K][..own + new], &[(); DISTINCT_K][..j]);
        insert_new(&mut self.hashes, mine, own, (&b[..j], theirs));
    }

    /// The number of distinct ids, estimated from the largest hash kept once there are more than fit.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self.hashes.last() {
            Some(&h) if self.hashes.len() == DISTINCT_K => {
                let share = (h as f64 + 1.0) / 2f64.powi(64);
                (((DISTINCT_K - 1) as f64 / share).round() as u64).max(DISTINCT_K as u64)
            }
            _ => self.hashes.len() as u64,
        }
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        spilled(&self.hashes)
    }

    /// Hashes kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The hashes, ascending.
    #[must_use]
    pub fn hashes(&self) -> &HashList {
        &self.hashes
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Appends the hashes behind their number; where the writer has shared ones, 1 stands for these, and the number is 2 higher.
    pub fn write(&self, w: &mut Writer) {
        let n = self.hashes.len() as u64;
        match &w.shared {
            Some(shared) if *shared == self.hashes => return w.uint(1),
            Some(_) => w.uint(n + 2),
            None => w.uint(n),
        }
        w.bytes.reserve(8 * self.hashes.len());
        for &h in &self.hashes {
            w.hash(h);
        }
    }

    /// Reads what [`Distinct::write`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = match r.shared {
            None => r.length()?,
            Some(shared) => match r.uint()? {
                1 => return Ok(Self { hashes: SmallVec::from_slice(shared) }),
                n => match usize::try_from(n).ok().and_then(|n| n.checked_sub(2)) {
                    Some(n) => n,
                    None => return r.impossible("number of hashes"),
                },
            },
        };
        let mut hashes: SmallVec<[u64; 2]> = SmallVec::with_capacity(n.min(DISTINCT_K));
        for _ in 0..n {
            let h = r.hash()?;
            if hashes.last().is_some_and(|&l| l >= h) || hashes.len() == DISTINCT_K {
                return r.impossible("hash");
            }
            hashes.push(h);
        }
        Ok(Self { hashes })
    }
}

/// Example requests: the ids with the smallest hashes, so that every order and split picks the same ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    kept: Vec<(u64, Arc<str>)>,
}

/// Example requests kept per sketch.
pub const EXAMPLES_K: usize = 4;

impl Examples {
    /// Offers a request by the hash of its id; the id is copied only where it is kept.
    pub fn add(&mut self, hash: u64, id: &str) {
        if self.kept.len() == EXAMPLES_K
            && (hash, id) >= (self.kept[EXAMPLES_K - 1].0, &*self.kept[EXAMPLES_K - 1].1)
        {
            return;
        }
        if let Err(i) = self.kept.binary_search_by(|k| (k.0, k.1.as_ref()).cmp(&(hash, id))) {
            self.kept.insert(i, (hash, Arc::from(id)));
            self.kept.truncate(EXAMPLES_K);
        }
    }

    /// The union of both.
    pub fn merge(&mut self, other: &Self) {
        for (hash, id) in &other.kept {
            self.add(*hash, id);
        }
    }

    /// Bytes of memory beside itself; an id stands behind two counters.
    pub(super) fn memory_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<(u64, Arc<str>)>()
            + self.kept.iter().map(|k| 2 * size_of::<usize>() + k.1.len()).sum::<usize>()
    }

    /// The request ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(|k| k.1.as_ref())
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(self.kept.len() as u8);
        for (h, id) in &self.kept {
            w.hash(*h);
            w.text(id);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.u8()? as usize;
        let mut out = Self::default();
        if n > EXAMPLES_K {
            return r.impossible("number of examples");
        }
        for _ in 0..n {
            let (h, id) = (r.hash()?, r.text()?);
            if out.kept.last().is_some_and(|l| (l.0, l.1.as_ref()) >= (h, id)) {
                return r.impossible("example");
            }
            out.kept.push((h, Arc::from(id)));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_union_holds_the_smallest(a in prop::collection::vec(0u64..2000, 0..600), b in prop::collection::vec(0u64..2000, 0..600)) {
            let of = |v: &[u64]| v.iter().fold(Distinct::default(), |mut d, &h| { d.add(h); d });
            let (mut merged, whole) = (of(&a), of(&[a.clone(), b.clone()].concat()));
            merged.merge(&of(&b));
            prop_assert_eq!(merged, whole);
        }
    }

    #[test]
    fn counts_exactly_while_few_and_closely_when_many() {
        let mut d = Distinct::default();
        let hash = |i: u64| i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for i in 0..100 {
            d.add(hash(i));
            d.add(hash(i));
        }
        assert_eq!(d.count(), 100);
        for i in 0..100_000 {
            d.add(hash(i));
        }
        let c = d.count() as f64;
        assert!((c / 100_000.0 - 1.0).abs() < 0.2, "{c}");
    }
}
