//! Contents as bytes: what long windows keep of an hour, internal files of a pane and a partition of panes that hardly an event falls in any
//! more. A fraction of the room that sketches take in memory; what is not asked for is passed over without being read.
//!
//! The sessions of a segment's features are mostly the same ones, so they are written once for all sketches that have them.

use super::pane::Contents;
use crate::sketch::codec::{DecodeError, Reader, Writer};
use crate::sketch::{Sketch, UnlikeSketches};
use thiserror::Error;

/// Why packed contents could not be taken up.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PackedError {
    /// The bytes are damaged.
    #[error("packed sketches: {0}")]
    Damaged(#[from] DecodeError),
    /// They hold sketches of another definition.
    #[error(transparent)]
    Unlike(#[from] UnlikeSketches),
}

/// Sketches as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Which session buckets any event filled, as a bitmap.
    buckets: u32,
    /// As [`write()`] wrote them.
    bytes: Box<[u8]>,
}

impl Packed {
    /// Packs contents.
    #[must_use]
    pub fn of(contents: &SketchSet) -> Self {
        let mut bytes = Vec::new();
        write(contents, &mut bytes);
        Self { buckets: contents.filled_buckets(), bytes: bytes.into() }
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        self.buckets
    }

    /// What [`write()`] wrote.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sketches of the features that are wanted.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn unpack(&self, wanted: impl Fn(usize) -> bool) -> Result<SketchSet, PackedError> {
        Ok(read(&self.bytes, |f| Some(f).filter(|f| wanted(*f)))?)
    }
}

/// Appends contents: the sessions that sketches share, then every sketch behind its feature's number and its length.
pub fn write(contents: &SketchSet, out: &mut Vec<u8>) {
    let present = || contents.sketches.iter().enumerate().filter_map(|(f, s)| Some((f, s.as_deref()?)));
    let shared = present().map(|(_, s)| s.sessions()).max_by_key(|s| s.len()).cloned().unwrap_or_default();
    let mut w = Writer { bytes: std::mem::take(out), ..Writer::default() };
    shared.write(&mut w);
    w.shared = Some(shared.hashes().clone());
    for (feature, sketch) in present() {
        w.uint(feature as u64);
        let length_at = w.bytes.len();
        w.bytes.extend_from_slice(&[0; 4]);
        sketch.write(&mut w);
        let length = (w.bytes.len() - length_at - 4) as u32;
        w.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    *out = w.bytes;
}

/// Reads contents back. `place` says where a stored feature goes, `None` leaves it out.
///
/// # Errors
/// When the bytes are not what [`write()`] writes.
pub fn read(bytes: &[u8], place: impl Fn(usize) -> Option<usize>) -> Result<SketchSet, DecodeError> {
    let mut r = Reader::new(bytes);
    let shared = crate::sketch::Distinct::read(&mut r)?;
    let mut out = SketchSet::default();
    while r.end().is_err() {
        let feature = r.uint()? as usize;
        let sketch = r.block()?;
        let Some(to) = place(feature) else { continue };
        if out.sketches.len() <= to {
            out.sketches.resize_with(to + 1, || None);
        }
        out.sketches[to] = Some(Box::new(Sketch::decode_sharing(sketch, &shared)?));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::{Body, NumericSketch, RateSketch, SketchId};

    fn contents() -> SketchSet {
        let (mut rate, mut number) = (RateSketch::default(), NumericSketch::default());
        for i in 0..40u64 {
            let session = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            rate.add(i % 3 == 0, (i % 32) as u8, session, (i, "r"));
            if i % 2 == 0 {
                number.add(i as f64, i as f64, i as f64, (i % 32) as u8, session, false);
            }
        }
        let of = |body| Some(Box::new(Sketch { id: SketchId(3), body }));
        SketchSet {
            sketches: vec![
                of(Body::Rate(rate)),
                None,
                of(Body::Numeric(number)),
                of(Body::Rate(RateSketch::default())),
            ],
        }
    }

    fn packed(contents: &SketchSet) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(contents, &mut bytes);
        bytes
    }

    #[test]
    fn packing_and_reading_back_changes_nothing() {
        let all = contents();
        let packed = Packed::of(&all);
        assert_eq!(packed.unpack(|_| true).unwrap(), all);
        assert_eq!(packed.filled_buckets(), u32::MAX);
        let some = packed.unpack(|f| f == 2).unwrap();
        assert_eq!(some.sketches[2], all.sketches[2]);
        assert!(some.sketches[0].is_none());
        assert_eq!(Packed::of(&SketchSet::default()).unpack(|_| true).unwrap(), SketchSet::default());
    }

    #[test]
    fn sessions_in_common_are_written_once() {
        let mut twice = contents();
        let once = packed(&twice).len();
        twice.sketches.push(twice.sketches[0].clone());
        assert!(packed(&twice).len() < once + 40 * 8);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = packed(&contents());
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut], Some);
        }
        assert!(read(&bytes[..bytes.len() - 1], Some).is_err());
    }
}
