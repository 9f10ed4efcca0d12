//! What is kept: tables in Parquet, commits, checkpoints.

pub mod archive_writer;
pub mod chain;
pub mod exclusions;
mod local;
mod pane_table;
pub mod panes;
pub mod rejects;
pub mod rows;
pub(crate) mod sound;
mod storage;
pub mod tables;
pub mod vectors;

pub use local::file_path;
pub use storage::{Created, Patience, Storage, StorageError};
