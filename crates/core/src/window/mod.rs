//! Panes by event time, per partition: watermarks, lateness, closing. Pure: no clock, I/O or
//! thread.

mod clock;
mod events;
mod filler;
pub mod packed;
mod pane;
mod partition;
mod segment_sum;
mod sketch_set;
mod watermark;

pub use clock::Reach;
pub use events::{Definition, Definitions, Events};
pub use filler::Filler;
pub use packed::{Packed, PackedError};
pub use pane::{PaneRow, Segment};
pub use partition::{CONFIRMING_RECORDS, Counters, Origins, Partition, PartitionState, Times};
pub use segment_sum::{EncodedSum, Pane, SegmentSum};
pub use sketch_set::{SketchSet, empty};
pub use watermark::{MEDIAN_OF, Watermark, WatermarkState};

#[cfg(test)]
mod segment_sum_tests;
