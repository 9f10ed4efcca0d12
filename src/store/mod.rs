//! What is kept: tables in Parquet, commits, checkpoints.

pub mod archive_writer;
pub mod chain;
pub mod panes;
pub mod rows;
mod storage;
pub mod tables;
pub(crate) mod thrift;
pub mod vectors;

pub use storage::{Created, Patience, Storage, StorageError};
