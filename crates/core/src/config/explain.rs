//! What the parser says of a mistake, in plain words and on one line: no type of a programming
//! language, and the nearest valid key.

use super::near::nearest;

/// Words of the parser's messages, and what they mean to the author of the file.
const WANTED: [(&str, &str); 15] = [
    ("a string", "text in quotes"),
    ("string or map", "text in quotes, or a table { … }"),
    ("a sequence", "a list, [ … ]"),
    ("a map", "a table, { … } or a section of its own"),
    ("a boolean", "true or false"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number from 0"),
    ("usize", "a whole number from 0"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("isize", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
];

/// A message of the parser in plain words. `key` is the value's key, if it is known.
pub(super) fn explain(message: &str, key: Option<&str>) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(text) = unknown_key(&message) {
        return text;
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let name = rest.trim_end_matches('`');
        return format!("{}the key `{name}` is missing; add it", prefix(key));
    }
    if message == "wanted string or table" {
        return format!("{}is no text; write it in quotes", prefix(key));
    }
    let text = type_or_value(&message).or_else(|| variant(&message)).unwrap_or(message);
    format!("{}{text}", prefix(key))
}

fn prefix(key: Option<&str>) -> String {
    key.map_or_else(String::new, |k| format!("{}: ", shown(k)))
}

/// A key for people: without the numbers of list entries, which begin at 0 and help nobody when the
/// line is named.
pub(super) fn shown(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut rest = key;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        rest = after.split_once(']').map_or("", |(_, r)| r);
    }
    out.push_str(rest);
    out
}

fn unknown_key(message: &str) -> Option<String> {
    let (unknown, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let valid: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    Some(match nearest(unknown, valid.iter().copied()) {
        Some(v) => format!("unknown key `{unknown}`; did you mean `{v}`?"),
        None => format!("unknown key `{unknown}`; keys here are {}", valid.join(", ")),
    })
}

fn variant(message: &str) -> Option<String> {
    let (unknown, rest) = message.strip_prefix("unknown variant `")?.split_once('`')?;
    let valid: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    Some(match nearest(unknown, valid.iter().copied()) {
        Some(v) => format!("{unknown:?} is not valid here; did you mean {v:?}?"),
        None => format!("{unknown:?} is not valid here; write one of {}", valid.join(", ")),
    })
}

fn type_or_value(message: &str) -> Option<String> {
    if let Some((n, wanted)) =
        message.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "))
    {
        return Some(format!("has {n} values; write {}", plain(wanted)));
    }
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (given, wanted) = rest.rsplit_once(", expected ")?;
    Some(format!("is {}; write {}", found(given), plain(wanted)))
}

/// What the file has.
fn found(given: &str) -> String {
    let quoted = |t: &str| t.trim_matches('`').to_owned();
    for (kind, words) in [
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
        ("string ", "the text "),
    ] {
        if let Some(value) = given.strip_prefix(kind) {
            return format!("{words}{}", quoted(value));
        }
    }
    match given {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// What is expected there.
fn plain(wanted: &str) -> String {
    if let Some(n) = wanted.strip_prefix("an array of length ") {
        return format!("a list of {n} numbers");
    }
    if wanted.starts_with("struct ") || wanted.starts_with("enum ") {
        return "a table, { KEY = VALUE } or a section of its own".to_owned();
    }
    WANTED.iter().find(|(w, _)| *w == wanted).map_or_else(|| wanted.to_owned(), |(_, p)| (*p).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_programming_language_is_left() {
        for (message, is) in [
            (
                "invalid type: string \"6h\", expected a sequence",
                "w: is the text \"6h\"; write a list, [ … ]",
            ),
            (
                "invalid type: string \"localhost\", expected struct KafkaInput",
                "w: is the text \"localhost\"; write a table, { KEY = VALUE } or a section of its own",
            ),
            ("invalid type: integer `300`, expected a string", "w: is the number 300; write text in quotes"),
            (
                "invalid value: integer `-1`, expected u16",
                "w: is the number -1; write a whole number from 0 to 65535",
            ),
            ("invalid length 2, expected an array of length 3", "w: has 2 values; write a list of 3 numbers"),
            ("wanted string or table", "w: is no text; write it in quotes"),
            ("missing field `topic`", "w: the key `topic` is missing; add it"),
            (
                "unknown variant `hihg`, expected one of `low`, `medium`, `high`, `critical`",
                "w: \"hihg\" is not valid here; did you mean \"high\"?",
            ),
            ("unknown field `pain`, expected `pane` or `idle`", "unknown key `pain`; did you mean `pane`?"),
        ] {
            assert_eq!(explain(message, Some("w[3]")), is);
        }
        assert_eq!(shown("rules[12].window[0]"), "rules.window");
    }
}
