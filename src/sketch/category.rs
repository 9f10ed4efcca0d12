//! Categories: events per value and session bucket.

use super::codec::{DecodeError, Reader, Writer};
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The value that takes what no longer fits.
pub const OTHER: &str = "__other__";
/// Values kept per sketch while it is filled; later new ones are folded into [`OTHER`]. A guard against hostile input, far above
/// what a category is good for.
pub const MAX_VALUES: usize = 4096;

/// The sketch of a categorical feature. An event counts once in each value it carries (several for LoRAs).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CategorySketch {
    /// Per value: (session bucket, events), sorted.
    values: BTreeMap<Arc<str>, Vec<(u8, u64)>>,
    events: BucketSums,
    sessions: Distinct,
}

fn bump(cells: &mut Vec<(u8, u64)>, bucket: u8, n: u64) {
    match cells.binary_search_by_key(&bucket, |c| c.0) {
        Ok(i) => cells[i].1 = cells[i].1.saturating_add(n),
        Err(i) => cells.insert(i, (bucket, n)),
    }
}

impl CategorySketch {
    /// Counts one event.
    pub fn add<'a>(&mut self, values: impl IntoIterator<Item = &'a Arc<str>>, bucket: u8, session: u64) {
        for v in values {
            if let Some(cells) = self.values.get_mut(v) {
                bump(cells, bucket, 1);
            } else {
                let v = if self.values.len() < MAX_VALUES { Arc::clone(v) } else { Arc::from(OTHER) };
                bump(self.values.entry(v).or_default(), bucket, 1);
            }
        }
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
    }

    /// Counts one event's values as they are, however many there are already: as merging a sketch of that event would.
    pub fn add_names<'a>(&mut self, values: impl IntoIterator<Item = &'a str>, bucket: u8, session: u64) {
        for v in values {
            match self.values.get_mut(v) {
                Some(cells) => bump(cells, bucket, 1),
                None => {
                    self.values.insert(Arc::from(v), vec![(bucket, 1)]);
                }
            }
        }
        self.events.add(bucket, 1, 0);
        self.sessions.add(session);
    }

    /// Adds another's counts and unites the sessions.
    pub fn merge(&mut self, other: &Self) {
        for (v, cells) in &other.values {
            match self.values.get_mut(v) {
                Some(mine) => cells.iter().for_each(|(b, n)| bump(mine, *b, *n)),
                None => {
                    self.values.insert(Arc::clone(v), cells.clone());
                }
            }
        }
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off the sums that were once added; sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        for (v, cells) in &other.values {
            if let Some(mine) = self.values.get_mut(v) {
                for (b, n) in cells {
                    if let Ok(i) = mine.binary_search_by_key(b, |c| c.0) {
                        mine[i].1 = mine[i].1.saturating_sub(*n);
                    }
                }
                mine.retain(|c| c.1 > 0);
            }
        }
        self.values.retain(|_, c| !c.is_empty());
        self.events.subtract(&other.events);
    }

    /// Bytes of memory beside itself, about: of the map's nodes it counts what is used, and names as if nobody shared them.
    pub(super) fn held(&self) -> usize {
        let each = size_of::<(Arc<str>, Vec<(u8, u64)>)>() + 2 * size_of::<usize>();
        let values = self.values.iter();
        let values = values.map(|(v, cells)| each + v.len() + cells.capacity() * size_of::<(u8, u64)>());
        values.sum::<usize>() + self.events.held() + self.sessions.held()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Values and their events per session bucket, sorted by value.
    pub fn values(&self) -> impl Iterator<Item = (&Arc<str>, &[(u8, u64)])> {
        self.values.iter().map(|(v, c)| (v, c.as_slice()))
    }

    /// Events that carry a value.
    #[must_use]
    pub fn count(&self, value: &str) -> u64 {
        self.values.get(value).map_or(0, |c| c.iter().map(|c| c.1).sum())
    }

    /// Events per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.uint(self.values.len() as u64);
        for (v, cells) in &self.values {
            w.text(v);
            w.u8(cells.len() as u8);
            for &(b, n) in cells {
                w.u8(b);
                w.uint(n);
            }
        }
        self.events.write(w);
        self.sessions.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for _ in 0..r.length()? {
            let v: Arc<str> = Arc::from(r.text()?);
            if out.values.last_key_value().is_some_and(|l| l.0 >= &v) {
                return r.impossible("category");
            }
            let mut cells: Vec<(u8, u64)> = Vec::new();
            for _ in 0..r.u8()? {
                let c = (r.u8()?, r.uint()?);
                if c.0 as usize >= SESSION_BUCKETS || cells.last().is_some_and(|l| l.0 >= c.0) {
                    return r.impossible("session bucket");
                }
                cells.push(c);
            }
            out.values.insert(v, cells);
        }
        out.events = BucketSums::read(r)?;
        out.sessions = Distinct::read(r)?;
        Ok(out)
    }
}
