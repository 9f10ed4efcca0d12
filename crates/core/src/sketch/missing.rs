//! What events lack: per group of events how many there are and how many of them lack each field,
//! by session bucket.
//!
//! A field that all events of a group lack takes one bit, and one that none lacks takes nothing: of
//! most traffic a sketch holds little more than its number of events.

use super::codec::{DecodeError, Reader, Writer};
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};

/// Fields that a group of events can be looked through for: the bits of a mask.
const MAX_FIELDS: u32 = u64::BITS;
/// Groups of events, far more than there are stages.
pub const MAX_GROUPS: u8 = 64;

/// Events by session bucket, ascending.
type Cells = Vec<(u8, u64)>;

fn bump(cells: &mut Cells, bucket: u8, n: u64) {
    match cells.binary_search_by_key(&bucket, |c| c.0) {
        Ok(i) => cells[i].1 = cells[i].1.saturating_add(n),
        Err(i) => cells.insert(i, (bucket, n)),
    }
}

fn lower(cells: &mut Cells, by: &[(u8, u64)]) {
    for (bucket, n) in by {
        if let Ok(i) = cells.binary_search_by_key(bucket, |c| c.0) {
            cells[i].1 = cells[i].1.saturating_sub(*n);
        }
    }
    cells.retain(|c| c.1 > 0);
}

/// The places of the bits that are set.
fn bits(mut mask: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as u8);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

/// Events that are compared with each other: of one stage, failed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGroup {
    key: u8,
    events: Cells,
    /// Fields that every event lacks.
    all: u64,
    /// Fields that some events lack and some have, ascending, with the events that lack them.
    some: Vec<(u8, Cells)>,
}

impl MissingGroup {
    /// Which group it is.
    #[must_use]
    pub fn key(&self) -> u8 {
        self.key
    }

    /// Its events by session bucket.
    #[must_use]
    pub fn events(&self) -> &[(u8, u64)] {
        &self.events
    }

    /// Its events.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.iter().fold(0, |sum, c| sum.saturating_add(c.1))
    }

    /// The fields that any event lacks, as bits.
    #[must_use]
    pub fn fields(&self) -> u64 {
        self.some.iter().fold(self.all, |mask, s| mask | 1 << s.0)
    }

    /// The events that lack a field, by session bucket.
    #[must_use]
    pub fn lacking(&self, field: u8) -> &[(u8, u64)] {
        if self.all & 1 << field != 0 {
            return &self.events;
        }
        self.some.binary_search_by_key(&field, |s| s.0).map_or(&[], |i| &self.some[i].1)
    }

    fn cells(&mut self, field: u8) -> &mut Cells {
        let i = match self.some.binary_search_by_key(&field, |s| s.0) {
            Ok(i) => i,
            Err(i) => {
                self.some.insert(i, (field, Cells::new()));
                i
            }
        };
        &mut self.some[i].1
    }

    /// Writes out the fields that all events so far lack but not those to come.
    fn spell_out(&mut self, fields: u64) {
        for field in bits(self.all & fields) {
            let lacking = self.events.clone();
            *self.cells(field) = lacking;
        }
        self.all &= !fields;
    }

    fn add(&mut self, lacking: u64, bucket: u8) {
        self.spell_out(!lacking);
        for field in bits(lacking & !self.all) {
            bump(self.cells(field), bucket, 1);
        }
        bump(&mut self.events, bucket, 1);
    }

    fn merge(&mut self, other: &Self) {
        self.spell_out(!other.all);
        for field in bits(other.fields() & !self.all) {
            let mine = self.cells(field);
            other.lacking(field).iter().for_each(|(b, n)| bump(mine, *b, *n));
        }
        other.events.iter().for_each(|(b, n)| bump(&mut self.events, *b, *n));
    }

    fn subtract(&mut self, other: &Self) {
        self.spell_out(!other.all);
        for field in bits(other.fields() & !self.all) {
            lower(self.cells(field), other.lacking(field));
        }
        lower(&mut self.events, &other.events);
        let Self { events, all, some, .. } = self;
        some.retain(|(field, cells)| {
            *all |= u64::from(*cells == *events) << field;
            !cells.is_empty() && cells != events
        });
    }

    fn write(&self, w: &mut Writer) {
        let cells = |w: &mut Writer, cells: &Cells| {
            w.u8(cells.len() as u8);
            for &(b, n) in cells {
                w.u8(b);
                w.uint(n);
            }
        };
        w.u8(self.key);
        cells(w, &self.events);
        w.uint(self.all);
        w.u8(self.some.len() as u8);
        for (field, lacking) in &self.some {
            w.u8(*field);
            cells(w, lacking);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cells = |r: &mut Reader<'_>| {
            let mut cells = Cells::new();
            for _ in 0..r.u8()? {
                let c = (r.u8()?, r.uint()?);
                if c.0 as usize >= SESSION_BUCKETS || c.1 == 0 || cells.last().is_some_and(|l| l.0 >= c.0) {
                    return r.impossible("session bucket");
                }
                cells.push(c);
            }
            Ok(cells)
        };
        let mut out = Self { key: r.u8()?, events: cells(r)?, all: r.uint()?, some: Vec::new() };
        if out.events.is_empty() || out.key >= MAX_GROUPS {
            return r.impossible("group");
        }
        for _ in 0..r.u8()? {
            let (field, lacking) = (r.u8()?, cells(r)?);
            let known = u32::from(field) >= MAX_FIELDS || out.all & 1 << field != 0;
            // No more can lack a field than there are.
            let at = |b: u8| out.events.binary_search_by_key(&b, |c| c.0).map_or(0, |i| out.events[i].1);
            let too_many = lacking.iter().any(|(b, n)| *n > at(*b));
            if known || too_many || lacking.is_empty() || out.some.last().is_some_and(|l| l.0 >= field) {
                return r.impossible("field");
            }
            out.some.push((field, lacking));
        }
        Ok(out)
    }
}

/// The sketch of what events lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingSketch {
    /// By key, ascending; none without events.
    groups: Vec<MissingGroup>,
    /// Events, and as their sum the fields that they lack.
    events: BucketSums,
    sessions: Distinct,
}

impl MissingSketch {
    /// Counts one event of a group with the fields that it lacks, as bits.
    pub fn add(&mut self, group: u8, lacking: u64, bucket: u8, session: u64) {
        match self.groups.binary_search_by_key(&group, |g| g.key) {
            Ok(i) => self.groups[i].add(lacking, bucket),
            Err(i) => {
                let some = Vec::new();
                self.groups
                    .insert(i, MissingGroup { key: group, events: vec![(bucket, 1)], all: lacking, some });
            }
        }
        self.events.add(bucket, 1, i128::from(lacking.count_ones()));
        self.sessions.add(session);
    }

    /// Adds another's counts and unites the sessions.
    pub fn merge(&mut self, other: &Self) {
        for g in &other.groups {
            match self.groups.binary_search_by_key(&g.key, |m| m.key) {
                Ok(i) => self.groups[i].merge(g),
                Err(i) => self.groups.insert(i, g.clone()),
            }
        }
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off the sums that were once added; sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        for g in &other.groups {
            if let Ok(i) = self.groups.binary_search_by_key(&g.key, |m| m.key) {
                self.groups[i].subtract(g);
            }
        }
        self.groups.retain(|g| !g.events.is_empty());
        self.events.subtract(&other.events);
    }

    /// Bytes of memory beside itself, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let cells = |c: &Cells| c.capacity() * size_of::<(u8, u64)>();
        let groups = self.groups.iter().map(|g| {
            let some = g.some.iter().map(|s| cells(&s.1)).sum::<usize>();
            cells(&g.events) + some + g.some.capacity() * size_of::<(u8, Cells)>()
        });
        self.groups.capacity() * size_of::<MissingGroup>()
            + groups.sum::<usize>()
            + self.events.memory_bytes()
            + self.sessions.memory_bytes()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Fields that an event lacks, on average.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let n = self.n();
        (n > 0).then(|| self.events.sum() as f64 / n as f64)
    }

    /// The groups of events, by key.
    #[must_use]
    pub fn groups(&self) -> &[MissingGroup] {
        &self.groups
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
        w.u8(self.groups.len() as u8);
        self.groups.iter().for_each(|g| g.write(w));
        self.events.write(w);
        self.sessions.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        for _ in 0..r.u8()? {
            let g = MissingGroup::read(r)?;
            if out.groups.last().is_some_and(|l| l.key >= g.key) {
                return r.impossible("group");
            }
            out.groups.push(g);
        }
        out.events = BucketSums::read(r)?;
        out.sessions = Distinct::read(r)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_lack_is_a_bit_until_one_has_it() {
        let mut s = MissingSketch::default();
        for i in 0..10u64 {
            s.add(4, 0b101, (i % 3) as u8, i);
        }
        let g = &s.groups()[0];
        assert_eq!((g.all, g.some.len(), g.n()), (0b101, 0, 10));
        assert_eq!(g.lacking(2), g.events());
        s.add(4, 0b011, 7, 11);
        let g = &s.groups()[0];
        assert_eq!((g.all, g.fields()), (0b001, 0b111));
        assert_eq!(g.lacking(2), [(0, 4), (1, 3), (2, 3)]);
        assert_eq!(g.lacking(1), [(7, 1)]);
        assert_eq!(g.lacking(40), []);
        assert_eq!(s.mean(), Some(2.0));
    }

    #[test]
    fn taking_off_what_differed_makes_it_a_bit_again() {
        let (mut s, mut other) = (MissingSketch::default(), MissingSketch::default());
        s.add(0, 1, 0, 1);
        other.add(0, 2, 0, 2);
        other.add(6, 0, 3, 3);
        let before = s.clone();
        s.merge(&other);
        assert_eq!(s.groups().len(), 2);
        s.subtract(&other);
        assert_eq!(s.groups(), before.groups());
    }

    #[test]
    fn bits_are_found_from_the_lowest() {
        assert_eq!(bits(1 << 63 | 0b1010).collect::<Vec<_>>(), [1, 3, 63]);
        assert_eq!(bits(0).count(), 0);
    }
}
