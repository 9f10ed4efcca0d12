//! A reference as a JSON file, and back with every number as it was.

use super::projection::{MAX_CLUSTERS, MAX_COMPONENTS, MAX_DIMENSION, Reference, ReferenceInfo};
use serde::{Deserialize, Serialize};

/// The form of file that is written and read.
const FORMAT: u64 = 1;
/// Largest file that is read, bytes: above what the largest reference takes.
const MAX_BYTES: usize = 8 << 20;
/// Largest magnitude of a number: far above what a fit gives, and projections stay far below what sums clamp at.
const MAX_NUMBER: f32 = 1e9;

/// Numbers are hex digits of little-endian `f32`: decimal ones would come back changed in the last place.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u64,
    name: String,
    /// 16 hex digits; tells a file that was cut or edited.
    id: String,
    about: ReferenceInfo,
    dimension: usize,
    components: usize,
    centre: String,
    directions: String,
    clusters: Vec<String>,
}

/// Read before the rest, so that a file of a later form is refused for being one.
#[derive(Deserialize)]
struct Form {
    format: u64,
}

/// Why a file is no reference.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Longer than any reference.
    #[error("a reference file has at most {MAX_BYTES} bytes, this one {0}")]
    Long(usize),
    /// Not JSON, or not these fields.
    #[error("not a reference file: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another form.
    #[error("the file is of format {0}, this version reads format {FORMAT}")]
    Format(u64),
    /// A size beyond its limits.
    #[error("{what} must be from {least} to {most}, the file says {got}")]
    Size {
        /// Which size.
        what: &'static str,
        /// The least that it may be.
        least: usize,
        /// The most that it may be.
        most: usize,
        /// What the file says.
        got: usize,
    },
    /// A text of the wrong length.
    #[error("{what} must have {expected} hex digits, the file has {got}")]
    Length {
        /// Which field.
        what: &'static str,
        /// Digits that the sizes ask for.
        expected: usize,
        /// Bytes that there are.
        got: usize,
    },
    /// Something else than hex digits.
    #[error("{0} has a character that is no hex digit")]
    Digit(&'static str),
    /// A NaN, an infinity, or a number that no fit gives.
    #[error("{what} has a number that is not finite or beyond ±{MAX_NUMBER:e}, at place {place}")]
    Number {
        /// Which field.
        what: &'static str,
        /// Which of its numbers, from 0.
        place: usize,
    },
    /// The note on its making makes no sense.
    #[error("the explained share of variance must be from 0 to 1")]
    Explained,
    /// The numbers are not those that were written.
    #[error("the file says id {said:?}, its numbers give {is}: it was changed after it was written")]
    Id {
        /// As the file has it.
        said: String,
        /// As its content gives.
        is: String,
    },
}

impl Reference {
    /// The reference as JSON text. [`Reference::from_json`] gives it back exactly.
    #[must_use]
    pub fn to_json(&self) -> String {
        let [centre, directions, clusters] = self.parts();
        let file = File {
            format: FORMAT,
            name: self.name().to_owned(),
            id: id_text(self),
            about: self.about().clone(),
            dimension: self.dimension(),
            components: self.components(),
            centre: to_hex(&centre),
            directions: to_hex(&directions),
            clusters: clusters.chunks_exact(self.components()).map(to_hex).collect(),
        };
        // Strings and numbers in a struct: there is nothing that the writer could refuse.
        serde_json::to_string_pretty(&file).expect("a reference's fields can be written as JSON")
    }

    /// Reads what [`Reference::to_json`] wrote.
    ///
    /// # Errors
    /// Whatever is wrong with the file: [`FileError`].
    pub fn from_json(text: &[u8]) -> Result<Self, FileError> {
        if text.len() > MAX_BYTES {
            return Err(FileError::Long(text.len()));
        }
        let Form { format } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Err(FileError::Format(format));
        }
        let file: File = serde_json::from_slice(text)?;
        size("the dimension", file.dimension, 1, MAX_DIMENSION)?;
        size("the number of components", file.components, 1, MAX_COMPONENTS.min(file.dimension))?;
        size("the number of clusters", file.clusters.len(), 0, MAX_CLUSTERS)?;
        if !(0.0..=1.0).contains(&file.about.explained) {
            return Err(FileError::Explained);
        }
        let centre = from_hex("the centre", &file.centre, file.dimension)?;
        let directions = from_hex("the directions", &file.directions, file.dimension * file.components)?;
        let mut clusters = Vec::with_capacity(file.clusters.len() * file.components);
        for cluster in &file.clusters {
            clusters.extend(from_hex("a cluster", cluster, file.components)?);
        }
        let reference = Self::from_parts(file.name, file.about, &centre, &directions, &clusters);
        let is = id_text(&reference);
        if is == file.id { Ok(reference) } else { Err(FileError::Id { said: file.id, is }) }
    }
}

fn id_text(reference: &Reference) -> String {
    format!("{:016x}", reference.id())
}

fn size(what: &'static str, got: usize, least: usize, most: usize) -> Result<(), FileError> {
    if (least..=most).contains(&got) { Ok(()) } else { Err(FileError::Size { what, least, most, got }) }
}

fn to_hex(numbers: &[f32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    numbers.iter().flat_map(|x| x.to_le_bytes()).flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

fn from_hex(what: &'static str, text: &str, count: usize) -> Result<Vec<f32>, FileError> {
    if text.len() != count * 8 {
        return Err(FileError::Length { what, expected: count * 8, got: text.len() });
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8).ok_or(FileError::Digit(what));
    let mut numbers = Vec::with_capacity(count);
    for (place, digits) in text.as_bytes().as_chunks::<8>().0.iter().enumerate() {
        let mut bytes = [0; 4];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let number = f32::from_le_bytes(bytes);
        if !number.is_finite() || number.abs() > MAX_NUMBER {
            return Err(FileError::Number { what, place });
        }
        numbers.push(number);
    }
    Ok(numbers)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
