//! What a file holds, by its first bytes and not by its name: packed or not, JSON lines or what
//! else.
//!
//! Only what is certain is refused here. Lines that are no events among lines that are stay counted
//! rejects.

use serde::de::IgnoredAny;

/// Bytes at a file's beginning that are looked at.
pub const HEAD: usize = 64 << 10;
/// Lines that are looked at.
const LINES: usize = 50;
/// UTF-8's mark of byte order, which some tools put before the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// What RFC 7464 puts before each JSON text.
const RECORD_SEPARATOR: u8 = 0x1e;

/// How a file's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Not at all, as far as its first bytes tell.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// Parquet.
    Parquet,
}

/// What a file looks like that is not what is read here, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// As in "FILE looks like …".
    pub what: &'static str,
    /// What to do, with a command where one does it.
    pub todo: &'static str,
}

const fn looks(what: &'static str, todo: &'static str) -> Looks {
    Looks { what, todo }
}

const UNPACK: &str = "unpack it, or pack it with gzip or zstd instead";
const CONVERT: &str = "turn it into JSON lines, one event a line";
const UTF16: Looks = looks("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16 -t UTF-8");
const UTF16LE: Looks =
    looks("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16LE -t UTF-8");
const UTF16BE: Looks =
    looks("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16BE -t UTF-8");
const UTF32: Looks = looks("UTF-32 text", "turn it into UTF-8, for example with: iconv -f UTF-32 -t UTF-8");
const TWICE: Looks = looks("a file that was packed twice", "unpack it once");
const ARRAY: Looks = looks("one JSON array", "turn its elements into lines, for example with: jq -c '.[]'");
const PRETTY: Looks =
    looks("JSON over several lines", "put each event on a line of its own, for example with: jq -c .");
const GLUED: Looks = looks(
    "JSON objects without line ends between them",
    "put each event on a line of its own, for example with: jq -c .",
);
const CR_ONLY: Looks = looks(
    "lines that end in a carriage return alone",
    "give them line feeds, for example with: tr '\\r' '\\n'",
);
const COMMAS: Looks = looks(
    "JSON objects with commas between them",
    "take the commas off the line ends, for example with: sed 's/,[[:space:]]*$//'",
);
const DOUBLE: Looks =
    looks("JSON strings that hold JSON", "unwrap each line, for example with: jq -c fromjson");
const PYTHON: Looks =
    looks("Python's way to print dictionaries", "write JSON instead, for example with json.dumps");
const MARKUP: Looks =
    looks("HTML or XML", "if it was fetched from a server, look at what the server answered");
const TABLE: Looks = looks("a table of separated values (CSV)", CONVERT);

/// First bytes of other formats, where they stand, and what they are.
const MAGIC: [(usize, &[u8], Looks); 20] = [
    (0, b"PK\x03\x04", looks("a zip archive", UNPACK)),
    (0, b"PK\x05\x06", looks("a zip archive", UNPACK)),
    (257, b"ustar", looks("a tar archive", "unpack it and name the files in it")),
    (0, b"BZh", looks("a bzip2 file", UNPACK)),
    (0, b"\xfd7zXZ\0", looks("an xz file", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", looks("a 7z archive", UNPACK)),
    (0, b"\x04\x22\x4d\x18", looks("an lz4 file", UNPACK)),
    (0, b"\xff\x06\0\0sNaPpY", looks("a snappy file", UNPACK)),
    (0, b"\x1f\x9d", looks("a file of Unix compress", UNPACK)),
    (0, b"SQLite format 3\0", looks("an SQLite database", CONVERT)),
    (0, b"Obj\x01", looks("an Avro file", CONVERT)),
    (0, b"ORC", looks("an ORC file", CONVERT)),
    (0, b"ARROW1", looks("an Arrow file", CONVERT)),
    (0, b"\xff\xff\xff\xff", looks("an Arrow stream", CONVERT)),
    (0, b"%PDF", looks("a PDF file", CONVERT)),
    (0, b"\x89PNG", looks("an image", CONVERT)),
    (0, b"\xff\xd8\xff", looks("an image", CONVERT)),
    (0, b"\x7fELF", looks("a program", CONVERT)),
    (0, b"\x93NUMPY", looks("a NumPy array", CONVERT)),
    (0, b"\x80\x04\x95", looks("a Python pickle", CONVERT)),
];

/// How a file is packed, by its first bytes.
#[must_use]
pub fn container(head: &[u8]) -> Container {
    match head {
        [0x1f, 0x8b, ..] => Container::Gzip,
        // A frame, or one of those to skip.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Container::Zstd,
        [b'P', b'A', b'R', b'1', ..] => Container::Parquet,
        _ => Container::Plain,
    }
}

/// A line without what is no part of its message: marks of byte order and separators before it,
/// white space and zeros around it.
#[must_use]
pub fn message(line: &[u8]) -> &[u8] {
    let mut at = line;
    while let [first, more @ ..] = at {
        at = match first {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0c | 0 | &RECORD_SEPARATOR => more,
            0xef if at.starts_with(BOM) => &at[BOM.len()..],
            _ => break,
        };
    }
    while let [before @ .., b' ' | b'\t' | b'\r' | b'\n' | 0x0c | 0] = at {
        at = before;
    }
    at
}

/// What unpacked bytes look like, where that is certainly not JSON lines; `whole` where there is
/// nothing behind them.
#[must_use]
pub fn other(head: &[u8], whole: bool) -> Option<Looks> {
    match container(head) {
        Container::Plain => {}
        Container::Parquet => return Some(looks("a packed Parquet file", "unpack it and name it .parquet")),
        Container::Gzip | Container::Zstd => return Some(TWICE),
    }
    let magic = MAGIC.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|h| h.starts_with(magic)));
    magic.map(|m| m.2).or_else(|| wide(head)).or_else(|| shape(head, whole))
}

/// Text of two or four bytes a character.
fn wide(head: &[u8]) -> Option<Looks> {
    match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(UTF32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(UTF16),
        _ => {}
    }
    let some = &head[..head.len().min(4096)];
    let zeros = |odd: usize| some.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // JSON's own signs are ASCII, so that most of every second byte is zero and hardly any of the
    // others.
    let most = |n: usize, others: usize| n * 5 > some.len() && others * 20 < some.len();
    match some {
        [0, first, ..] if *first != 0 && most(even, odd) => Some(UTF16BE),
        [first, 0, ..] if *first != 0 && most(odd, even) => Some(UTF16LE),
        _ => None,
    }
}

fn is_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// What text looks like that is not one object a line.
fn shape(head: &[u8], whole: bool) -> Option<Looks> {
    let end = if whole { head.len() } else { head.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) };
    let lines: Vec<&[u8]> =
        head[..end].split(|b| *b == b'\n').map(message).filter(|l| !l.is_empty()).take(LINES).collect();
    let text = message(head);
    let objects = lines.iter().filter(|l| is_object(l)).count();
    let first = lines.first().copied().unwrap_or(text);
    if first != b"[" && (is_object(first) || (objects > 0 && 2 * objects >= lines.len())) {
        return None;
    }
    match text.first()? {
        b'[' => Some(ARRAY),
        b'<' => Some(MARKUP),
        b'"' if text.starts_with(b"\"{") => Some(DOUBLE),
        b'{' if text.starts_with(b"{'") => Some(PYTHON),
        b'{' => object(text),
        _ => separated(&lines).then_some(TABLE),
    }
}

/// What text that begins with an object looks like.
fn object(text: &[u8]) -> Option<Looks> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let first = values.next()?;
    let end = values.byte_offset();
    match first {
        Ok(_) if text[..end].contains(&b'\n') => Some(PRETTY),
        Ok(_) => match text[end..].after_blanks() {
            [b'{' | RECORD_SEPARATOR, ..] => Some(GLUED),
            [b',', ..] => Some(COMMAS),
            [b'\r', next, ..] if *next != b'\n' => Some(CR_ONLY),
            _ => None,
        },
        // It goes on beyond what was read, and JSON has no line end within a text.
        Err(e) if e.is_eof() && text.contains(&b'\n') => Some(PRETTY),
        Err(_) => None,
    }
}

trait Line {
    fn after_blanks(&self) -> &[u8];
}

impl Line for [u8] {
    fn after_blanks(&self) -> &[u8] {
        &self[self.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(self.len())..]
    }
}

/// Whether all lines have the same separator equally often.
fn separated(lines: &[&[u8]]) -> bool {
    let [first, _, ..] = lines else { return false };
    b",;\t|".iter().any(|separator| {
        let count = |line: &[u8]| line.iter().filter(|b| *b == separator).count();
        let columns = count(first);
        columns >= 2 && !first.contains(&b'{') && lines.iter().all(|l| count(l) == columns)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = r#"{"request_id":"a","params":{}}"#;
    const B: &str = r#"{"request_id":"b\ud83d","n":1e400}"#;

    fn of(text: &[u8]) -> Option<&'static str> {
        let whole = other(text, true).map(|l| l.what);
        let mut longer = text.to_vec();
        longer.extend(text.iter().cycle().take(4 * text.len()));
        if !text.is_empty() && !text.starts_with(b"[\n") {
            assert_eq!(other(&longer, false).is_some(), whole.is_some(), "cut anywhere it looks the same");
        }
        whole
    }

    #[test]
    fn lines_of_objects_are_what_they_are() {
        let mut good = vec![
            String::new(),
            "\n \n".to_owned(),
            format!("{A}\n"),
            format!("{A}\n{B}\n"),
            format!("\u{feff}{A}\r\n\u{feff}{B}\r\n"),
            format!("\x1e{A}\n\x1e{B}\n"),
            format!("{A}\n{B}\n\0\0\0\0"),
            format!("\0\0\0\0{A}\n{B}\n"),
            format!("cut in the middle\"}}\n{A}\n{B}\n"),
            "no JSON at all\nnor this\n".to_owned(),
            format!("{A}\nnot this\nnor this\n"),
        ];
        for text in &mut good {
            assert_eq!(of(text.as_bytes()), None, "{text:?}");
        }
        let latin: Vec<u8> = b"{\"request_id\":\"a\",\"prompt\":{\"text\":\"r\xeanard\"}}\n".to_vec();
        assert_eq!(of(&latin), None);
    }

    #[test]
    fn what_is_not_lines_of_objects_is_named() {
        let wide = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let text = format!("{A}\n{B}\n");
            mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
        };
        for mark in [&b"\xff\xfe"[..], b""] {
            assert_eq!(of(&wide(mark, u16::to_le_bytes)), Some("UTF-16 text"));
        }
        for mark in [&b"\xfe\xff"[..], b""] {
            assert_eq!(of(&wide(mark, u16::to_be_bytes)), Some("UTF-16 text"));
        }
        let bad = [
            (format!("[{A},\n{B}]"), ARRAY),
            (format!("[\n{A}\n,\n{B}\n]"), ARRAY),
            (format!("[{A},{B}]"), ARRAY),
            ("{\n \"request_id\": \"a\",\n \"params\": {}\n}\n".to_owned(), PRETTY),
            (format!("{A}{B}{A}"), GLUED),
            (format!("{A} {B}\n{A} {B}\n"), GLUED),
            (format!("{A}\r{B}\r"), CR_ONLY),
            (format!("{A},\n{B},\n"), COMMAS),
            (format!("{:?}\n{:?}\n", A, B), DOUBLE),
            ("{'request_id': 'a'}\n{'request_id': 'b'}\n".to_owned(), PYTHON),
            ("<html><body>Not found</body></html>\n".to_owned(), MARKUP),
            ("request_id,timestamp,stage\na,2026-01-01,x\nb,2026-01-02,y\n".to_owned(), TABLE),
        ];
        for (text, looks) in bad {
            assert_eq!(of(text.as_bytes()), Some(looks.what), "{text}");
        }
        for (at, magic, looks) in MAGIC {
            let bytes = [vec![b'x'; at], magic.to_vec(), b"more".to_vec()].concat();
            assert_eq!(other(&bytes, true), Some(looks));
        }
        assert_eq!(other(b"\x1f\x8b\x08", true), Some(TWICE));
    }
}
