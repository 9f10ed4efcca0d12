//! The second stage: committed panes of all partitions to hours, days, windows and alerts, in the
//! order of event time. There is one of it: the process that owns the topic's first partition runs
//! it.
//!
//! On the way of a pane: [`thread`] receives what partitions commit, [`commits`] does the I/O of
//! the role, [`evaluator`] merges by tick, [`judge`] compares with baselines, [`tick_rows`] asks
//! the rules.

pub mod commits;
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
