//! Writes JSON into a reused buffer: escaped strings, integers, decimals, hex ids, timestamps.

use chrono::{DateTime, Datelike};

const HEX: &[u8; 16] = b"0123456789abcdef";
pub(super) const US_PER_DAY: i64 = 86_400_000_000;

/// Appends `text` as a JSON string, quotation marks included.
pub(super) fn push_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (i, &b) in bytes.iter().enumerate() {
        if b >= 0x20 && b != b'"' && b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..i]);
        plain = i + 1;
        let short = match b {
            b'"' | b'\\' => b,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
                continue;
            }
        };
        out.push(b'\\');
        out.push(short);
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Appends raw JSON: keys and punctuation.
pub(super) fn push_raw(out: &mut Vec<u8>, raw: &str) {
    out.extend_from_slice(raw.as_bytes());
}

pub(super) fn push_bool(out: &mut Vec<u8>, value: bool) {
    push_raw(out, if value { "true" } else { "false" });
}

pub(super) fn push_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value` zero-padded to `width` digits (at most 8).
fn push_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 8];
    for slot in digits[..width].iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[..width]);
}

/// Appends `value` rounded to `decimals` places (1 to 8). The value must be finite and below 10⁹ in
/// size.
pub(super) fn push_decimal(out: &mut Vec<u8>, value: f64, decimals: usize) {
    const SCALES: [f64; 9] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
    let scale = SCALES[decimals];
    let scaled = (value.abs() * scale).round() as u64;
    if value < 0.0 && scaled > 0 {
        out.push(b'-');
    }
    push_u64(out, scaled / scale as u64);
    out.push(b'.');
    push_padded(out, scaled % scale as u64, decimals);
}

/// Appends the lowest `digits` hexadecimal digits of `value`, quoted.
pub(super) fn push_hex(out: &mut Vec<u8>, value: u128, digits: usize) {
    out.push(b'"');
    for i in (0..digits).rev() {
        out.push(HEX[(value >> (4 * i)) as usize & 15]);
    }
    out.push(b'"');
}

/// Writes RFC 3339 timestamps in UTC with milliseconds. Caches the date, which changes rarely.
#[derive(Debug, Clone)]
pub(super) struct Timestamps {
    day: i64,
    date: Vec<u8>,
}

impl Timestamps {
    pub(super) fn new() -> Self {
        Self { day: i64::MIN, date: Vec::with_capacity(11) }
    }

    /// Appends the time (microseconds since 1970), quoted, truncated to milliseconds.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, time_us: i64) {
        let day = time_us.div_euclid(US_PER_DAY);
        if day != self.day {
            let date = DateTime::from_timestamp(day * 86_400, 0).unwrap_or_default();
            self.date.clear();
            push_padded(&mut self.date, date.year().unsigned_abs().into(), 4);
            self.date.push(b'-');
            push_padded(&mut self.date, date.month().into(), 2);
            self.date.push(b'-');
            push_padded(&mut self.date, date.day().into(), 2);
            self.date.push(b'T');
            self.day = day;
        }
        let ms = time_us.rem_euclid(US_PER_DAY) as u64 / 1_000;
        out.push(b'"');
        out.extend_from_slice(&self.date);
        push_padded(out, ms / 3_600_000, 2);
        out.push(b':');
        push_padded(out, ms / 60_000 % 60, 2);
        out.push(b':');
        push_padded(out, ms / 1_000 % 60, 2);
        out.push(b'.');
        push_padded(out, ms % 1_000, 3);
        push_raw(out, "Z\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_come_back_as_they_went_in() {
        let hard = "say \"hi\" \\ back\nline\ttab\r\u{8}\u{c}\u{0}\u{1f}\u{7f} ünï 猫 🦊 </script>";
        let text = written(|out| push_str(out, hard));
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hard);
        assert!(text.contains("\\u0000") && text.contains("\\u001f"));
    }

    #[test]
    fn decimals_round_and_keep_their_places() {
        for (value, decimals, text) in [
            (0.0, 1, "0.0"),
            (1.05, 2, "1.05"),
            (9.999, 2, "10.00"),
            (-0.004, 2, "0.00"),
            (-2.5, 1, "-2.5"),
            (0.000_123, 6, "0.000123"),
        ] {
            assert_eq!(written(|out| push_decimal(out, value, decimals)), text);
        }
    }

    #[test]
    fn integers_and_ids_are_exact() {
        assert_eq!(written(|out| push_u64(out, 0)), "0");
        assert_eq!(written(|out| push_u64(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(|out| push_hex(out, 0x0abc, 6)), "\"000abc\"");
    }

    #[test]
    fn timestamps_agree_with_chrono_across_days() {
        let mut clock = Timestamps::new();
        for us in [0, 951_782_399_999_000, 951_782_400_000_000, 1_768_197_600_123_456, 4_102_444_799_999_999]
        {
            let text = written(|out| clock.push(out, us));
            let parsed = DateTime::parse_from_rfc3339(text.trim_matches('"')).unwrap();
            assert_eq!(parsed.timestamp_micros(), us - us % 1_000, "{text}");
        }
    }
}
