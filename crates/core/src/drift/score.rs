//! What a comparison says: the two sides, the statistics, the verdict, the contributors.

/// The outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No drift that the alarm budget allows to call so.
    Ok,
    /// Significant within the budget, and larger than the tolerance.
    Drift,
    /// Too little data in the window or the baseline.
    InsufficientData,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Drift, Self::InsufficientData];

    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::InsufficientData => "insufficient_data",
        }
    }
}

/// Contributors kept.
pub const TOP_CONTRIBUTORS: usize = 10;

/// One thing that contributes to a drift.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributor {
    /// A token's text, a category, a range of numbers.
    pub key: String,
    /// Its share in the window.
    pub share: f64,
    /// Its share in the baseline.
    pub baseline_share: f64,
    /// Its term of PSI, with the sign of its change.
    pub contribution: f64,
}

/// What is known of one side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Side {
    /// Events that carried the feature.
    pub n: u64,
    /// Distinct sessions.
    pub sessions: u64,
    /// Mean or rate.
    pub value: Option<f64>,
    /// Median, 95th and 99th percentile of a number.
    pub quantiles: Option<[f64; 3]>,
}

/// A change of a mean or a share, in the feature's unit; `None` where there is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// The window's value less the baseline's, as the test sees them: clipped, within strata,
    /// sessions of any size counting as much as their events up to a limit.
    pub value: Option<f64>,
    /// Lower end of the interval that covers the true change with probability 0.95.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The least change upwards that would have been a drift in this window.
    pub detectable: Option<f64>,
}

/// The statistics of a comparison; `None` where one does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// Population stability index.
    pub psi: Option<f64>,
    /// The part of it that the sample sizes do not explain.
    pub psi_excess: Option<f64>,
    /// Kullback–Leibler divergence of the window from the baseline.
    pub kl: Option<f64>,
    /// Jensen–Shannon divergence.
    pub js: Option<f64>,
    /// Wasserstein distance in standard deviations of the baseline.
    pub wasserstein: Option<f64>,
    /// Cosine distance of the centroids.
    pub centroid_cosine: Option<f64>,
    /// Euclidean distance of the centroids.
    pub centroid_l2: Option<f64>,
    /// Probability of so large a difference without drift.
    pub p_value: Option<f64>,
    /// How far the value is from the baseline's, in the feature's unit, and how sure that is.
    pub effect: Effect,
}
