//! The statistics of drift: pure functions from counts and sums to distances, p-values and alarm
//! levels.
//!
//! Nothing here reads a clock, a file or a setting, and nothing knows what a sketch is: callers
//! pass plain slices. Results agree with scipy and numpy to 1e-9 relative on the same counts; the
//! reference values and the script that computes them are in `fixtures/statistics/`.
//!
//! | File | Answers |
//! |---|---|
//! | [`mod@distances`] | how far a window is from its baseline: PSI, KL, JS, Wasserstein, distances of centroids |
//! | [`bins`] | into which bins numbers and tokens are counted before that |
//! | [`session_test`] | could chance explain it, when requests of one session are alike: the test that decides |
//! | [`looks`] | which p-value may page, given a budget of false pages and the number of looks taken |
//! | `tails` | the upper tails of F, exact far below 1e-30 |

pub mod bins;
pub mod distances;
pub mod looks;
mod score;
pub mod session_test;
mod tails;

#[cfg(test)]
mod fixture;

pub use bins::{Edge, TokenBins, bin_counts, bin_label, bin_of, decile_edges, token_bins};
pub use distances::{Distances, centroid_cosine, centroid_l2, distances, terms, wasserstein};
pub use looks::{Dimensions, alpha, tolerance_level};
pub use score::{Contributor, Effect, Scores, Side, TOP_CONTRIBUTORS, Verdict};
pub use session_test::{
    BUCKETS, Estimate, Judgement, PreparedScalar, PreparedVector, Reason, Sums, VectorKind, category_scales,
    least_p, token_scales,
};
