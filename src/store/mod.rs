//! Storage: tables in Parquet, commits and checkpoints, in a folder or a bucket.

pub mod archive_writer;
pub mod chain;
mod conform;
mod create_outcome;
mod epoch;
mod error;
pub mod event_rows;
pub mod exclusions;
mod local;
mod pane_schema;
mod pane_table;
pub mod panes;
pub(crate) mod parquet_check;
mod parquet_file;
pub mod rejects;
pub mod rows;
mod storage;
mod table_names;
pub mod tables;
pub mod vectors;

pub use conform::{check_types, conform};
pub use create_outcome::CreateOutcome;
pub use error::StorageError;
pub use local::file_path;
pub use storage::{Patience, Storage};
