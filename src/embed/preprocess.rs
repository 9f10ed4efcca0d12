//! Converts a JPEG, PNG or WebP to the tensor of an image encoder, as Pillow with CLIP's transforms
//! does.
//!
//! The steps are decode, `convert("RGB")`, shortest side to `size` (bicubic, antialiased), centre
//! crop, normalise. The content decides the format, orientation tags are ignored, and the first
//! frame of an animation counts. Header and frame sizes are checked before allocating memory for
//! pixels.
//!
//! All three formats and the resize agree with Pillow to the last bit.

mod resample;

pub use super::error::ImageError;
use serde::{Deserialize, Serialize};
use std::io::Cursor;

/// The input of an encoder: the side of the square, and each channel's shift and scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Side of the square, in pixels.
    pub size: u32,
    /// Subtracted from red, green and blue, which range from 0 to 1.
    pub mean: [f32; 3],
    /// Divisors of the differences.
    pub std: [f32; 3],
}

impl Default for Preprocessing {
    /// CLIP's.
    fn default() -> Self {
        Self {
            size: 224,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

impl Preprocessing {
    /// How many numbers a tensor has.
    #[must_use]
    pub fn len(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }

    /// Whether a tensor has no numbers at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Writes the tensor of an image to `out`: red, then green, then blue, each row by row.
    ///
    /// # Errors
    /// If `bytes` are not a whole JPEG, PNG or WebP of at most `max_pixels` pixels; `out` is
    /// unchanged then.
    ///
    /// # Panics
    /// If `out` is not [`Self::len`] long.
    pub fn tensor(&self, bytes: &[u8], max_pixels: u64, out: &mut [f32]) -> Result<(), ImageError> {
        assert_eq!(out.len(), self.len(), "the tensor's length is fixed by the size");
        let image = decode(bytes, max_pixels)?;
        let square = resample::square(&image.data, (image.width, image.height), self.size as usize);
        let plane = self.size as usize * self.size as usize;
        for channel in 0..3 {
            let table: [f32; 256] =
                std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[channel]) / self.std[channel]);
            let plane = &mut out[channel * plane..(channel + 1) * plane];
            for (to, from) in plane.iter_mut().zip(square.as_chunks::<3>().0) {
                *to = table[from[channel] as usize];
            }
        }
        Ok(())
    }
}

/// A decoded image: rows of red, green and blue bytes.
#[derive(Debug)]
struct RgbImage {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, ImageError> {
    const OTHERS: [&[u8]; 6] = [b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\xff\x0a", b"\0\0\0\x0cJXL "];
    if bytes.starts_with(b"\xff\xd8\xff") {
        decode_jpeg(bytes, max_pixels)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(bytes, max_pixels)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        decode_webp(bytes, max_pixels)
    } else if OTHERS.iter().any(|magic| bytes.starts_with(magic)) || bytes.get(4..8) == Some(b"ftyp") {
        Err(ImageError::UnsupportedFormat)
    } else {
        Err(ImageError::NotAnImage)
    }
}

fn check_size(width: u32, height: u32, max_pixels: u64) -> Result<(), ImageError> {
    match u64::from(width) * u64::from(height) {
        0 => Err(ImageError::NoPixels),
        n if n > max_pixels => Err(ImageError::TooManyPixels),
        _ => Ok(()),
    }
}

/// The memory in bytes to decode `max_pixels`, and a constant for any image.
fn memory_limit(max_pixels: u64) -> usize {
    usize::try_from(max_pixels.saturating_mul(8).saturating_add(1 << 20)).unwrap_or(usize::MAX)
}

/// The first `N` of every `n` bytes, each through `f`: drops alpha, widens grey, and so on.
fn to_rgb<const N: usize>(data: &[u8], n: usize, f: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    data.chunks_exact(n).filter_map(|pixel| pixel.first_chunk()).flat_map(|&pixel| f(pixel)).collect()
}

/// Uses libjpeg-turbo's code (in mozjpeg), so that pixels equal Pillow's to the last bit: in
/// encoders that quantise at run time, one level of one pixel changes the vector.
fn decode_jpeg(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, ImageError> {
    use mozjpeg::{ColorSpace, Decompress};
    check_jpeg(bytes, max_pixels)?;
    let decode = || -> std::io::Result<(usize, usize, usize, Vec<u8>)> {
        let decoder = Decompress::new_mem(bytes)?;
        let (channels, space) = match decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => (1, ColorSpace::JCS_GRAYSCALE),
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => (4, ColorSpace::JCS_CMYK),
            _ => (3, ColorSpace::JCS_RGB),
        };
        let mut started = decoder.to_colorspace(space)?;
        let (width, height) = (started.width(), started.height());
        let data = started.read_scanlines::<u8>()?;
        started.finish()?;
        Ok((width, height, channels, data))
    };
    // Its errors are panics that bypass the panic hook.
    let decoded = std::panic::catch_unwind(decode).map_err(|_| ImageError::Corrupt)?;
    let (width, height, channels, data) = decoded.map_err(|_| ImageError::Corrupt)?;
    if width.checked_mul(height).and_then(|n| n.checked_mul(channels)) != Some(data.len()) {
        return Err(ImageError::Corrupt);
    }
    let data = match channels {
        1 => to_rgb(&data, 1, |[v]| [v; 3]),
        // Files are written as Photoshop does, with inverted ink.
        4 => to_rgb(&data, 4, |[c, m, y, k]| [c, m, y].map(|ink| under_black(255 - ink, 255 - k))),
        _ => data,
    };
    Ok(RgbImage { width, height, data })
}

/// CMYK as in Pillow: each ink absorbs its share of the light that black leaves, with Pillow's
/// rounding of n / 255.
fn under_black(ink: u8, black: u8) -> u8 {
    let light = 255 - black;
    let n = u32::from(ink) * u32::from(light) + 128;
    light.saturating_sub((((n >> 8) + n) >> 8) as u8)
}

/// Checks the markers of a JPEG to its end: one frame of a supported kind within the limit, few
/// scans.
fn check_jpeg(bytes: &[u8], max_pixels: u64) -> Result<(), ImageError> {
    /// Each scan of a progressive image may visit all of its blocks, so many tiny ones can take
    /// hours. Encoders write about ten.
    const MAX_SCANS: u32 = 40;
    let (mut rest, mut framed, mut scans) = (bytes, false, 0);
    loop {
        // Compressed data, restarts and stray bytes between segments don't look like other markers.
        let at = rest
            .windows(2)
            .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 1 | 0xd0..=0xd8 | 0xff))
            .ok_or(ImageError::Corrupt)?;
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        if marker == 0xd9 {
            return if framed && scans > 0 { Ok(()) } else { Err(ImageError::Corrupt) };
        }
        let length =
            rest.first_chunk().map(|&l| usize::from(u16::from_be_bytes(l))).ok_or(ImageError::Corrupt)?;
        let segment = rest.get(2..length).ok_or(ImageError::Corrupt)?;
        rest = &rest[length..];
        match (marker, segment) {
            (0xc4 | 0xc8 | 0xcc, _) => {}
            (0xc0..=0xc2, &[8, h1, h0, w1, w0, 1 | 3 | 4, ..]) if !framed => {
                check_size(
                    u16::from_be_bytes([w1, w0]).into(),
                    u16::from_be_bytes([h1, h0]).into(),
                    max_pixels,
                )?;
                framed = true;
            }
            // Lossless, arithmetic-coded, 12 bit, or of two components.
            (0xc0..=0xcf, _) if !framed => return Err(ImageError::UnsupportedFormat),
            (0xc0..=0xcf, _) => return Err(ImageError::Corrupt),
            (0xda, _) if !framed || scans == MAX_SCANS => return Err(ImageError::Corrupt),
            (0xda, _) => scans += 1,
            _ => {}
        }
    }
}

fn decode_png(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, ImageError> {
    use png::{BitDepth, ColorType};
    let limits = png::Limits { bytes: memory_limit(max_pixels) };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|_| ImageError::Corrupt)?;
    check_size(reader.info().width, reader.info().height, max_pixels)?;
    let mut data = vec![0; reader.output_buffer_size().ok_or(ImageError::TooManyPixels)?];
    let frame = reader.next_frame(&mut data).map_err(|_| ImageError::Corrupt)?;
    let data = match (frame.color_type, frame.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => data,
        // Pillow keeps the upper byte of a 16-bit colour, but clips 16-bit grey.
        (ColorType::Rgb, BitDepth::Sixteen) => to_rgb(&data, 6, |[r, _, g, _, b, _]| [r, g, b]),
        (ColorType::Rgba, BitDepth::Sixteen) => to_rgb(&data, 8, |[r, _, g, _, b, _]| [r, g, b]),
        (ColorType::Grayscale, BitDepth::Sixteen) => to_rgb(&data, 2, clipped),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen)
            if reader.info().color_type == ColorType::Grayscale =>
        {
            to_rgb(&data, 4, clipped)
        }
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => to_rgb(&data, 4, |[v]| [v; 3]),
        (ColorType::Rgba, _) => to_rgb(&data, 4, |rgb| rgb),
        (ColorType::GrayscaleAlpha, _) => to_rgb(&data, 2, |[v]| [v; 3]),
        (ColorType::Grayscale, _) => to_rgb(&data, 1, |[v]| [v; 3]),
        (ColorType::Indexed | ColorType::Rgb, _) => return Err(ImageError::Corrupt),
    };
    Ok(RgbImage { width: frame.width as usize, height: frame.height as usize, data })
}

fn clipped([upper, lower]: [u8; 2]) -> [u8; 3] {
    [if upper == 0 { lower } else { 255 }; 3]
}

fn decode_webp(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, ImageError> {
    check_webp(bytes, max_pixels)?;
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(|_| ImageError::Corrupt)?;
    decoder.set_memory_limit(memory_limit(max_pixels));
    let (width, height) = decoder.dimensions();
    check_size(width, height, max_pixels)?;
    let mut data = vec![0; decoder.output_buffer_size().ok_or(ImageError::TooManyPixels)?];
    decoder.read_image(&mut data).map_err(|_| ImageError::Corrupt)?;
    if decoder.has_alpha() {
        data = to_rgb(&data, 4, |rgb| rgb);
    }
    Ok(RgbImage { width: width as usize, height: height as usize, data })
}

/// Checks that a WebP is complete and that its frames have the declared size: the decoder allocates
/// a frame before it compares the two.
fn check_webp(bytes: &[u8], max_pixels: u64) -> Result<(), ImageError> {
    let length = bytes.get(4..8).and_then(le).ok_or(ImageError::Corrupt)? as usize;
    let chunks = bytes.get(12..8 + length).ok_or(ImageError::Corrupt)?;
    let (kind, payload, _) = next_chunk(chunks).ok_or(ImageError::Corrupt)?;
    let (width, height) = webp_size(kind, payload).ok_or(ImageError::Corrupt)?;
    check_size(width, height, max_pixels)?;
    if frames_fit(chunks, (width, height), false) { Ok(()) } else { Err(ImageError::Corrupt) }
}

/// Whether the frames among `chunks` have the size `outer`. Frames of an animation may be smaller,
/// and are one level down (`nested`).
fn frames_fit(mut chunks: &[u8], outer: (u32, u32), nested: bool) -> bool {
    while let Some((kind, payload, rest)) = next_chunk(chunks) {
        let fits = match (kind, webp_size(kind, payload)) {
            (b"ANMF", Some(size)) if !nested && size.0 <= outer.0 && size.1 <= outer.1 => {
                payload.get(16..).is_some_and(|frame| frames_fit(frame, size, true))
            }
            (b"ANMF", _) => false,
            (b"VP8 " | b"VP8L" | b"VP8X", size) => size == Some(outer),
            _ => true,
        };
        if !fits {
            return false;
        }
        chunks = rest;
    }
    // At most one byte of padding is left.
    chunks.len() < 2
}

/// The first chunk, and what follows it.
fn next_chunk(chunks: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (kind, rest) = chunks.split_first_chunk()?;
    let length = le(rest.get(..4)?)? as usize;
    let payload = rest.get(4..4 + length)?;
    // Chunks start at even offsets; padding after the last one is optional.
    Some((kind, payload, rest.get(4 + length + length % 2..).unwrap_or_default()))
}

/// Width and height that a chunk of a WebP states.
fn webp_size(kind: &[u8; 4], payload: &[u8]) -> Option<(u32, u32)> {
    let number = |from: usize, length| payload.get(from..from + length).and_then(le);
    match kind {
        b"VP8 " => Some((number(6, 2)? & 0x3fff, number(8, 2)? & 0x3fff)),
        b"VP8L" => number(1, 4).map(|bits| ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)),
        b"VP8X" => Some((number(4, 3)? + 1, number(7, 3)? + 1)),
        b"ANMF" => Some((number(6, 3)? + 1, number(9, 3)? + 1)),
        _ => None,
    }
}

/// A little-endian number of up to four bytes.
fn le(bytes: &[u8]) -> Option<u32> {
    (bytes.len() <= 4).then(|| bytes.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte)))
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
