//! The outcome of an exclusive create, on a folder or a bucket.

/// The outcome of creating a file that must not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// This call created the file.
    Created,
    /// Another writer's file was there already.
    Exists,
}
