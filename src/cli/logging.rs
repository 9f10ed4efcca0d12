//! Logs go to standard error: warnings by default, in colour on a terminal unless NO_COLOR is set.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; `RUST_LOG` overrides the level.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "warn,driftglass=info",
        _ => "info,driftglass=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        // A message built at run time may quote an event, whose text must not appear in logs.
        let message = panic.payload_as_str().filter(|_| panic.payload().is::<&'static str>());
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            "panic{place}: {}",
            message.unwrap_or("message withheld, since it may quote an event")
        );
    }));
}
