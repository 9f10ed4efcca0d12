//! Where alerts go: the trait, JSON lines, and which sinks a configuration asks for. [`super::Webhook`] stands beside it.

use super::row::AlertRow;
use super::webhook::Webhook;
use crate::config::Alerts;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use thiserror::Error;

/// Why a delivery failed. Never holds credentials: a URL is named by its scheme and host alone.
#[derive(Debug, Error)]
pub enum SinkError {
    /// A later attempt may do.
    #[error("{sink}: {message}")]
    Retry {
        /// The sink's name.
        sink: String,
        /// Why.
        message: String,
    },
    /// The receiver will not have this, now or later.
    #[error("{sink}: {message}")]
    Refused {
        /// The sink's name.
        sink: String,
        /// Why, in a word that counters are kept by.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// What the configuration names can't be a sink.
    #[error("alerts.{key}: {message}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// A receiver of alerts. One call is one attempt; [`super::Outbox`] repeats it.
pub trait Sink: Send {
    /// Its name for people, without credentials.
    fn name(&self) -> String;

    /// Whether it also takes alerts that have not fired (yet); asked once, at the start.
    fn wants_pending(&self) -> bool {
        false
    }

    /// Hands rows over, in order, once or (after an error) more than once: a receiver tells repeats by `id`, `state` and `at`.
    ///
    /// # Errors
    /// [`SinkError::Retry`] where a later attempt may do, else [`SinkError::Refused`].
    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError>;
}

/// JSON lines, one alert a line, at the end of a file or on standard output.
#[derive(Debug)]
pub struct JsonLines {
    /// `None` is standard output.
    path: Option<PathBuf>,
}

impl JsonLines {
    /// Lines to a file, which is made where there is none; `-` is standard output.
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
        // Opened each time, so that a file which was moved away is followed by a new one.
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        if !ends_a_line(&mut file)? {
            // A crash cut the last line short; without this the next alert would be lost in it.
            file.write_all(b"\n")?;
        }
        file.write_all(text)?;
        file.sync_data()
    }
}

/// Whether a file is empty or ends with a line's end. What isn't a plain file (a pipe, a terminal) can't be looked at.
fn ends_a_line(file: &mut std::fs::File) -> io::Result<bool> {
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

/// The sinks that a configuration asks for.
///
/// # Errors
/// [`SinkError::Config`] when the webhook is no URL that can be posted to.
pub fn from_config(alerts: &Alerts) -> Result<Vec<Box<dyn Sink>>, SinkError> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(path) = &alerts.jsonl {
        sinks.push(Box::new(JsonLines::new(path)));
    }
    if let Some(url) = &alerts.webhook {
        sinks.push(Box::new(Webhook::new(url)?));
    }
    Ok(sinks)
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
    fn lines_are_appended_in_order_and_a_torn_one_swallows_nothing() {
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
    fn a_path_that_can_t_be_written_may_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = JsonLines::new(dir.path().join("none/alerts.jsonl").to_str().unwrap());
        assert!(matches!(sink.deliver(&[alert("tenant=a")]), Err(SinkError::Retry { .. })));
    }

    #[test]
    fn a_configuration_names_its_sinks() {
        let alerts = Alerts {
            jsonl: Some("-".into()),
            webhook: Some("https://u:secret@hooks.example.org/T0/token".into()),
            ..Alerts::default()
        };
        let names: Vec<String> = from_config(&alerts).unwrap().iter().map(|s| s.name()).collect();
        assert_eq!(names, ["standard output", "webhook https://hooks.example.org"]);
        assert!(from_config(&Alerts::default()).unwrap().is_empty());
    }
}
