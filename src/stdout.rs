//! Standard output, whose reader may have read enough: after `driftglass … | head -1` nothing is wrong.
//!
//! Commands write through [`stdout`]. Once the reader has gone every write fails, so that a command ends early; whoever turns
//! its error into an exit code asks [`reader_is_gone`] and ends quietly.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static GONE: AtomicBool = AtomicBool::new(false);

/// Standard output that remembers whether its reader has gone.
#[derive(Debug, Clone, Copy)]
pub struct Stdout(());

/// Standard output.
#[must_use]
pub fn stdout() -> Stdout {
    Stdout(())
}

/// Whether a write has failed since nobody reads standard output any more.
#[must_use]
pub fn reader_is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}

fn noted<T>(done: io::Result<T>) -> io::Result<T> {
    if let Err(e) = &done
        && e.kind() == ErrorKind::BrokenPipe
    {
        GONE.store(true, Ordering::Relaxed);
    }
    done
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        noted(io::stdout().lock().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        noted(io::stdout().lock().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        noted(io::stdout().lock().flush())
    }
}
