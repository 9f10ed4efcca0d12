//! The one list of text that may be written at all, and its rules of length and characters.
//!
//! Admitted are segment values, sampler, LoRA and release names, languages, style collections, error codes and categories (the
//! fields of [`super::Text`] and `model.loras`) and request ids. All other text of an event stays in the process: prompt text
//! becomes tokens, session and user ids become keyed hashes, everything else is not read.

use std::borrow::Cow;

/// Longest admitted value, in bytes.
pub const MAX_VALUE: usize = 64;
/// Longest admitted request id, in bytes.
pub const MAX_REQUEST_ID: usize = 128;
/// Stands where a value broke the rules.
pub const INVALID: &str = "__invalid__";

/// Whether a name keeps the rules: 1 to 64 of `A–Z a–z 0–9 . _ : / @ + -` and letters of other scripts, no spaces or control
/// characters (names have none; sentences do).
#[must_use]
pub fn admissible(value: &str) -> bool {
    !value.is_empty() && value.len() <= MAX_VALUE && value.chars().all(admissible_char)
}

fn admissible_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:/@+-".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

/// The value itself, or [`INVALID`] where it breaks the rules.
#[must_use]
pub fn admit(value: &str) -> &str {
    if admissible(value) { value } else { INVALID }
}

/// The request id, or where it breaks the rules (1 to 128 of the same characters, ASCII only) a name made of its keyed hash.
#[must_use]
pub fn admit_request_id(id: &str, hash: u64) -> Cow<'_, str> {
    let fits = !id.is_empty()
        && id.len() <= MAX_REQUEST_ID
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b));
    if fits { Cow::Borrowed(id) } else { Cow::Owned(format!("hashed-{hash:016x}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pass_and_sentences_do_not() {
        for ok in ["birch", "eu-west", "sd_xl:1.0", "lora-017", "dpmpp_2m_karras", "日本", "a/b@c+d"] {
            assert_eq!(admit(ok), ok);
        }
        for bad in ["", "a cat on a mat", "x\ny", "\u{202e}abc", "<script>", "a'b", &"x".repeat(65)] {
            assert_eq!(admit(bad), INVALID, "{bad:?}");
        }
    }

    #[test]
    fn an_odd_request_id_is_written_as_its_hash() {
        assert_eq!(admit_request_id("718ff485978e", 1), "718ff485978e");
        assert_eq!(admit_request_id("my secret prompt", 0xab), "hashed-00000000000000ab");
        assert_eq!(admit_request_id("", 1), "hashed-0000000000000001");
    }
}
