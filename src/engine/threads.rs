//! Threads of a job: started under a name, with a flag that is set when they fail.

use super::error::EngineError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

/// A thread under a name, by which `top -H` and profilers show it.
pub fn spawn_named<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, EngineError> {
    std::thread::Builder::new().name(name).spawn_scoped(scope, run).map_err(EngineError::NoThread)
}

/// Raises a flag when it is dropped, also by a panic, unless the work succeeded.
pub struct FailureFlag<'a> {
    /// The flag.
    pub failed: &'a AtomicBool,
    /// Whether the work ended without an error.
    pub succeeded: bool,
}

impl Drop for FailureFlag<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}
