//! Unions: distinct ids and example requests by the smallest hashes. They merge but do not subtract.

use super::codec::{DecodeError, Reader, Writer};
use std::sync::Arc;

/// Hashes kept for a distinct count.
pub const DISTINCT_K: usize = 256;

/// Distinct count by the `k` smallest hashes (bottom-k, Bar-Yossef et al. 2002): exact below 256 ids, standard error about 6 %
/// above. Any order and split of the input leaves the same hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distinct {
    hashes: Vec<u64>,
}

impl Distinct {
    /// Counts an id by its (uniform, keyed) hash.
    pub fn add(&mut self, hash: u64) {
        if self.hashes.len() == DISTINCT_K && hash > self.hashes[DISTINCT_K - 1] {
            return;
        }
        if let Err(i) = self.hashes.binary_search(&hash) {
            self.hashes.insert(i, hash);
            self.hashes.truncate(DISTINCT_K);
        }
    }

    /// The union of both.
    pub fn merge(&mut self, other: &Self) {
        if self.hashes.is_empty() {
            self.hashes.clone_from(&other.hashes);
            return;
        }
        let (a, b) = (&self.hashes, &other.hashes);
        let mut out = Vec::with_capacity((a.len() + b.len()).min(DISTINCT_K));
        let (mut i, mut j) = (0, 0);
        while out.len() < DISTINCT_K && (i < a.len() || j < b.len()) {
            let x = a.get(i).copied();
            let y = b.get(j).copied();
            let low = match (x, y) {
                (Some(x), Some(y)) => x.min(y),
                (Some(x), None) => x,
                (None, Some(y)) => y,
                (None, None) => break,
            };
            i += usize::from(x == Some(low));
            j += usize::from(y == Some(low));
            out.push(low);
        }
        self.hashes = out;
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

    pub(super) fn write(&self, w: &mut Writer) {
        w.uint(self.hashes.len() as u64);
        for &h in &self.hashes {
            w.hash(h);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.length()?;
        let mut hashes: Vec<u64> = Vec::with_capacity(n.min(DISTINCT_K));
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
