//! Alerts as JSON lines.

use super::error::SinkError;
use super::row::AlertRow;
use super::sink::Sink;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Appends alerts as JSON, one per line, to a file or to standard output.
#[derive(Debug)]
pub struct JsonLines {
    /// `None` is standard output.
    path: Option<PathBuf>,
}

impl JsonLines {
    /// Lines go to this file, which is created where it is missing; `-` is standard output.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self { path: (path != "-").then(|| path.into()) }
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            return out.flush();
        };
        // Opened each time: after a log rotation moved the file, the next line starts a new one.
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        if !ends_with_line_break(&mut file)? {
            // A crash cut the last line short; without this the next alert would become part of it.
            file.write_all(b"\n")?;
        }
        file.write_all(text)?;
        file.sync_data()
    }
}

/// Whether a file is empty or ends with a line break. A pipe or a terminal can't be read back and
/// counts as ended.
fn ends_with_line_break(file: &mut std::fs::File) -> io::Result<bool> {
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Sink for JsonLines {
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard output".to_owned(), |p| p.display().to_string())
    }

    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError> {
        let text: String = rows.iter().map(|r| format!("{}\n", r.json())).collect();
        self.write(text.as_bytes())
            .map_err(|e| SinkError::Retry { sink: self.name(), message: format!("can't append: {e}") })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::AlertState;
    use super::super::samples::{T, info, row};
    use super::*;

    fn alert(segment: &str) -> AlertRow {
        AlertRow::new(&info("r", 0, 0), AlertState::Firing, &row(segment, "nsfw", T), T, T)
    }

    fn lines(path: &std::path::Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_appended_in_order_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        let mut sink = JsonLines::new(path.to_str().unwrap());
        sink.deliver(&[alert("tenant=a"), alert("tenant=b")]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"torn").unwrap();
        sink.deliver(&[alert("tenant=c")]).unwrap();
        let lines = lines(&path);
        let segments: Vec<Option<String>> = lines
            .iter()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l)
                    .ok()
                    .map(|v| v["segment"].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(
            segments,
            [Some("tenant=a".into()), Some("tenant=b".into()), None, Some("tenant=c".into())]
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("a.jsonl"), dir.path().join("a.jsonl.1"));
        let mut sink = JsonLines::new(path.to_str().unwrap());
        sink.deliver(&[alert("tenant=a")]).unwrap();
        std::fs::rename(&path, &old).unwrap();
        sink.deliver(&[alert("tenant=b")]).unwrap();
        assert_eq!((lines(&path).len(), lines(&old).len()), (1, 1));
    }

    #[test]
    fn a_path_that_can_not_be_written_may_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = JsonLines::new(dir.path().join("none/alerts.jsonl").to_str().unwrap());
        assert!(matches!(sink.deliver(&[alert("tenant=a")]), Err(SinkError::Retry { .. })));
    }
}
