//! What is kept: tables in Parquet, commits, checkpoints.

pub mod archive_writer;
pub mod chain;
mod conform;
pub mod event_rows;
mod local;
mod pane_table;
pub mod panes;
pub mod rows;
pub(crate) mod sound;
mod storage;
pub mod tables;
pub mod vectors;

pub use conform::{check_types, conform};
pub use local::file_path;
pub use storage::{Created, Patience, Storage, StorageError};
