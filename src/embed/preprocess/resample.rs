//! Resizes the centre square of an image exactly as Pillow's bicubic filter does.

/// Binary places of a weight, as in Pillow, so that sums round equally. A sum stays below 2³¹:
/// weights add up to 1, and negative ones to at most a quarter.
const PLACES: u32 = 22;
/// Start of a sum, so that truncation rounds it.
const HALF: i32 = 1 << (PLACES - 1);

/// The input pixels of an output pixel: from `start`, with these weights.
struct PixelWeights {
    start: usize,
    weights: Vec<i32>,
}

/// The centre square of an image, `full` being its width and height, once its shortest side is
/// `size` long. Only what the square needs is computed.
pub(super) fn square(data: &[u8], full: (usize, usize), size: usize) -> Vec<u8> {
    let (full_width, full_height) = full;
    let short = full_width.min(full_height);
    let (width, height) = (full_width * size / short, full_height * size / short);
    // Halves go to the even side, as Python rounds.
    let offset = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
    let (left, top) = (offset(width), offset(height));
    if short == size {
        let rows = data.chunks_exact(3 * full_width).skip(top).take(size);
        return rows.flat_map(|row| &row[3 * left..3 * (left + size)]).copied().collect();
    }
    let columns = windows(full_width, width, left, size);
    let mut rows = windows(full_height, height, top, size);
    let (Some(&PixelWeights { start: first, .. }), Some(last)) = (rows.first(), rows.last()) else {
        return Vec::new();
    };
    let data = &data[3 * full_width * first..3 * full_width * (last.start + last.weights.len())];
    rows.iter_mut().for_each(|window| window.start -= first);
    // The order affects the rounding. Before version 13, Pillow always resized rows first.
    let shrinks = height < full_height;
    if shrinks && full_height - height > 2 * full_width.saturating_sub(width) {
        across(&down(data, 3 * full_width, &rows), full_width, &columns)
    } else {
        down(&across(data, full_width, &columns), 3 * size, &rows)
    }
}

/// Resamples every row, `width` pixels long.
fn across(data: &[u8], width: usize, columns: &[PixelWeights]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / width * columns.len());
    for row in data.chunks_exact(3 * width) {
        let row = row.as_chunks::<3>().0;
        for window in columns {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[window.start..].iter().zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

/// Resamples every column, in rows of `stride` bytes.
fn down(data: &[u8], stride: usize, rows: &[PixelWeights]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stride * rows.len());
    for window in rows {
        let mut sums = vec![HALF; stride];
        for (line, weight) in data.chunks_exact(stride).skip(window.start).zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(line) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.into_iter().map(rounded));
    }
    out
}

fn rounded(sum: i32) -> u8 {
    (sum >> PLACES).clamp(0, 255) as u8
}

/// The windows of `count` pixels from `skip` on, when `input` pixels become `output`.
fn windows(input: usize, output: usize, skip: usize, count: usize) -> Vec<PixelWeights> {
    let scale = input as f64 / output as f64;
    // When shrinking, the filter covers all input pixels of an output pixel.
    let stretch = scale.max(1.0);
    let reach = 2.0 * stretch;
    let window = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        // A cast saturates below at 0, where the image begins.
        let start = (centre - reach + 0.5) as usize;
        let end = ((centre + reach + 0.5) as usize).min(input);
        let weight = |x: usize| cubic((x as f64 - centre + 0.5) * (1.0 / stretch));
        let total: f64 = (start..end).map(weight).sum();
        let fixed = |x| {
            let weight = weight(x) / total * f64::from(1 << PLACES);
            (weight + 0.5_f64.copysign(weight)) as i32
        };
        PixelWeights { start, weights: (start..end).map(fixed).collect() }
    };
    (skip..skip + count).map(window).collect()
}

/// Pillow's bicubic filter: the cubic convolution kernel with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}
