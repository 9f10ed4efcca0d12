//! driftglass watches the event stream of a text-to-image service. It reports, per segment and
//! within minutes, that prompts, images, quality or speed have drifted: since when, because of
//! what, and how sure it is.
//!
//! Most people use the binary: the README shows how to start, `docs/guide.md` has every key, table
//! and command, and `ARCHITECTURE.md` explains how the parts fit and why the results are exact.
//! This page is for those who read the code or build on its parts.
//!
//! # Concepts
//!
//! | Term | Meaning |
//! |---|---|
//! | event | one JSON object per stage of a request: when, what was asked for, what came of it, how long it took ([`event`]) |
//! | segment | the events that share values of some fields: `tenant=birch`, or all traffic ([`config::segments`]) |
//! | feature | what is read from events and watched: prompt tokens, latency, an aesthetic score ([`config::features`]) |
//! | session | the requests of one visit. People re-roll one prompt many times, so certainty is counted in sessions, not in requests |
//! | sketch | a small summary of a feature over a stretch of time. Sketches merge in any order to the same bytes ([`sketch`]) |
//! | pane | the sketches of a minute of one partition of the input ([`window`]) |
//! | watermark | the event time up to which a partition is taken to be complete; it closes panes ([`window`]) |
//! | window | a stretch of event time that slides (30 minutes, 6 hours, 24 hours), merged from panes |
//! | baseline | what a window is compared with: the 7 or 28 days before it, or a pinned range ([`baseline`]) |
//! | verdict | `drift`, `ok` or `insufficient_data`: the result of a comparison ([`drift`]) |
//! | alert | what a rule makes of verdicts over time: pending, firing, resolved, stale ([`alert`]) |
//! | incident | the alerts that one cause raises ([`incident`]) |
//!
//! # How the modules fit
//!
//! An event passes through them in this order:
//!
//! 1. [`source`] reads Kafka, JSON lines or Parquet archives; [`event`] decodes each message.
//! 2. [`enrich`] turns prompts into tokens and ids into keyed hashes. No prompt text goes further.
//!    [`embed`] makes vectors of images, where they are watched.
//! 3. [`window`] adds events to panes and closes them. This is *ingest*: its state is a function of
//!    one partition's records, so it is the same live, in a replay and after a crash.
//! 4. [`engine`] merges closed panes into windows, compares them with baselines ([`baseline`]) by
//!    the statistics of [`drift`], and passes the results to [`alert`]. This is *evaluation*.
//! 5. [`store`] commits both stages exactly once, to a folder or a bucket. [`query`] reads the
//!    tables with SQL, [`serve`] exposes metrics and health.
//!
//! [`config`] is the one file that sets all this up, [`generate`] makes traffic with known
//! incidents, and [`cli`] holds the commands. The pure modules, which know no file, network or
//! clock, are [`event`], [`sketch`], [`drift`], [`window`], [`baseline`] and, but for reading its
//! file, [`config`].
//!
//! # Example
//!
//! A window of aesthetic scores is compared with a baseline, as the engine does it for every
//! segment:
//!
//! ```
//! use driftglass::config;
//! use driftglass::drift::{Dimensions, PreparedScalar, alpha};
//! use driftglass::sketch::{NumericSketch, SESSION_BUCKETS, fixed, session_bucket};
//! use std::time::Duration;
//!
//! /// The scores of some sessions, each of which sends its prompt three times.
//! fn scores(sessions: std::ops::Range<u64>, mean: f64) -> NumericSketch {
//!     let mut sketch = NumericSketch::default();
//!     for session in sessions {
//!         // A job hashes the session's id with its secret key.
//!         let hash = session.wrapping_mul(0x9e37_79b9_7f4a_7c15);
//!         let taste = (session % 10) as f64 / 10.0 - 0.45;
//!         for reroll in 0..3 {
//!             let score = mean + taste + 0.05 * f64::from(reroll);
//!             // As it came, as the mean takes it (clipped), and on the test's scale: here equal.
//!             sketch.add(score, score, score, session_bucket(hash), hash, false);
//!         }
//!     }
//!     sketch
//! }
//!
//! /// Sums and counts by session bucket: all that the test needs of either side.
//! fn by_bucket(sketch: &NumericSketch) -> ([f64; SESSION_BUCKETS], [f64; SESSION_BUCKETS]) {
//!     let (mut sums, mut counts) = ([0.0; SESSION_BUCKETS], [0.0; SESSION_BUCKETS]);
//!     for (bucket, n, sum) in sketch.events().iter() {
//!         sums[usize::from(bucket)] = fixed::to_float(sum);
//!         counts[usize::from(bucket)] = n as f64;
//!     }
//!     (sums, counts)
//! }
//!
//! // Sketches of two stretches of time merge into the sketch of both.
//! let mut baseline = scores(0..500, 5.8);
//! baseline.merge(&scores(500..1_000, 5.8));
//! assert_eq!(baseline, scores(0..1_000, 5.8));
//!
//! let (sums, counts) = by_bucket(&baseline);
//! let test = PreparedScalar::new(&sums, &counts, baseline.test_sq());
//! let p_value = |window: &NumericSketch| {
//!     let (sums, counts) = by_bucket(window);
//!     test.score(&sums, &counts, 0.0).p_value()
//! };
//!
//! // How small must a p-value be? That follows from the false alarms that the operator accepts.
//! let config = config::parse("[alerts]\nfalse_alarms_per_quarter = 2.0", "job.toml", |_| None)?;
//! let budget = config.alerts.false_alarms_per_quarter;
//! let alpha = alpha(budget, Dimensions::AtMostOne, 100, Duration::from_secs(24 * 3600), 3);
//!
//! let same = p_value(&scores(1_000..1_200, 5.8)).expect("200 sessions are enough");
//! let worse = p_value(&scores(1_000..1_200, 5.2)).expect("200 sessions are enough");
//! assert!(same > alpha && worse < alpha);
//!
//! // Five sessions can't be judged, whatever they send.
//! assert_eq!(p_value(&scores(1_200..1_205, 1.0)), None);
//! # Ok::<(), config::ConfigError>(())
//! ```

pub mod alert;
pub mod cli;
pub mod embed;
pub mod engine;
pub mod generate;
pub mod incident;
pub mod query;
pub mod serve;
pub mod source;
pub mod stdout;
pub mod steps;
pub mod store;

pub use driftglass_core::{baseline, config, drift, enrich, event, sketch, window};
