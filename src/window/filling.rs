//! What a segment's stretch of time holds: its events while they are few, their sketches after.

use super::events::Events;
use super::packed::PackedError;
use super::pane::{Contents, PaneRow};
use crate::sketch::codec::DecodeError;

/// A pane of a partition: events while they are few.
pub type Pane = PaneRow<Filling>;

/// A segment's part of a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub enum Filling {
    /// Few events, as they are.
    Events(Events),
    /// The sketches of any number.
    Sketches(Contents),
}

impl Filling {
    /// Adds another stretch, or another partition's part of the same one.
    ///
    /// # Errors
    /// When sketches of one feature were made by different definitions.
    pub fn merge(&mut self, other: &Self) -> Result<(), PackedError> {
        match (&mut *self, other) {
            (Self::Events(a), Self::Events(b)) if a.has_room_for(b.count()) && a.is_like(b) => a.append(b),
            (Self::Events(a), _) => {
                let mut sum = a.contents(|_| true)?;
                other.add_to(&mut sum)?;
                *self = Self::Sketches(sum);
            }
            (Self::Sketches(a), _) => other.add_to(a)?,
        }
        Ok(())
    }

    /// Adds itself to a sum.
    ///
    /// # Errors
    /// As [`Filling::merge`].
    pub fn add_to(&self, sum: &mut Contents) -> Result<(), PackedError> {
        match self {
            Self::Events(e) => e.add_to(sum, &|_| true),
            Self::Sketches(c) => Ok(sum.merge(c)?),
        }
    }

    /// Its sketches.
    ///
    /// # Errors
    /// When the events' bytes are damaged, which reading them rules out.
    pub fn into_contents(self) -> Result<Contents, PackedError> {
        match self {
            Self::Events(e) => e.contents(|_| true),
            Self::Sketches(c) => Ok(c),
        }
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        match self {
            Self::Events(e) => e.filled_buckets(),
            Self::Sketches(c) => c.filled_buckets(),
        }
    }

    /// About how many bytes of memory it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        match self {
            Self::Events(e) => 64 + e.held(),
            Self::Sketches(c) => 512 * c.sketches.iter().flatten().count(),
        }
    }

    /// Appends it as bytes, the first of which tells [`Filling::read`] what follows.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sketches(c) => {
                out.push(SKETCHES);
                super::packed::write(c, out);
            }
            Self::Events(e) => {
                out.push(EVENTS);
                out.extend_from_slice(e.bytes());
            }
        }
    }

    /// What [`Filling::write`] wrote: the events' bytes, or those of packed sketches.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(bytes: &[u8]) -> Result<Written<'_>, DecodeError> {
        match bytes.split_first() {
            Some((&SKETCHES, rest)) => Ok(Written::Sketches(rest)),
            Some((&EVENTS, rest)) => Ok(Written::Events(rest)),
            Some(_) => Err(DecodeError::Impossible { what: "filling", at: 0 }),
            None => Err(DecodeError::Truncated(0)),
        }
    }
}

const SKETCHES: u8 = 0;
const EVENTS: u8 = 1;

/// The bytes of a filling.
#[derive(Debug, Clone, Copy)]
pub enum Written<'a> {
    /// Of [`Events::read`].
    Events(&'a [u8]),
    /// Of [`super::packed::read`].
    Sketches(&'a [u8]),
}
