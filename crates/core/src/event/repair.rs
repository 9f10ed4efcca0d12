//! JSON that is well formed and can't be represented: strings cut within an emoji, numbers beyond every double.
//!
//! RFC 8259 allows `"\ud83d"` and `1e400`; neither has a value here, and the parser ends at the first of them.
//! Only then this pass runs. It puts in their place what no field takes, so that each costs its own field and not
//! the event. Whether the rest is JSON is for the parser to say, which reads the repaired text again.

use serde::de::IgnoredAny;
use serde_json::from_str;

/// Stands for a value without one: of the wrong type in every field, in lists of texts and numbers too.
const NO_VALUE: &str = "[[]]";
/// Stands for a key that is no text: the name of no field.
const NO_KEY: &str = "\"\u{fffd}\"";

/// The text with something else in place of each string and number that can't be represented; `None` where there is
/// none. One pass, without recursion; what it returns is not longer than the text.
#[must_use]
pub fn repair(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    // Up to where the text is in `out`, and where the pass stands.
    let (mut copied, mut at) = (0, 0);
    while let Some(&b) = bytes.get(at) {
        let start = at;
        let instead = match b {
            b'"' => {
                at = end_of_string(bytes, start);
                let token = &text[start..at];
                match is_lost_string(token) {
                    false => None,
                    true if is_key(bytes, at) => Some(NO_KEY),
                    true => Some(NO_VALUE),
                }
            }
            b'-' | b'0'..=b'9' => {
                let more = bytes[start..].iter().take_while(|b| is_of_number(**b)).count();
                at = start + more;
                is_lost_number(&text[start..at]).then_some(NO_VALUE)
            }
            _ => {
                at += 1;
                None
            }
        };
        if let Some(instead) = instead {
            out.push_str(&text[copied..start]);
            out.push_str(instead);
            copied = at;
        }
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// Behind the quote that ends the string which begins at `start`, or the end of the text.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&b) = bytes.get(at) {
        at += 1;
        match b {
            b'"' => return at,
            // What it escapes is no quote that ends the string.
            b'\\' => at += 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Whether the string that ends at `at` is a key.
fn is_key(bytes: &[u8], at: usize) -> bool {
    bytes[at..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
}

fn is_of_number(b: u8) -> bool {
    b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')
}

/// Well formed by the grammar, and still no text.
fn is_lost_string(token: &str) -> bool {
    token.contains("\\u") && from_str::<IgnoredAny>(token).is_ok() && from_str::<String>(token).is_err()
}

/// Well formed by the grammar, and still no double.
fn is_lost_number(token: &str) -> bool {
    // 308 digits without an exponent are a double.
    let may_be = token.len() > 308 || token.bytes().any(|b| matches!(b, b'e' | b'E'));
    may_be && from_str::<IgnoredAny>(token).is_ok() && from_str::<f64>(token).is_err()
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
