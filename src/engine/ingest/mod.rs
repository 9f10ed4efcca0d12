//! The first stage: records of a partition to committed panes. It runs in the process to which a
//! partition is assigned, and what it commits is a function of that partition's records in offset
//! order.
//!
//! In the order of a message's way: [`polling`] polls the source, [`decoding`] makes batches of its
//! chunks, [`worker`] passes these to the [`partition_writer`] in the order of offsets.

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
