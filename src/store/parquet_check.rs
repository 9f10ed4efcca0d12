//! Checks Parquet files that may be damaged or hostile, before Parquet's reader sees them.
//!
//! Parquet's own reader allocates memory for some lengths before it has seen the bytes, and a
//! process that can't get such memory aborts; other lengths it counts up to, for minutes. The
//! structures that pass this check (Thrift's compact form) can't ask for more elements than they
//! have bytes.

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

/// The deepest nesting that is accepted; Parquet never nests deeper.
const DEPTH: u8 = 16;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A field that a struct may have: its number, its kind, and for a struct the fields inside.
struct ThriftField(i64, u8, &'static [ThriftField]);

/// Kinds of [`ThriftField`] beside those above. Thrift writes a boolean as one of two kinds.
const BOOL: u8 = TRUE;
const I32: u8 = 5;

/// `Statistics` of parquet.thrift.
const STATISTICS: &[ThriftField] = &[
    ThriftField(1, BINARY, &[]),
    ThriftField(2, BINARY, &[]),
    ThriftField(3, I64, &[]),
    ThriftField(4, I64, &[]),
    ThriftField(5, BINARY, &[]),
    ThriftField(6, BINARY, &[]),
    ThriftField(7, BOOL, &[]),
    ThriftField(8, BOOL, &[]),
];

/// `PageHeader` of parquet.thrift: type, sizes, checksum, then the header of the page's type.
const PAGE_HEADER: &[ThriftField] = &[
    ThriftField(1, I32, &[]),
    ThriftField(2, I32, &[]),
    ThriftField(3, I32, &[]),
    ThriftField(4, I32, &[]),
    ThriftField(
        5,
        STRUCT,
        &[
            ThriftField(1, I32, &[]),
            ThriftField(2, I32, &[]),
            ThriftField(3, I32, &[]),
            ThriftField(4, I32, &[]),
            ThriftField(5, STRUCT, STATISTICS),
        ],
    ),
    ThriftField(6, STRUCT, &[]),
    ThriftField(7, STRUCT, &[ThriftField(1, I32, &[]), ThriftField(2, I32, &[]), ThriftField(3, BOOL, &[])]),
    ThriftField(
        8,
        STRUCT,
        &[
            ThriftField(1, I32, &[]),
            ThriftField(2, I32, &[]),
            ThriftField(3, I32, &[]),
            ThriftField(4, I32, &[]),
            ThriftField(5, I32, &[]),
            ThriftField(6, I32, &[]),
            ThriftField(7, BOOL, &[]),
            ThriftField(8, STRUCT, STATISTICS),
        ],
    ),
];

/// Whether `bytes` begin with a well-formed struct. `number` gets each integer of the struct
/// itself, by field, and returns whether it is acceptable. With `known` fields, the struct may have
/// no others and each must be of its kind: Parquet's reader reads a field as the kind that it
/// should have, whatever the bytes say.
///
/// Accepts only what Parquet writes: maps, sets and lists of booleans are refused, because readers
/// differ about them.
fn is_well_formed(
    bytes: &[u8],
    known: Option<&[ThriftField]>,
    mut number: impl FnMut(i64, i64) -> bool,
) -> bool {
    ThriftReader(bytes).fields(DEPTH, known, &mut number).is_some()
}

/// The longest footer of a Parquet file that is read, in bytes.
const FOOTER_BYTES: usize = 4 << 20;

/// Whether a Parquet file's footer is well-formed.
pub(crate) fn is_footer_valid(file: &[u8]) -> bool {
    footer(file).is_some_and(|f| is_well_formed(f, None, |_, _| true))
}

/// The footer's metadata, without its length and the closing magic bytes.
fn footer(file: &[u8]) -> Option<&[u8]> {
    let (rest, length) = file.strip_suffix(b"PAR1")?.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|&n| n <= FOOTER_BYTES)?;
    rest.get(rest.len().checked_sub(length)?..)
}

/// A file's bytes for a reader of pages. Refuses pages that claim to be huge, since their memory
/// would be allocated before they are read.
#[derive(Clone)]
pub(crate) struct CheckedPages {
    file: Bytes,
    max_page_bytes: i64,
}

impl CheckedPages {
    /// Accepts pages of up to `max_page_bytes`, both as stored and decompressed.
    pub fn new(file: Bytes, max_page_bytes: i64) -> Self {
        Self { file, max_page_bytes }
    }
}

impl Length for CheckedPages {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }
}

impl ChunkReader for CheckedPages {
    type T = bytes::buf::Reader<Bytes>;

    /// Only page headers are read this way.
    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let at = usize::try_from(start).ok().filter(|&at| at <= self.file.len());
        let header =
            self.file.slice(at.ok_or_else(|| ParquetError::EOF("page outside the file".to_owned()))?..);
        // Fields 2 and 3 of a page header are its size decompressed and as stored.
        let size_is_valid =
            |field, value| !matches!(field, 2 | 3) || (0..=self.max_page_bytes).contains(&value);
        if is_well_formed(&header, Some(PAGE_HEADER), size_is_valid) {
            Ok(header.reader())
        } else {
            Err(ParquetError::General("page header is damaged".to_owned()))
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.file.get_bytes(start, length)
    }
}

/// Reads Thrift's compact form; `None` where it is malformed.
struct ThriftReader<'a>(&'a [u8]);

impl ThriftReader<'_> {
    fn fields(
        &mut self,
        depth: u8,
        known: Option<&[ThriftField]>,
        number: &mut dyn FnMut(i64, i64) -> bool,
    ) -> Option<()> {
        let mut field = 0_i64;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            field = match header >> 4 {
                0 => self.zigzag()?,
                step => field.checked_add(step.into())?,
            };
            let kind = header & 0xf;
            let inside = match known {
                None => None,
                Some(known) => {
                    let of = if kind == FALSE { BOOL } else { kind };
                    let ThriftField(_, _, inside) = known.iter().find(|k| k.0 == field && k.1 == of)?;
                    Some(*inside)
                }
            };
            match kind {
                TRUE | FALSE => {}
                STRUCT => self.fields(depth.checked_sub(1)?, inside, &mut |_, _| true)?,
                kind @ I8 => number(field, i64::from(self.value(kind, depth)?)).then_some(())?,
                4..=I64 => {
                    let value = self.zigzag()?;
                    number(field, value).then_some(())?;
                }
                kind => drop(self.value(kind, depth)?),
            }
        }
    }

    /// Skips a value; returns the value of a byte.
    fn value(&mut self, kind: u8, depth: u8) -> Option<i8> {
        match kind {
            I8 => return self.byte().map(u8::cast_signed),
            4..=I64 => drop(self.zigzag()?),
            DOUBLE => self.skip(8)?,
            BINARY => {
                let length = self.varint()?;
                self.skip(length)?;
            }
            LIST => {
                let header = self.byte()?;
                let kind = header & 0xf;
                let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
                if count > 0 && matches!(kind, TRUE | FALSE) {
                    return None;
                }
                // Ends with the bytes, whatever count is claimed: every kind takes at least one
                // byte.
                for _ in 0..count {
                    self.value(kind, depth.checked_sub(1)?)?;
                }
            }
            STRUCT => self.fields(depth.checked_sub(1)?, None, &mut |_, _| true)?,
            _ => return None,
        }
        Some(0)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        // Nine bytes hold any length; only the largest 64-bit integers need the tenth.
        match self.byte()? {
            byte @ 0..=1 => Some(value | u64::from(byte) << 63),
            _ => None,
        }
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::{I32, STRUCT, ThriftField, is_well_formed};

    fn walk(bytes: &[u8]) -> Option<Vec<(i64, i64)>> {
        let mut seen = Vec::new();
        is_well_formed(bytes, None, |field, value| {
            seen.push((field, value));
            true
        })
        .then_some(seen)
    }

    #[test]
    fn sees_the_integers_of_the_struct_itself() {
        let bytes = [0x15, 0x02, 0x15, 0x80, 0x01, 0x1c, 0x15, 0x7f, 0x00, 0x11, 0x18, 0x01, b'x', 0x00];
        assert_eq!(walk(&bytes), Some(vec![(1, 1), (2, 64)]));
        assert!(!is_well_formed(&bytes, None, |field, _| field != 2));
        let known = [ThriftField(1, I32, &[]), ThriftField(2, I32, &[]), ThriftField(3, STRUCT, &[])];
        assert!(
            is_well_formed(&bytes[..6], Some(&known), |_, _| true)
                == is_well_formed(&bytes[..6], None, |_, _| true)
        );
        assert!(
            !is_well_formed(&bytes, Some(&known), |_, _| true),
            "a struct has a field that it should not have"
        );
        let list = [0x39, 0x05, 0x00];
        assert!(
            is_well_formed(&list, None, |_, _| true) && !is_well_formed(&list, Some(&known), |_, _| true)
        );
    }

    #[test]
    fn refuses_false_lengths() {
        let cases: [&[u8]; 12] = [
            &[],
            &[0x15],
            &[0x15, 0x02],
            &[0x18, 0x05, b'x', 0x00],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00],
            &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00],
            &[0x19, 0x3c, 0x00, 0x00],
            &[0x19, 0x21, 0x01, 0x01, 0x00],
            &[0x1b, 0x00, 0x00],
            &[0x1a, 0x15, 0x00, 0x00],
            &[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00],
            &[0x1c; 64],
        ];
        for bytes in cases {
            assert_eq!(walk(bytes), None, "{bytes:?}");
        }
    }
}
