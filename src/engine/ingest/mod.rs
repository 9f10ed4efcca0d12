//! The first stage: records of a partition to committed panes. It runs wherever the source puts a
//! partition, and what it commits is a function of that partition's records in offset order.
//!
//! On the way of a message: [`polling`] asks the source, [`decoding`] makes batches of its chunks,
//! [`worker`] hands these to the [`partition_writer`] in the order of offsets.

pub mod archive;
pub mod claims;
pub mod commits;
pub mod decoding;
pub mod driver;
pub mod images;
pub mod partition_writer;
pub mod polling;
pub mod queues;
pub mod sampling;
pub mod worker;
