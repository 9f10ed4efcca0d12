//! Recognises the format of a file by its first bytes: its compression, JSON lines, or something
//! else.
//!
//! Refuses only what is certainly wrong. Single lines that are not events become counted rejects.

use serde::de::IgnoredAny;

/// Number of first bytes that are checked.
pub const HEAD: usize = 64 << 10;
/// Number of lines that are checked.
const LINES: usize = 50;
/// UTF-8 byte order mark, which some tools write before the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Separator before each JSON text in RFC 7464.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The container format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// None, as far as the first bytes show.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// Parquet.
    Parquet,
}

/// Content that can't be read, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignContent {
    /// As in "FILE looks like …".
    pub what: &'static str,
    /// What to do, with a command where one does it.
    pub todo: &'static str,
}

const fn foreign(what: &'static str, todo: &'static str) -> ForeignContent {
    ForeignContent { what, todo }
}

const UNPACK: &str = "unpack it, or use gzip or zstd instead";
const CONVERT: &str = "convert it to JSON lines, one event per line";
const UTF16: ForeignContent =
    foreign("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16 -t UTF-8");
const UTF16LE: ForeignContent =
    foreign("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16LE -t UTF-8");
const UTF16BE: ForeignContent =
    foreign("UTF-16 text", "turn it into UTF-8, for example with: iconv -f UTF-16BE -t UTF-8");
const UTF32: ForeignContent =
    foreign("UTF-32 text", "turn it into UTF-8, for example with: iconv -f UTF-32 -t UTF-8");
const TWICE: ForeignContent = foreign("a file that is compressed twice", "decompress it once");
const ARRAY: ForeignContent =
    foreign("one JSON array", "turn its elements into lines, for example with: jq -c '.[]'");
const PRETTY: ForeignContent =
    foreign("JSON over several lines", "put each event on its own line, for example with: jq -c .");
const GLUED: ForeignContent = foreign(
    "JSON objects without line ends between them",
    "put each event on its own line, for example with: jq -c .",
);
const CR_ONLY: ForeignContent = foreign(
    "lines that end in a carriage return alone",
    "give them line feeds, for example with: tr '\\r' '\\n'",
);
const COMMAS: ForeignContent = foreign(
    "JSON objects with commas between them",
    "remove the commas at the line ends, for example with: sed 's/,[[:space:]]*$//'",
);
const DOUBLE: ForeignContent =
    foreign("JSON strings that hold JSON", "unwrap each line, for example with: jq -c fromjson");
const PYTHON: ForeignContent =
    foreign("printed Python dictionaries", "write JSON instead, for example with json.dumps");
const MARKUP: ForeignContent = foreign("HTML or XML", "if it was downloaded, check the server's answer");
const TABLE: ForeignContent = foreign("a table of separated values (CSV)", CONVERT);

/// Magic bytes of other formats: their position, the bytes, the format.
const MAGIC: [(usize, &[u8], ForeignContent); 20] = [
    (0, b"PK\x03\x04", foreign("a zip archive", UNPACK)),
    (0, b"PK\x05\x06", foreign("a zip archive", UNPACK)),
    (257, b"ustar", foreign("a tar archive", "unpack it and name the files in it")),
    (0, b"BZh", foreign("a bzip2 file", UNPACK)),
    (0, b"\xfd7zXZ\0", foreign("an xz file", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", foreign("a 7z archive", UNPACK)),
    (0, b"\x04\x22\x4d\x18", foreign("an lz4 file", UNPACK)),
    (0, b"\xff\x06\0\0sNaPpY", foreign("a snappy file", UNPACK)),
    (0, b"\x1f\x9d", foreign("a file of Unix compress", UNPACK)),
    (0, b"SQLite format 3\0", foreign("an SQLite database", CONVERT)),
    (0, b"Obj\x01", foreign("an Avro file", CONVERT)),
    (0, b"ORC", foreign("an ORC file", CONVERT)),
    (0, b"ARROW1", foreign("an Arrow file", CONVERT)),
    (0, b"\xff\xff\xff\xff", foreign("an Arrow stream", CONVERT)),
    (0, b"%PDF", foreign("a PDF file", CONVERT)),
    (0, b"\x89PNG", foreign("an image", CONVERT)),
    (0, b"\xff\xd8\xff", foreign("an image", CONVERT)),
    (0, b"\x7fELF", foreign("a program", CONVERT)),
    (0, b"\x93NUMPY", foreign("a NumPy array", CONVERT)),
    (0, b"\x80\x04\x95", foreign("a Python pickle", CONVERT)),
];

/// The container format, by the first bytes.
#[must_use]
pub fn container(head: &[u8]) -> Container {
    match head {
        [0x1f, 0x8b, ..] => Container::Gzip,
        // A frame, or a skippable frame.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Container::Zstd,
        [b'P', b'A', b'R', b'1', ..] => Container::Parquet,
        _ => Container::Plain,
    }
}

/// The message of a line, without byte order marks and separators before it, and without white
/// space and zeros around it.
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

/// Recognises decompressed content that is certainly not JSON lines. `whole`: nothing follows
/// `head`.
#[must_use]
pub fn other(head: &[u8], whole: bool) -> Option<ForeignContent> {
    match container(head) {
        Container::Plain => {}
        Container::Parquet => {
            return Some(foreign("a compressed Parquet file", "decompress it and name it .parquet"));
        }
        Container::Gzip | Container::Zstd => return Some(TWICE),
    }
    let magic = MAGIC.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|h| h.starts_with(magic)));
    magic.map(|m| m.2).or_else(|| wide(head)).or_else(|| shape(head, whole))
}

/// Text with two or four bytes per character.
fn wide(head: &[u8]) -> Option<ForeignContent> {
    match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(UTF32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(UTF16),
        _ => {}
    }
    let some = &head[..head.len().min(4096)];
    let zeros = |odd: usize| some.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // JSON's punctuation is ASCII, so most bytes at every second position are zero, and hardly any
    // at the others.
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

/// Recognises text that is not one object per line.
fn shape(head: &[u8], whole: bool) -> Option<ForeignContent> {
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

/// Recognises text that starts with an object but is not one object per line.
fn object(text: &[u8]) -> Option<ForeignContent> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let first = values.next()?;
    let end = values.byte_offset();
    match first {
        Ok(_) if text[..end].contains(&b'\n') => Some(PRETTY),
        Ok(_) => match after_blanks(&text[end..]) {
            [b'{' | RECORD_SEPARATOR, ..] => Some(GLUED),
            [b',', ..] => Some(COMMAS),
            [b'\r', next, ..] if *next != b'\n' => Some(CR_ONLY),
            _ => None,
        },
        // It continues beyond the first bytes, and has a line end inside the object.
        Err(e) if e.is_eof() && text.contains(&b'\n') => Some(PRETTY),
        Err(_) => None,
    }
}

fn after_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(text.len())..]
}

/// Whether all lines have the same number of the same separator.
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
