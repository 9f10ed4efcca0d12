//! Mergeable sketches, exact in two algebras.
//!
//! *Sums* (counts, fixed-point sums, quantile buckets) are integers: merging is associative and commutative and subtracting
//! is exact. *Unions* (distinct sessions, users of a token or a value, example requests) merge but do not subtract. Every sketch carries
//! a [`SketchId`]; unlike ids never merge. Floating point begins where a statistic is computed from a finished sketch.

mod category;
pub mod codec;
mod columns;
mod common_tokens;
mod distinct;
pub mod fixed;
mod missing;
mod quantile;
mod scalar;
mod session;
mod sorted_values;
mod tokens;
mod vector;

pub use category::{CategorySketch, MAX_STRETCH_VALUES, MAX_VALUES, OTHER};
pub use codec::DecodeError;
pub use distinct::{Distinct, EXAMPLES_K, Examples};
pub use missing::{MAX_GROUPS, MissingGroup, MissingSketch};
pub use quantile::{Quantiles, RELATIVE_ERROR};
pub use scalar::{NumericSketch, RateSketch};
pub use session::{BucketSums, SESSION_BUCKETS, session_bucket};
pub use sorted_values::{CategoryValue, Cell, SortedValues, ValueSum};
pub use tokens::{TOKEN_BINS, TokenCount, TokenSketch, token_bin};
pub use vector::VectorSketch;

use codec::{Reader, Writer};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// What makes two sketches mergeable: a hash of the definition, its parameters, the tokenizer or model, and the hashing key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SketchId(pub u64);

impl fmt::Display for SketchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why two sketches do not merge.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UnlikeSketches {
    /// Their definitions differ: another feature, parameter, tokenizer or hashing key.
    #[error(
        "sketch {right} can't be merged into {left}: they were made by different definitions (feature, tokenizer, embedding model or hashing key)"
    )]
    Definition {
        /// The id merged into.
        left: SketchId,
        /// The id offered.
        right: SketchId,
    },
    /// Their kinds differ.
    #[error("a {right} sketch can't be merged into a {left} sketch")]
    Kind {
        /// The kind merged into.
        left: &'static str,
        /// The kind offered.
        right: &'static str,
    },
}

/// What a sketch holds, by the feature's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Prompt tokens.
    Tokens(TokenSketch),
    /// A category.
    Category(CategorySketch),
    /// A number.
    Numeric(NumericSketch),
    /// A rate, or the volume.
    Rate(RateSketch),
    /// Embeddings.
    Vector(VectorSketch),
    /// What events lack.
    Missing(MissingSketch),
}

impl Body {
    fn kind(&self) -> &'static str {
        match self {
            Self::Tokens(_) => "tokens",
            Self::Category(_) => "category",
            Self::Numeric(_) => "numeric",
            Self::Rate(_) => "rate",
            Self::Vector(_) => "embedding",
            Self::Missing(_) => "missing",
        }
    }
}

/// One feature's sketch of one segment over one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// What it may merge with.
    pub id: SketchId,
    /// What it holds.
    pub body: Body,
}

const FORMAT: u8 = 1;

impl Sketch {
    /// Adds another sketch of the same definition.
    ///
    /// # Errors
    /// When the definitions or the kinds differ; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), UnlikeSketches> {
        self.like(other)?;
        match (&mut self.body, &other.body) {
            (Body::Tokens(a), Body::Tokens(b)) => a.merge(b),
            (Body::Category(a), Body::Category(b)) => a.merge(b),
            (Body::Numeric(a), Body::Numeric(b)) => a.merge(b),
            (Body::Rate(a), Body::Rate(b)) => a.merge(b),
            (Body::Vector(a), Body::Vector(b)) => a.merge(b),
            (Body::Missing(a), Body::Missing(b)) => a.merge(b),
            (a, b) => return Err(UnlikeSketches::Kind { left: a.kind(), right: b.kind() }),
        }
        Ok(())
    }

    /// Takes off the sums of a sketch that was once merged in; unions stay as they are.
    ///
    /// # Errors
    /// As [`Sketch::merge`].
    pub fn subtract(&mut self, other: &Self) -> Result<(), UnlikeSketches> {
        self.like(other)?;
        match (&mut self.body, &other.body) {
            (Body::Tokens(a), Body::Tokens(b)) => a.subtract(b),
            (Body::Category(a), Body::Category(b)) => a.subtract(b),
            (Body::Numeric(a), Body::Numeric(b)) => a.subtract(b),
            (Body::Rate(a), Body::Rate(b)) => a.subtract(b),
            (Body::Vector(a), Body::Vector(b)) => a.subtract(b),
            (Body::Missing(a), Body::Missing(b)) => a.subtract(b),
            (a, b) => return Err(UnlikeSketches::Kind { left: a.kind(), right: b.kind() }),
        }
        Ok(())
    }

    fn like(&self, other: &Self) -> Result<(), UnlikeSketches> {
        if self.id == other.id {
            Ok(())
        } else {
            Err(UnlikeSketches::Definition { left: self.id, right: other.id })
        }
    }

    /// Events that carried the feature.
    #[must_use]
    pub fn n(&self) -> u64 {
        match &self.body {
            Body::Tokens(s) => s.n(),
            Body::Category(s) => s.n(),
            Body::Numeric(s) => s.n(),
            Body::Rate(s) => s.n(),
            Body::Vector(s) => s.n(),
            Body::Missing(s) => s.n(),
        }
    }

    /// About how many bytes of memory it takes, its own included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let beside = match &self.body {
            Body::Tokens(s) => s.memory_bytes(),
            Body::Category(s) => s.memory_bytes(),
            Body::Numeric(s) => s.memory_bytes(),
            Body::Rate(s) => s.memory_bytes(),
            Body::Vector(s) => s.memory_bytes(),
            Body::Missing(s) => s.memory_bytes(),
        };
        size_of::<Self>() + beside
    }

    /// Events per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        match &self.body {
            Body::Tokens(s) => s.events(),
            Body::Category(s) => s.events(),
            Body::Numeric(s) => s.events(),
            Body::Rate(s) => s.events(),
            Body::Vector(s) => s.events(),
            Body::Missing(s) => s.events(),
        }
    }

    /// Distinct sessions, estimated.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        match &self.body {
            Body::Tokens(s) => s.sessions(),
            Body::Category(s) => s.sessions(),
            Body::Numeric(s) => s.sessions(),
            Body::Rate(s) => s.sessions(),
            Body::Vector(s) => s.sessions(),
            Body::Missing(s) => s.sessions(),
        }
    }

    /// The sketch as bytes: equal sketches have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.bytes
    }

    /// Appends the sketch's bytes.
    pub fn write(&self, w: &mut Writer) {
        w.u8(FORMAT);
        w.hash(self.id.0);
        match &self.body {
            Body::Tokens(s) => {
                w.u8(1);
                s.write(w);
            }
            Body::Category(s) => {
                w.u8(7);
                s.write(w);
            }
            Body::Numeric(s) => {
                w.u8(3);
                s.write(w);
            }
            Body::Rate(s) => {
                w.u8(if s.users() == 0 { 4 } else { 6 });
                s.write(w);
            }
            Body::Vector(s) => {
                w.u8(5);
                s.write(w);
            }
            Body::Missing(s) => {
                w.u8(8);
                s.write(w);
            }
        }
    }

    /// Reads a sketch back.
    ///
    /// # Errors
    /// When the bytes are not what [`Sketch::encode`] writes; forged lengths reserve no memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(Reader::new(bytes))
    }

    /// Reads a sketch that was written where sessions are shared.
    ///
    /// # Errors
    /// As [`Sketch::decode`].
    pub fn decode_sharing(bytes: &[u8], shared: &Distinct) -> Result<Self, DecodeError> {
        Self::read(Reader::sharing(bytes, shared.hashes()))
    }

    fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let format = r.u8()?;
        if format != FORMAT {
            return Err(DecodeError::Format { found: format, expected: FORMAT });
        }
        let id = SketchId(r.hash()?);
        let body = match r.u8()? {
            1 => Body::Tokens(TokenSketch::read(&mut r)?),
            // As categories were written before they kept users.
            2 => Body::Category(CategorySketch::read(&mut r, false)?),
            3 => Body::Numeric(NumericSketch::read(&mut r)?),
            4 => Body::Rate(RateSketch::read(&mut r, false)?),
            5 => Body::Vector(VectorSketch::read(&mut r)?),
            6 => Body::Rate(RateSketch::read(&mut r, true)?),
            7 => Body::Category(CategorySketch::read(&mut r, true)?),
            8 => Body::Missing(MissingSketch::read(&mut r)?),
            _ => return r.impossible("kind"),
        };
        r.end()?;
        Ok(Self { id, body })
    }
}

#[cfg(test)]
mod tests;
