//! The bytes of a sketch: LEB128 integers behind a small header, read with every length checked.

use smallvec::SmallVec;
use thiserror::Error;

/// Why bytes are not a sketch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("sketch is cut short at byte {0}")]
    Truncated(usize),
    /// A value is impossible at its position (an unsorted key, a count beyond its type, bytes left
    /// over).
    #[error("sketch has an impossible {what} at byte {at}")]
    Impossible {
        /// What the value should have been.
        what: &'static str,
        /// Its position in the bytes.
        at: usize,
    },
    /// A format that this version does not know.
    #[error("sketch has format {found}, this build reads format {expected}")]
    Format {
        /// The format byte found.
        found: u8,
        /// The one that this build writes.
        expected: u8,
    },
}

/// Ascending hashes; most segments have one or two.
pub type HashList = SmallVec<[u64; 2]>;

/// Appends values to a byte buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
    /// Sessions that were written before: a sketch with the same ones refers to them instead of
    /// writing them again.
    pub shared: Option<HashList>,
}

impl Writer {
    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.bytes.push(v);
    }

    /// Eight bytes, little endian (for hashes, which a varint would only lengthen).
    pub fn hash(&mut self, v: u64) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }

    /// An unsigned integer.
    pub fn uint(&mut self, v: u64) {
        self.wide(u128::from(v));
    }

    /// A signed integer, zigzag.
    pub fn int(&mut self, v: i128) {
        self.wide(((v << 1) ^ (v >> 127)) as u128);
    }

    fn wide(&mut self, mut v: u128) {
        while v >= 0x80 {
            self.bytes.push((v as u8) | 0x80);
            v >>= 7;
        }
        self.bytes.push(v as u8);
    }

    /// A string behind its length.
    pub fn text(&mut self, s: &str) {
        self.uint(s.len() as u64);
        self.bytes.extend_from_slice(s.as_bytes());
    }
}

/// Reads values back.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) shared: Option<&'a [u64]>,
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, shared: None }
    }

    /// Reads from the first byte what was written with shared sessions.
    #[must_use]
    pub fn sharing(bytes: &'a [u8], shared: &'a [u64]) -> Self {
        Self { bytes, at: 0, shared: Some(shared) }
    }

    /// Bytes behind their length (four bytes, little endian).
    pub fn block(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.bytes.get(self.at..self.at + 4).ok_or(DecodeError::Truncated(self.at))?;
        let length = length.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let from = self.at + 4;
        let block = from.checked_add(length).and_then(|to| self.bytes.get(from..to));
        self.at = from + length.min(self.bytes.len());
        block.ok_or(DecodeError::Truncated(from))
    }

    /// The error for a value of the wrong sort at this position.
    pub fn impossible<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Impossible { what, at: self.at })
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let b = *self.bytes.get(self.at).ok_or(DecodeError::Truncated(self.at))?;
        self.at += 1;
        Ok(b)
    }

    /// Eight bytes, little endian.
    pub fn hash(&mut self) -> Result<u64, DecodeError> {
        let b = self.bytes.get(self.at..self.at + 8).ok_or(DecodeError::Truncated(self.at))?;
        self.at += 8;
        let mut a = [0; 8];
        a.copy_from_slice(b);
        Ok(u64::from_le_bytes(a))
    }

    /// An unsigned integer.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let v = self.wide()?;
        u64::try_from(v).or_else(|_| self.impossible("integer"))
    }

    /// A signed integer, zigzag.
    pub fn int(&mut self) -> Result<i128, DecodeError> {
        let v = self.wide()?;
        Ok(((v >> 1) as i128) ^ -((v & 1) as i128))
    }

    fn wide(&mut self) -> Result<u128, DecodeError> {
        let mut v = 0u128;
        for shift in (0..).step_by(7) {
            let b = self.u8()?;
            if shift > 126 || (shift == 126 && b > 3) {
                return self.impossible("integer");
            }
            v |= u128::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(v);
            }
        }
        self.impossible("integer")
    }

    /// How many items follow; never more than fit into the bytes left, so that a forged length does
    /// not allocate memory.
    pub fn length(&mut self) -> Result<usize, DecodeError> {
        let n = self.uint()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.bytes.len() - self.at => Ok(n),
            _ => Err(DecodeError::Truncated(self.at)),
        }
    }

    /// A string behind its length.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let n = self.length()?;
        let b = &self.bytes[self.at..self.at + n];
        self.at += n;
        std::str::from_utf8(b).or_else(|_| self.impossible("text"))
    }

    /// Succeeds when every byte was read.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { self.impossible("trailing byte") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_come_back(a: u64, b: i128, s in ".{0,40}") {
            let mut w = Writer::default();
            w.uint(a);
            w.int(b);
            w.text(&s);
            w.hash(a);
            let mut r = Reader::new(&w.bytes);
            prop_assert_eq!(r.uint().unwrap(), a);
            prop_assert_eq!(r.int().unwrap(), b);
            prop_assert_eq!(r.text().unwrap(), s.as_str());
            prop_assert_eq!(r.hash().unwrap(), a);
            prop_assert!(r.end().is_ok());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            let _ = r.int();
            let _ = r.text();
            let _ = r.length();
        }
    }
}
