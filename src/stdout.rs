//! Standard output that remembers a closed pipe: `driftglass … | head -1` is not an error.
//!
//! Commands write through [`stdout`]. Once the reader has closed the pipe, every write fails, so
//! the command ends early. The exit code then depends on [`is_closed`].

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Standard output that remembers whether its reader has closed it.
#[derive(Debug, Clone, Copy)]
pub struct Stdout(());

/// Standard output.
#[must_use]
pub fn stdout() -> Stdout {
    Stdout(())
}

/// Whether a write has failed because the reader closed standard output.
#[must_use]
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

fn check_closed<T>(done: io::Result<T>) -> io::Result<T> {
    if let Err(e) = &done
        && e.kind() == ErrorKind::BrokenPipe
    {
        CLOSED.store(true, Ordering::Relaxed);
    }
    done
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check_closed(io::stdout().lock().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        check_closed(io::stdout().lock().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        check_closed(io::stdout().lock().flush())
    }
}
