//! Panes by event time, per partition: watermarks, lateness, closing. Pure: no clock, no I/O, no thread.

mod clock;
mod events;
mod filling;
pub mod packed;
mod pane;
mod partition;
mod watermark;

pub use clock::Reach;
pub use events::{Definition, Definitions, Events};
pub use filling::{EncodedSum, Pane, SegmentSum};
pub use packed::{Packed, PackedError};
pub use pane::{Filler, PaneRow, Segment, SketchSet, empty};
pub use partition::{Counters, Origins, Partition, PartitionState, Times};
pub use watermark::{MEDIAN_OF, Watermark, WatermarkState};

#[cfg(test)]
mod filling_tests;
