//! Vectors: the exact sum of unit vectors, their projection summed by session bucket for the test, and a sample to name examples from.

use super::codec::{DecodeError, Reader, Writer};
use super::distinct::Distinct;
use super::session::BucketSums;
use std::sync::Arc;

/// Binary places of a component: its unit is 2⁻²⁴, which is as fine as the single precision that vectors come in.
const PLACES: f64 = (1u64 << 24) as f64;
/// Largest magnitude of a component that enters a sum; a unit vector's projection stays far below.
const LIMIT: f64 = (1u64 << 16) as f64;
/// Unit of a sampled projection, 2⁻¹⁰: enough to tell near from far.
const SAMPLE_PLACES: f64 = 1024.0;
/// Vectors kept in the sample.
const SAMPLES_K: usize = 16;

fn fixed(x: f64) -> i64 {
    (x.clamp(-LIMIT, LIMIT) * PLACES).round_ties_even() as i64
}

/// The sketch of an embedding feature. Sums of unit vectors (D components) and of their projections (P components), which are a fixed
/// linear map of these: the map is part of the sketch's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VectorSketch {
    events: BucketSums,
    sum: Vec<i64>,
    /// Sums of the projections, one list for each bucket in use, ascending.
    projected: Vec<Box<[i64]>>,
    sessions: Distinct,
    samples: Samples,
}

/// Adds `other` to `mine`, in arithmetic that wraps: it is associative whatever the bytes said.
fn add(mine: &mut [i64], other: impl Iterator<Item = i64>) {
    mine.iter_mut().zip(other).for_each(|(a, b)| *a = a.wrapping_add(b));
}

impl VectorSketch {
    /// Counts a vector: `unit` of length one and its projection. `request` is the hash and the id of its request.
    pub fn add(&mut self, unit: &[f64], projected: &[f64], bucket: u8, session: u64, request: (u64, &str)) {
        if self.sum.is_empty() {
            self.sum = vec![0; unit.len()];
        }
        add(&mut self.sum, unit.iter().map(|x| fixed(*x)));
        add(self.bucket(bucket, projected.len()), projected.iter().map(|x| fixed(*x)));
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
        self.samples.offer(request.0, request.1, projected);
    }

    /// The sums of one bucket; must be called before the bucket's events are added.
    fn bucket(&mut self, bucket: u8, length: usize) -> &mut [i64] {
        let (used, bit) = (self.events.used(), 1u32 << bucket);
        let at = (used & (bit - 1)).count_ones() as usize;
        if used & bit == 0 {
            self.projected.insert(at, vec![0; length].into());
        }
        &mut self.projected[at]
    }

    /// Adds another's sums and unites sessions and samples.
    pub fn merge(&mut self, other: &Self) {
        if self.sum.is_empty() {
            self.sum = vec![0; other.sum.len()];
        }
        add(&mut self.sum, other.sum.iter().copied());
        for ((bucket, n, sum), theirs) in other.events.iter().zip(&other.projected) {
            add(self.bucket(bucket, theirs.len()), theirs.iter().copied());
            self.events.add(bucket, n, sum);
        }
        self.sessions.merge(&other.sessions);
        self.samples.merge(&other.samples);
    }

    /// Takes off the sums that were once added; sessions and samples stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        add(&mut self.sum, other.sum.iter().map(|x| x.wrapping_neg()));
        let mine: Vec<u8> = self.events.iter().map(|e| e.0).collect();
        for ((bucket, ..), theirs) in other.events.iter().zip(&other.projected) {
            if let Ok(at) = mine.binary_search(&bucket) {
                add(&mut self.projected[at], theirs.iter().map(|x| x.wrapping_neg()));
            }
        }
        self.events.subtract(&other.events);
        let left = self.events.used();
        let mut bucket = mine.iter();
        self.projected.retain(|_| bucket.next().is_some_and(|b| left & 1 << b != 0));
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        // A list is two words beside its components.
        let components = self.sum.capacity() + self.projected.iter().map(|p| 2 + p.len()).sum::<usize>();
        let samples = self.samples.kept.iter().map(Sampled::memory_bytes).sum::<usize>();
        components * size_of::<i64>() + samples + self.events.memory_bytes() + self.sessions.memory_bytes()
    }

    /// Vectors counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Vectors per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    /// The mean of the unit vectors (D components); `None` without any.
    #[must_use]
    pub fn mean(&self) -> Option<Vec<f64>> {
        let n = self.n();
        (n > 0).then(|| self.sum.iter().map(|x| *x as f64 / PLACES / n as f64).collect())
    }

    /// Components of a projection, P.
    #[must_use]
    pub fn projected_length(&self) -> usize {
        self.projected.first().map_or(0, |p| p.len())
    }

    /// Bucket, vectors and sum of the projections of each bucket in use.
    pub fn projected(&self) -> impl Iterator<Item = (u8, u64, impl Iterator<Item = f64> + '_)> + '_ {
        let sums = self.projected.iter().map(|p| p.iter().map(|x| *x as f64 / PLACES));
        self.events.iter().zip(sums).map(|((b, n, _), p)| (b, n, p))
    }

    /// Ids of sampled requests and their projections.
    pub fn samples(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = f64> + '_)> + '_ {
        self.samples.kept.iter().map(|s| (&s.id, s.projected.iter().map(|x| f64::from(*x) / SAMPLE_PLACES)))
    }

    pub(super) fn write(&self, w: &mut Writer) {
        self.events.write(w);
        w.uint(self.sum.len() as u64);
        self.sum.iter().for_each(|x| w.int(i128::from(*x)));
        w.uint(self.projected_length() as u64);
        self.projected.iter().flatten().for_each(|x| w.int(i128::from(*x)));
        self.sessions.write(w);
        self.samples.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let events = BucketSums::read(r)?;
        let numbers = |r: &mut Reader<'_>, n: usize| -> Result<Vec<i64>, DecodeError> {
            let one = |r: &mut Reader<'_>| {
                let v = r.int()?;
                i64::try_from(v).or_else(|_| r.impossible("component"))
            };
            (0..n).map(|_| one(r)).collect()
        };
        let dimension = r.length()?;
        let sum = numbers(r, dimension)?;
        let length = r.length()?;
        let buckets = events.used().count_ones();
        let projected =
            (0..buckets).map(|_| Ok(numbers(r, length)?.into())).collect::<Result<_, DecodeError>>()?;
        let (sessions, samples) = (Distinct::read(r)?, Samples::read(r)?);
        Ok(Self { events, sum, projected, sessions, samples })
    }
}

/// One sampled vector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sampled {
    hash: u64,
    id: Arc<str>,
    projected: Box<[i16]>,
}

impl Sampled {
    fn memory_bytes(&self) -> usize {
        // Two counters stand before the text of an id that is shared.
        size_of::<Self>() + 2 * size_of::<usize>() + self.id.len() + 2 * self.projected.len()
    }
}

/// The vectors of the requests with the smallest hashes, so that every order and split picks the same ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Samples {
    kept: Vec<Sampled>,
}

impl Samples {
    fn offer(&mut self, hash: u64, id: &str, projected: &[f64]) {
        let full = self.kept.len() == SAMPLES_K;
        if full && self.kept.last().is_some_and(|l| (l.hash, &*l.id) < (hash, id)) {
            return;
        }
        let coarse = |x: &f64| (x * SAMPLE_PLACES).round_ties_even() as i16;
        self.insert(Sampled { hash, id: id.into(), projected: projected.iter().map(coarse).collect() });
    }

    /// One vector per request: of several the smallest, which is the same in any order.
    fn insert(&mut self, new: Sampled) {
        match self.kept.binary_search_by(|k| (k.hash, &k.id).cmp(&(new.hash, &new.id))) {
            Ok(i) if new.projected < self.kept[i].projected => self.kept[i] = new,
            Ok(_) => {}
            Err(i) => {
                self.kept.insert(i, new);
                self.kept.truncate(SAMPLES_K);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        other.kept.iter().for_each(|s| self.insert(s.clone()));
    }

    fn write(&self, w: &mut Writer) {
        w.u8(self.kept.len() as u8);
        for s in &self.kept {
            w.hash(s.hash);
            w.text(&s.id);
            w.uint(s.projected.len() as u64);
            s.projected.iter().for_each(|x| w.int(i128::from(*x)));
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.u8()? as usize;
        let mut out = Self::default();
        if n > SAMPLES_K {
            return r.impossible("number of samples");
        }
        for _ in 0..n {
            let (hash, id) = (r.hash()?, Arc::from(r.text()?));
            let length = r.length()?;
            let mut projected = Vec::new();
            for _ in 0..length {
                let v = r.int()?;
                projected.push(i16::try_from(v).or_else(|_| r.impossible("component"))?);
            }
            let new = Sampled { hash, id, projected: projected.into() };
            if out.kept.last().is_some_and(|l| (l.hash, &l.id) >= (new.hash, &new.id)) {
                return r.impossible("sample");
            }
            out.kept.push(new);
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "vector_tests.rs"]
mod tests;
