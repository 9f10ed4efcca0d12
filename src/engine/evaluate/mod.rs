//! The second stage: committed panes of all partitions to hours, days, windows and alerts, in the
//! order of event time. There is one per job: the process that owns the topic's first partition
//! runs it.
//!
//! In the order of a pane's way: [`thread`] receives what partitions commit, [`commits`] does the
//! I/O of the role, [`evaluator`] merges by tick, [`judge`] compares with baselines, [`tick_rows`]
//! evaluates the rules.

pub mod commits;
pub mod drifting;
pub mod evaluator;
pub mod history;
pub mod judge;
pub mod merging;
pub mod pending;
pub mod rolling;
pub mod segment_users;
pub mod settings;
pub mod thread;
pub mod tick_rows;
pub mod types;
pub mod verdict_counts;
