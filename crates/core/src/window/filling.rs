//! What a segment's stretch of time holds: its events while they are few, their sketches after, and the bytes of these where nothing is
//! expected to be added. A sum of fillings is the same whichever way each is held.

use super::events::Events;
use super::packed::{Packed, PackedError};
use super::pane::{PaneRow, SketchSet};
use crate::sketch::Body;
use crate::sketch::codec::DecodeError;

/// A pane of a partition: events while they are few.
pub type Pane = PaneRow<SegmentSum>;

/// A segment's part of a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentSum {
    /// Few events, as they are.
    Events(Events),
    /// The sketches of any number.
    Sketches(SketchSet),
    /// The same as bytes, which take a fraction of the room.
    Packed(Packed),
}

impl SegmentSum {
    /// Adds another stretch, or another partition's part of the same one.
    ///
    /// # Errors
    /// When sketches of one feature were made by different definitions, or packed ones are damaged.
    pub fn merge(&mut self, other: &Self) -> Result<(), PackedError> {
        match (&mut *self, other) {
            (Self::Events(a), Self::Events(b)) if a.has_room_for(b.count()) && a.is_like(b) => {
                a.append(b);
                Ok(())
            }
            _ => other.add_to(self.sketches()?, |_| true),
        }
    }

    /// Sketches instead of their bytes.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn unpack(&mut self) -> Result<(), PackedError> {
        if let Self::Packed(p) = self {
            *self = Self::Sketches(p.unpack(|_| true)?);
        }
        Ok(())
    }

    /// Its sketches, which it holds from now on.
    ///
    /// # Errors
    /// When bytes are damaged, which packing and reading them rules out.
    pub(super) fn sketches(&mut self) -> Result<&mut SketchSet, PackedError> {
        self.unpack()?;
        if let Self::Events(e) = self {
            *self = Self::Sketches(e.contents(|_| true)?);
        }
        match self {
            Self::Sketches(c) => Ok(c),
            Self::Events(_) | Self::Packed(_) => unreachable!("made sketches of above"),
        }
    }

    /// Adds the wanted features to a sum.
    ///
    /// # Errors
    /// As [`SegmentSum::merge`].
    pub fn add_to(&self, sum: &mut SketchSet, wanted: impl Fn(usize) -> bool) -> Result<(), PackedError> {
        match self {
            Self::Events(e) => e.add_to(sum, &wanted),
            Self::Sketches(c) => Ok(sum.merge_wanted(c, &wanted)?),
            Self::Packed(p) => Ok(sum.absorb(p.unpack(wanted)?)?),
        }
    }

    /// Several stretches as one; of the features only those that `wanted` names.
    ///
    /// # Errors
    /// As [`SegmentSum::merge`].
    pub fn sum(parts: &[&Self], wanted: impl Fn(usize) -> bool) -> Result<SketchSet, PackedError> {
        let mut sum = SketchSet::default();
        parts.iter().try_for_each(|part| part.add_to(&mut sum, &wanted))?;
        Ok(sum)
    }

    /// Bounds the values of each category to `most`; returns how many were folded. What is left
    /// depends on the sum alone, not on the way that it is held.
    ///
    /// # Errors
    /// When bytes are damaged, which packing and reading them rules out.
    pub fn fold(&mut self, most: usize) -> Result<u64, PackedError> {
        match self {
            Self::Events(e) if e.names() <= most => Ok(0),
            _ => Ok(self.sketches()?.fold(most)),
        }
    }

    /// Bit `hash(user) mod 64` of every user whose event carries a volume.
    ///
    /// # Errors
    /// When bytes are damaged, which packing and reading them rules out.
    pub fn users(&self, volume: usize) -> Result<u64, PackedError> {
        let of = |c: &SketchSet| match c.sketches.get(volume).and_then(|s| Some(&s.as_deref()?.body)) {
            Some(Body::Rate(r)) => r.users(),
            _ => 0,
        };
        match self {
            Self::Events(e) => Ok(e.users(volume)?),
            Self::Sketches(c) => Ok(of(c)),
            Self::Packed(p) => Ok(of(&p.unpack(|f| f == volume)?)),
        }
    }

    /// Which session buckets any event of several stretches filled, as a bitmap.
    #[must_use]
    pub fn buckets_of(parts: &[&Self]) -> u32 {
        parts.iter().fold(0, |all, part| all | part.filled_buckets())
    }

    /// Its sketches.
    ///
    /// # Errors
    /// When bytes are damaged, which packing and reading them rules out.
    pub fn into_sketches(self) -> Result<SketchSet, PackedError> {
        match self {
            Self::Events(e) => e.contents(|_| true),
            Self::Sketches(c) => Ok(c),
            Self::Packed(p) => p.unpack(|_| true),
        }
    }

    /// Takes as little room as it can: sketches become bytes, few events no more than they are.
    pub fn pack(&mut self) {
        match self {
            Self::Events(e) => e.shrink(),
            Self::Sketches(c) => *self = Self::Packed(Packed::of(c)),
            Self::Packed(_) => {}
        }
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        match self {
            Self::Events(e) => e.filled_buckets(),
            Self::Sketches(c) => c.filled_buckets(),
            Self::Packed(p) => p.filled_buckets(),
        }
    }

    /// About how many bytes of memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let beside = match self {
            Self::Events(e) => e.memory_bytes(),
            Self::Sketches(c) => c.memory_bytes(),
            Self::Packed(p) => p.bytes().len(),
        };
        size_of::<Self>() + beside
    }

    /// Appends it as bytes, the first of which tells [`SegmentSum::read`] what follows.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sketches(c) => {
                out.push(SKETCHES);
                super::packed::write(c, out);
            }
            Self::Packed(p) => {
                out.push(SKETCHES);
                out.extend_from_slice(p.bytes());
            }
            Self::Events(e) => {
                out.push(EVENTS);
                out.extend_from_slice(e.bytes());
            }
        }
    }

    /// What [`SegmentSum::write`] wrote: the events' bytes, or those of packed sketches.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(bytes: &[u8]) -> Result<EncodedSum<'_>, DecodeError> {
        match bytes.split_first() {
            Some((&SKETCHES, rest)) => Ok(EncodedSum::Sketches(rest)),
            Some((&EVENTS, rest)) => Ok(EncodedSum::Events(rest)),
            Some(_) => Err(DecodeError::Impossible { what: "filling", at: 0 }),
            None => Err(DecodeError::Truncated(0)),
        }
    }
}

const SKETCHES: u8 = 0;
const EVENTS: u8 = 1;

/// The bytes of a filling.
#[derive(Debug, Clone, Copy)]
pub enum EncodedSum<'a> {
    /// Of [`Events::read`].
    Events(&'a [u8]),
    /// Of [`super::packed::read`].
    Sketches(&'a [u8]),
}
