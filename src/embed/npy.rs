//! Reads NumPy's `.npy` format: the header, and one row of floats.

use super::error::RowError;
use std::ops::Range;

/// Bytes read for the header. NumPy itself refuses longer headers of untrusted files.
pub(super) const HEADER_BYTES: u64 = 16 * 1024;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Little-endian floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NpyFloat {
    F2,
    F4,
    F8,
}

impl NpyFloat {
    fn bytes(self) -> u64 {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
            Self::F8 => 8,
        }
    }
}

/// The layout of a file. Its sizes are checked against one another, but not against the file's
/// length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NpyHeader {
    float: NpyFloat,
    rows: u64,
    dimension: u64,
    /// Byte offset of the first row.
    start: u64,
    /// Byte offset of the end of the last row.
    end: u64,
}

impl NpyHeader {
    /// Reads a header from the first [`HEADER_BYTES`] of a file, or all of a shorter one.
    pub fn parse(file: &[u8]) -> Result<Self, RowError> {
        Self::read(file).ok_or(RowError::NotAVectorFile)
    }

    fn read(file: &[u8]) -> Option<Self> {
        let rest = file.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = match version {
            [1, _] => rest.split_first_chunk().map(|(n, r)| (usize::from(u16::from_le_bytes(*n)), r))?,
            [2 | 3, _] => {
                let (n, r) = rest.split_first_chunk()?;
                (usize::try_from(u32::from_le_bytes(*n)).ok()?, r)
            }
            _ => return None,
        };
        let text = std::str::from_utf8(rest.get(..length)?).ok()?;
        let start = u64::try_from(file.len() - rest.len() + length).ok()?;
        let (float, rows, dimension) = HeaderParser(text).header()?;
        let end = rows.checked_mul(dimension)?.checked_mul(float.bytes())?.checked_add(start)?;
        Some(Self { float, rows, dimension, start, end })
    }

    /// Values per row.
    pub fn dimension(&self) -> u64 {
        self.dimension
    }

    /// Length of the whole file according to its header, in bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The byte range of a row. Without a number, of the only row.
    pub fn row(&self, row: Option<u64>) -> Result<Range<u64>, RowError> {
        let row = match row {
            Some(row) if row < self.rows => row,
            None if self.rows == 1 => 0,
            _ => return Err(RowError::BadRow),
        };
        // No overflow: the last row's end was computed when the header was read.
        let size = self.dimension * self.float.bytes();
        let from = self.start + row * size;
        Ok(from..from + size)
    }

    /// The values of a row's bytes.
    pub fn values(&self, bytes: &[u8]) -> Vec<f32> {
        match self.float {
            NpyFloat::F2 => bytes.as_chunks().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
            NpyFloat::F4 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            // Values too large for an f32 become infinite, which is refused.
            #[allow(clippy::cast_possible_truncation)]
            NpyFloat::F8 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        }
    }
}

/// A half-precision float.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    match bits >> 10 & 0x1f {
        0 => sign * fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        exponent => sign * (1.0 + fraction) * 2f32.powi(i32::from(exponent) - 15),
    }
}

/// Parses the Python dictionary of a header, in the forms that NumPy writes.
struct HeaderParser<'a>(&'a str);

impl<'a> HeaderParser<'a> {
    fn header(mut self) -> Option<(NpyFloat, u64, u64)> {
        let (mut float, mut fortran, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_none() {
            let key = self.quoted()?;
            self.take(":")?;
            let fresh = match key {
                "descr" => float.replace(self.float()?).is_none(),
                "fortran_order" => fortran.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => false,
            };
            // The last comma may be left out.
            let ended = self.take(",").is_none() && !self.0.trim_start().starts_with('}');
            if !fresh || ended {
                return None;
            }
        }
        let (rows, dimension) = shape?;
        (self.0.trim().is_empty() && !fortran?).then_some((float?, rows, dimension))
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (inside, rest) = text[1..].split_once(quote)?;
        self.0 = rest;
        Some(inside)
    }

    fn float(&mut self) -> Option<NpyFloat> {
        match self.quoted()? {
            "<f2" => Some(NpyFloat::F2),
            "<f4" => Some(NpyFloat::F4),
            "<f8" => Some(NpyFloat::F8),
            _ => None,
        }
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.take("True").is_some() { Some(true) } else { self.take("False").map(|()| false) }
    }

    /// Rows and values per row; one axis alone is one row.
    fn shape(&mut self) -> Option<(u64, u64)> {
        self.take("(")?;
        let first = self.number()?;
        self.take(",")?;
        if self.take(")").is_some() {
            return Some((1, first));
        }
        let second = self.number()?;
        let _ = self.take(",");
        self.take(")")?;
        Some((first, second))
    }

    fn number(&mut self) -> Option<u64> {
        let text = self.0.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        self.0 = &text[end..];
        text[..end].parse().ok()
    }
}

#[cfg(test)]
#[path = "npy_tests.rs"]
pub(crate) mod tests;
