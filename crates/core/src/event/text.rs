//! The one list of text that may be written at all, and what a name may be.
//!
//! Admitted are segment values, sampler, LoRA and release names, languages, style collections, error codes and categories (the
//! fields of [`super::Text`] and `model.loras`) and request ids. All other text of an event stays in the process: prompt text
//! becomes tokens, session and user ids become keyed hashes, everything else is not read.
//!
//! A name is written as its *text*: itself, or behind a backslash where it could be taken for one
//! of our own words. What is no name is written as a hash, so that two unlike values stay two.

use icu_normalizer::ComposingNormalizerBorrowed;
use std::borrow::Cow;

/// Longest name, in characters.
pub const MAX_NAME: usize = 128;
/// Longest admitted request id, in bytes.
pub const MAX_REQUEST_ID: usize = 128;
/// Longest code, in bytes.
const MAX_CODE: usize = 64;
/// Stands in archives of earlier versions for every value that they did not admit.
const NOT_ADMITTED_THEN: &str = "__invalid__";
/// Words of ours that stand where a name may stand. A name that is one of them is written behind a
/// backslash.
const OURS: [&str; 4] = ["__missing__", "__other__", "(new)", NOT_ADMITTED_THEN];
/// Hexadecimal digits of a hash that stands for a value.
const HASH_DIGITS: usize = 16;

/// Canonical composition (NFC); the tables are compiled in.
static NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();

/// Whether a text is one that people give to jobs, features and pins: 1 to 64 of `A–Z a–z 0–9 . _ :
/// / @ + -` and letters of other scripts, no spaces.
#[must_use]
pub fn looks_like_code(value: &str) -> bool {
    let fits = |c: char| {
        c.is_ascii_alphanumeric() || "._:/@+-".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
    };
    !value.is_empty() && value.len() <= MAX_CODE && value.chars().all(fits)
}

/// A raw value without space around it, in NFC: the form in which names are compared. An empty one
/// counts as missing.
#[must_use]
pub fn normal(raw: &str) -> Cow<'_, str> {
    let raw = raw.trim();
    if raw.is_ascii() { Cow::Borrowed(raw) } else { NFC.normalize(raw) }
}

/// Whether a value in its [`normal`] form is a name: 1 to 128 characters of any script, none of
/// which breaks a line, controls a terminal or turns the direction of the text around it.
#[must_use]
pub fn is_name(normal: &str) -> bool {
    // Every character takes a byte at least.
    let short = normal.len() <= MAX_NAME || normal.chars().nth(MAX_NAME).is_none();
    !normal.is_empty() && short && !normal.chars().any(breaks_text)
}

fn breaks_text(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name's text: behind a backslash where it begins like a hash or a backslash, or is a word of
/// ours.
#[must_use]
pub fn escape(name: &str) -> Cow<'_, str> {
    if name.starts_with(['#', '\\']) || OURS.contains(&name) {
        Cow::Owned(format!("\\{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The name behind a text that is no hash and no word of ours.
#[must_use]
pub fn unescape(text: &str) -> &str {
    text.strip_prefix('\\').unwrap_or(text)
}

/// What stands for a value that is written as its keyed hash: `#3f9a…`, 16 hexadecimal digits.
#[must_use]
pub fn hashed(hash: u64) -> String {
    format!("#{hash:016x}")
}

/// Whether a text is a hash that stands for a value.
#[must_use]
pub fn is_hashed(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix('#').is_some_and(|d| d.len() == HASH_DIGITS && d.bytes().all(digit))
}

/// Whether a text is what names are written as: a name's text or a hash.
#[must_use]
pub fn is_admitted(text: &str) -> bool {
    let name = unescape(text);
    is_hashed(text) || (is_name(name) && normal(name) == name && escape(name) == text)
}

/// The value of an archive's column that is to be read as a name: what an earlier version did not
/// admit is not known any more.
#[must_use]
pub(crate) fn archived(text: &str) -> &str {
    if text == NOT_ADMITTED_THEN { "" } else { unescape(text) }
}

/// The request id, or where it breaks the rules (1 to 128 of `A–Z a–z 0–9 . _ : / @ + -`) a name
/// made of its keyed hash.
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
    use proptest::prelude::*;

    #[test]
    fn names_of_any_script_are_names() {
        let long = "模".repeat(MAX_NAME);
        for name in [
            "birch",
            "Euler a",
            "DPM++ 2M Karras",
            "add detail (v1.2)",
            "NVIDIA H100 80GB HBM3",
            "Müller & Söhne",
            "हिन्दी",
            "立绘拆分 lion",
            "<lora:x:0.8>",
            "a'b \"c\" = d, e \\ f",
            "👩\u{200d}🎨 studio",
            &long,
        ] {
            assert!(is_name(name) && normal(name) == name && escape(name) == name, "{name:?}");
            assert!(is_admitted(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_breaks_a_line_is_no_name() {
        for bad in ["", "a\nb", "a\tb", "a\u{1b}[31mb", "a\u{7f}b", "a\u{85}b", "a\u{2028}b", "a\u{2029}b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for c in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
                .chars()
        {
            assert!(!is_name(&format!("abc{c}def")), "{c:?}");
        }
        assert!(!is_name(&"x".repeat(MAX_NAME + 1)) && !is_name(&"ü".repeat(MAX_NAME + 1)));
    }

    #[test]
    fn space_around_a_name_and_the_way_it_is_composed_do_not_matter() {
        assert_eq!(normal("  Euler a\r\n"), "Euler a");
        assert_eq!(normal("\u{3000}Mu\u{308}ller\u{a0}"), "Müller");
        assert_eq!(normal(" \u{2003}\t"), "");
        // 129 characters that compose to 128.
        assert!(is_name(&normal(&format!("{}u\u{308}", "x".repeat(MAX_NAME - 1)))));
    }

    #[test]
    fn no_name_is_taken_for_a_word_of_ours() {
        for (name, text) in [
            ("#1", "\\#1"),
            ("#0123456789abcdef", "\\#0123456789abcdef"),
            ("\\", "\\\\"),
            ("\\#1", "\\\\#1"),
            ("__missing__", "\\__missing__"),
            ("__other__", "\\__other__"),
            ("(new)", "\\(new)"),
            ("a#b", "a#b"),
        ] {
            assert_eq!((&*escape(name), unescape(text)), (text, name));
            assert!(is_admitted(text) && !is_hashed(text), "{text}");
        }
        for not in ["#1", "__missing__", "__other__", "#0123456789ABCDEF", " a", "\\a", "Mu\u{308}ller", ""] {
            assert!(!is_admitted(not), "{not:?}");
        }
        assert!(is_hashed(&hashed(0xab)) && is_admitted(&hashed(0xab)));
        assert_eq!(hashed(0xab), "#00000000000000ab");
    }

    proptest! {
        #[test]
        fn every_name_has_one_text_that_leads_back(raw in any::<String>()) {
            let name = normal(&raw);
            prop_assert_eq!(normal(&name), &*name);
            if is_name(&name) {
                let text = escape(&name);
                prop_assert_eq!(unescape(&text), &*name);
                prop_assert!(is_admitted(&text) && !is_hashed(&text));
                prop_assert_eq!(archived(&text), &*name);
            }
        }
    }

    #[test]
    fn codes_have_no_spaces() {
        for ok in ["birch", "eu-west", "sd_xl:1.0", "lora-017", "日本", "a/b@c+d"] {
            assert!(looks_like_code(ok), "{ok}");
        }
        for bad in ["", "a cat on a mat", "x\ny", "\u{202e}abc", "<script>", "a'b", &"x".repeat(65)] {
            assert!(!looks_like_code(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_odd_request_id_is_written_as_its_hash() {
        assert_eq!(admit_request_id("718ff485978e", 1), "718ff485978e");
        assert_eq!(admit_request_id("my secret prompt", 0xab), "hashed-00000000000000ab");
        assert_eq!(admit_request_id("", 1), "hashed-0000000000000001");
    }
}
