//! A baseline made ready to judge many windows: what of its sketch scoring needs, and nothing else.

use super::about::BaselineInfo;
use super::categories::{CategoryBins, SharedBins};
use super::centroid::PreparedCentroid;
use super::effect::Change;
use super::missing::PreparedMissing;
use super::tail::PreparedTail;
use crate::config::features::{Feature, FeatureKind, Test};
use crate::drift::{
    Contributor, Distances, Edge, Estimate, Judgement, PreparedScalar, PreparedVector, Reason, Scores, Side,
    Sums, TOP_CONTRIBUTORS, TokenBins, VectorKind, bin_counts, bin_label, bin_of, category_scales,
    decile_edges, distances, least_p, terms, token_bins, token_scales, wasserstein,
};
use crate::sketch::{
    Body, BucketSums, CategorySketch, NumericSketch, SESSION_BUCKETS, Sketch, SketchId, TOKEN_BINS,
    TokenCount, TokenSketch, UnlikeSketches, fixed,
};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::Arc;

/// Events that a stratum of a baseline needs before its mean is taken off.
const MIN_STRATUM: u64 = 20;

/// The same feature's sketches within each value of its stratifying dimension.
pub type Strata<'a> = [(Arc<str>, &'a Sketch)];

/// A prepared baseline.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it is.
    pub about: BaselineInfo,
    /// Its numbers.
    pub side: Side,
    id: SketchId,
    body: PreparedBody,
}

#[derive(Debug, Clone)]
enum PreparedBody {
    Tokens {
        bins: TokenBins,
        counts: Vec<u64>,
        tokens: FxHashMap<u32, TokenCount>,
        total: u64,
        scales: Vec<f64>,
        test: PreparedVector,
    },
    Category {
        bins: CategoryBins,
        counts: Vec<u64>,
        /// Those of the test, where an event may carry several values.
        shared: Option<SharedBins>,
        scales: Vec<f64>,
        test: PreparedVector,
    },
    Numeric {
        values: Vec<(f64, u64)>,
        edges: Vec<Edge>,
        counts: Vec<u64>,
        sd: f64,
        test: NumericTest,
    },
    Rate {
        mean: f64,
        test: PreparedScalar,
    },
    Vector(PreparedCentroid),
    Missing(PreparedMissing),
    Tail(PreparedTail),
}

#[derive(Debug, Clone)]
enum NumericTest {
    Shape(PreparedVector),
    Mean { test: PreparedScalar, mean: f64, strata: FxHashMap<Arc<str>, f64> },
}

/// A window compared with a baseline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// The statistics.
    pub scores: Scores,
    /// Why there is no p-value, if so.
    pub lacking: Option<Reason>,
    /// The least p-value that the window could have, whatever it holds; 0 where there is no such limit.
    pub least_p: f64,
    /// The p-value of the part of the effect beyond what is tolerated; as `p_value` where nothing is.
    pub material_p: Option<f64>,
    /// The window's value, where only the baseline says what it is: the share of a tail.
    pub value: Option<f64>,
    /// How far its value is from the baseline's, where it has one.
    pub change: Option<Change>,
}

impl Prepared {
    /// Prepares a baseline's sketch.
    #[must_use]
    pub fn new(about: BaselineInfo, feature: &Feature, sketch: &Sketch, strata: Option<&Strata<'_>>) -> Self {
        let body = match &sketch.body {
            Body::Tokens(s) => prepare_tokens(s),
            Body::Category(s) => {
                prepare_category(s, feature.from == crate::config::features::FieldSource::Loras)
            }
            Body::Numeric(s) if feature.kind == FeatureKind::Tail => {
                PreparedBody::Tail(PreparedTail::new(s, strata))
            }
            Body::Numeric(s) => prepare_numeric(s, feature.test, strata),
            Body::Rate(s) => {
                let (sums, n) = dense(s.events());
                PreparedBody::Rate {
                    mean: s.hits() as f64 / s.n().max(1) as f64,
                    test: PreparedScalar::new(&sums.map(|v| v as f64), &n, s.hits() as f64),
                }
            }
            Body::Vector(s) => PreparedBody::Vector(PreparedCentroid::new(s)),
            Body::Missing(s) => PreparedBody::Missing(PreparedMissing::new(s, feature.watched.clone())),
        };
        let mut side = side(sketch);
        if feature.kind == FeatureKind::Volume {
            side.value = Some(sketch.n() as f64 / about.hours.max(1e-9));
        }
        if let (PreparedBody::Tail(tail), Body::Numeric(s)) = (&body, &sketch.body) {
            (side.value, side.quantiles) = (tail.share(s, strata), None);
        }
        Self { about, side, id: sketch.id, body }
    }

    /// Compares a window.
    ///
    /// # Errors
    /// When the window's sketch was made by another definition.
    pub fn compare(
        &self,
        feature: &Feature,
        window: &Sketch,
        strata: Option<&Strata<'_>>,
    ) -> Result<Compared, UnlikeSketches> {
        if window.id != self.id {
            return Err(UnlikeSketches::Definition { left: self.id, right: window.id });
        }
        let (mut scores, mut value) = (Scores::default(), None);
        let tolerance = feature.tolerance;
        let tolerated = |baseline: f64| tolerance.absolute.max(tolerance.relative * baseline.abs());
        let of = |estimate: Result<Estimate, Reason>, from: f64| {
            let change = |estimate| Change { estimate, from, tolerated: tolerated(from), log: feature.log };
            estimate.map(change)
        };
        let mut change = None;
        let (judged, material) = match (&self.body, &window.body) {
            (PreparedBody::Tokens { bins, counts, scales, test, .. }, Body::Tokens(w)) => {
                set_distances(&mut scores, counts, &bins.counts(w.tokens().map(|(t, c)| (t, c.count))));
                (score_tokens(test, w, scales), None)
            }
            (PreparedBody::Category { bins, counts, shared, scales, test }, Body::Category(w)) => {
                let (now, mut sums) = match shared {
                    None => bins.sums(w),
                    Some(shared) => (bins.counts(w), shared.sums(w)),
                };
                set_distances(&mut scores, counts, &now);
                sums.scale_columns(scales);
                (test.score(&sums), None)
            }
            (PreparedBody::Numeric { values, edges, counts, sd, test }, Body::Numeric(w)) => {
                let now = w.quantiles().values();
                set_distances(&mut scores, counts, &bin_counts(edges, &now));
                scores.wasserstein = wasserstein(values, &now, *sd);
                match test {
                    NumericTest::Shape(t) => (t.score(&shape_sums(w, edges)), None),
                    NumericTest::Mean { test, mean, strata: means } => {
                        let (s, n) = match strata {
                            Some(strata) if !means.is_empty() => residual_sums(strata, means),
                            _ => scalar_sums(w.events()),
                        };
                        judge(&of(test.estimate(&s, &n), *mean), &mut change)
                    }
                }
            }
            (PreparedBody::Rate { mean, test }, Body::Rate(w)) => {
                if feature.kind == FeatureKind::Volume {
                    return Ok(Compared { scores, ..Compared::default() });
                }
                let (sums, n) = dense(w.events());
                judge(&of(test.estimate(&sums.map(|v| v as f64), &n), *mean), &mut change)
            }
            (PreparedBody::Tail(baseline), Body::Numeric(w)) => {
                let compared = baseline.compare(w, strata);
                value = compared.ok().map(|(_, share)| share);
                let from = self.side.value.unwrap_or(0.0);
                judge(&of(compared.map(|(estimate, _)| estimate), from), &mut change)
            }
            (PreparedBody::Vector(baseline), Body::Vector(w)) => {
                let judged = baseline.compare(w, &mut scores);
                let tolerated = scores.centroid_cosine.is_some_and(|d| d <= tolerance.absolute);
                (judged, tolerated.then_some(Judgement::PValue(1.0)))
            }
            (PreparedBody::Missing(baseline), Body::Missing(w)) => {
                put(&mut scores, baseline.distances(w));
                let (judged, material) = baseline.score(w, tolerance.absolute);
                (judged, Some(material))
            }
            _ => return Err(UnlikeSketches::Definition { left: self.id, right: window.id }),
        };
        scores.p_value = judged.p_value();
        let material_p = match material {
            Some(j) => j.p_value(),
            // Shares have no single effect to take a tolerance off: a change that is too small by PSI counts as none.
            None if scores.psi_excess.is_some_and(|e| e <= tolerance.absolute) => Some(1.0),
            None => scores.p_value,
        };
        let lacking = match judged {
            Judgement::Insufficient(reason) => Some(reason),
            Judgement::PValue(_) => None,
        };
        let least_p = self.vector_kind().map_or(0.0, |kind| least_p(kind, &dense(window.events()).1));
        Ok(Compared { scores, lacking, least_p, material_p, value, change })
    }

    /// What the test takes windows for, where it is one of vectors.
    fn vector_kind(&self) -> Option<VectorKind> {
        match &self.body {
            PreparedBody::Tokens { .. } => Some(VectorKind::Tokens),
            PreparedBody::Category { shared, .. } => Some(category_kind(shared.as_ref())),
            PreparedBody::Numeric { test: NumericTest::Shape(_), .. } => Some(VectorKind::Bins),
            PreparedBody::Vector(_) => Some(VectorKind::Embedding),
            PreparedBody::Numeric { .. }
            | PreparedBody::Rate { .. }
            | PreparedBody::Missing(_)
            | PreparedBody::Tail(_) => None,
        }
    }

    /// Requests whose images are farthest from the baseline, of those sampled in the window; empty for what is no embedding.
    #[must_use]
    pub fn farthest(&self, window: &Sketch) -> Vec<Arc<str>> {
        match (&self.body, &window.body) {
            (PreparedBody::Vector(baseline), Body::Vector(w)) => baseline.farthest(w),
            _ => Vec::new(),
        }
    }

    /// Towards which of the named styles (unit vectors) a window of embeddings has moved, largest first.
    #[must_use]
    pub fn towards(&self, window: &Sketch, styles: &[(Arc<str>, Vec<f64>)]) -> Vec<Contributor> {
        match (&self.body, &window.body) {
            (PreparedBody::Vector(baseline), Body::Vector(w)) => baseline.towards(w, styles),
            _ => Vec::new(),
        }
    }

    /// What contributes to the difference, largest first. Tokens are named by `name` (their text),
    /// but only those that `min_users` distinct users used in the window; the rest are left out,
    /// since a rare token can say much. Categories are called what `value` makes of them and of
    /// their users.
    #[must_use]
    pub fn contributors(
        &self,
        window: &Sketch,
        min_users: u32,
        name: impl Fn(u32) -> Option<String>,
        value: impl Fn(&str, u64) -> String,
    ) -> Vec<Contributor> {
        match (&self.body, &window.body) {
            (PreparedBody::Tokens { bins, tokens, total, .. }, Body::Tokens(w)) => {
                token_contributors(bins.bins(), tokens, *total, w, min_users, name)
            }
            (PreparedBody::Category { bins, counts, .. }, Body::Category(w)) => {
                let label = |i: usize| match bins.value(i, w) {
                    Some((v, users)) => value(v, users),
                    None => "(new)".to_owned(),
                };
                binned_contributors(counts, &bins.counts(w), label)
            }
            (PreparedBody::Numeric { edges, counts, .. }, Body::Numeric(w)) => {
                let now = bin_counts(edges, &w.quantiles().values());
                binned_contributors(counts, &now, |i| bin_label(edges, i))
            }
            (PreparedBody::Missing(baseline), Body::Missing(w)) => baseline.contributors(w),
            (PreparedBody::Tail(baseline), Body::Numeric(w)) => baseline.contributors(w),
            _ => Vec::new(),
        }
    }
}

/// The judgement of a change, and of the part of it beyond what is tolerated.
fn judge(change: &Result<Change, Reason>, found: &mut Option<Change>) -> (Judgement, Option<Judgement>) {
    match change {
        Ok(change) => {
            *found = Some(*change);
            (change.estimate.judge(0.0), Some(change.estimate.judge(change.tolerated)))
        }
        Err(reason) => (Judgement::Insufficient(*reason), Some(Judgement::Insufficient(*reason))),
    }
}

/// One side's numbers.
#[must_use]
pub fn side(sketch: &Sketch) -> Side {
    let mut side = Side { n: sketch.n(), sessions: sketch.sessions().count(), ..Side::default() };
    match &sketch.body {
        Body::Numeric(s) => {
            side.value = s.mean();
            let q = s.quantiles();
            if let (Some(a), Some(b), Some(c)) = (q.quantile(0.5), q.quantile(0.95), q.quantile(0.99)) {
                side.quantiles = Some([a, b, c]);
            }
        }
        Body::Missing(s) => side.value = s.mean(),
        Body::Rate(s) if s.n() > 0 => side.value = Some(s.hits() as f64 / s.n() as f64),
        _ => {}
    }
    side
}

fn set_distances(scores: &mut Scores, then: &[u64], now: &[u64]) {
    put(scores, distances(then, now));
}

fn put(scores: &mut Scores, distances: Option<Distances>) {
    if let Some(d) = distances {
        scores.psi = Some(d.psi);
        scores.psi_excess = Some(d.psi_excess);
        scores.kl = Some(d.kl);
        scores.js = Some(d.js);
    }
}

fn dense(events: &BucketSums) -> ([i128; SESSION_BUCKETS], [f64; SESSION_BUCKETS]) {
    let (mut s, mut n) = ([0; SESSION_BUCKETS], [0.0; SESSION_BUCKETS]);
    for (b, count, sum) in events.iter() {
        s[b as usize] = sum;
        n[b as usize] = count as f64;
    }
    (s, n)
}

fn scalar_sums(events: &BucketSums) -> ([f64; SESSION_BUCKETS], [f64; SESSION_BUCKETS]) {
    let (s, n) = dense(events);
    (s.map(fixed::to_float), n)
}

/// Sums of what is left of each event's value once its stratum's baseline mean is taken off. Events of strata that the baseline
/// does not know are left out: a new release is judged by its own baseline, not by the mix.
fn residual_sums(
    strata: &Strata<'_>,
    means: &FxHashMap<Arc<str>, f64>,
) -> ([f64; SESSION_BUCKETS], [f64; SESSION_BUCKETS]) {
    let (mut s, mut n) = ([0.0; SESSION_BUCKETS], [0.0; SESSION_BUCKETS]);
    for (name, sketch) in strata {
        if let (Some(mean), Body::Numeric(x)) = (means.get(name), &sketch.body) {
            for (b, count, sum) in x.events().iter() {
                s[b as usize] += fixed::to_float(sum) - mean * count as f64;
                n[b as usize] += count as f64;
            }
        }
    }
    (s, n)
}

fn prepare_tokens(s: &TokenSketch) -> PreparedBody {
    let bins = token_bins(s.tokens().map(|(t, c)| (t, c.count)));
    let counts = bins.counts(s.tokens().map(|(t, c)| (t, c.count)));
    let tokens = s.tokens().collect();
    let mut sums = token_sums(s);
    let touched: Vec<f64> = (0..TOKEN_BINS).map(|i| sums.s.column(i).sum()).collect();
    let scales = token_scales(&touched, s.n() as f64);
    sums.scale_columns(&scales);
    let test = PreparedVector::new(&sums, VectorKind::Tokens);
    PreparedBody::Tokens { bins, counts, tokens, total: s.total(), scales, test }
}

fn token_sums(s: &TokenSketch) -> Sums {
    let mut sums = Sums::new(TOKEN_BINS);
    for (bin, bucket, n) in s.presence() {
        sums.s[(bucket, bin)] = n as f64;
    }
    sums.n = dense(s.events()).1;
    sums
}

thread_local! {
    /// Sums of one window's tokens: 80 KiB that are filled and emptied for every score instead of being allocated anew.
    static TOKEN_SUMS: RefCell<Sums> = RefCell::new(Sums::new(TOKEN_BINS));
}

fn score_tokens(test: &PreparedVector, window: &TokenSketch, scales: &[f64]) -> Judgement {
    TOKEN_SUMS.with_borrow_mut(|sums| {
        for (bin, bucket, n) in window.presence() {
            sums.s[(bucket, bin)] = n as f64 * scales[bin];
        }
        sums.n = dense(window.events()).1;
        let judged = test.score(sums);
        for (bin, bucket, _) in window.presence() {
            sums.s[(bucket, bin)] = 0.0;
        }
        judged
    })
}

fn category_kind(shared: Option<&SharedBins>) -> VectorKind {
    if shared.is_some() { VectorKind::Several } else { VectorKind::Categories }
}

/// `several`: an event may carry more than one value; its test has bins of its own.
fn prepare_category(s: &CategorySketch, several: bool) -> PreparedBody {
    let (bins, counts, mut sums) = CategoryBins::of(s);
    let shared = several.then(|| SharedBins::of(s));
    let scales = match &shared {
        None => {
            let held: Vec<f64> = counts.iter().map(|c| *c as f64).collect();
            category_scales(&held, s.n() as f64)
        }
        Some(shared) => {
            sums = shared.sums(s);
            let held: Vec<f64> = (0..SharedBins::COUNT).map(|i| sums.s.column(i).sum()).collect();
            token_scales(&held, s.n() as f64)
        }
    };
    sums.scale_columns(&scales);
    let test = PreparedVector::new(&sums, category_kind(shared.as_ref()));
    PreparedBody::Category { bins, counts, shared, scales, test }
}

fn prepare_numeric(s: &NumericSketch, test: Test, strata: Option<&Strata<'_>>) -> PreparedBody {
    let values = s.quantiles().values();
    let edges = decile_edges(&values);
    let counts = bin_counts(&edges, &values);
    let test = match test {
        Test::Shape => NumericTest::Shape(PreparedVector::new(&shape_sums(s, &edges), VectorKind::Bins)),
        Test::Mean => {
            let (sums, n) = scalar_sums(s.events());
            let mean = sums.iter().sum::<f64>() / n.iter().sum::<f64>().max(1.0);
            let (means, spread) = stratum_means(strata.unwrap_or_default());
            let test = if means.is_empty() {
                PreparedScalar::new(&sums, &n, s.test_sq())
            } else {
                let (sums, n) = residual_sums(strata.unwrap_or_default(), &means);
                PreparedScalar::new(&sums, &n, spread)
            };
            NumericTest::Mean { test, mean, strata: means }
        }
    };
    PreparedBody::Numeric { values, edges, counts, sd: s.sd().unwrap_or(0.0), test }
}

/// The mean of each stratum with enough events, on the test's scale, and the sum of squares around them.
fn stratum_means(strata: &Strata<'_>) -> (FxHashMap<Arc<str>, f64>, f64) {
    let mut means = FxHashMap::default();
    let mut squares = 0.0;
    for (name, sketch) in strata {
        if let Body::Numeric(s) = &sketch.body
            && s.n() >= MIN_STRATUM
        {
            let n = s.n() as f64;
            let mean = fixed::to_float(s.events().sum()) / n;
            squares += (s.test_sq() - n * mean * mean).max(0.0);
            means.insert(Arc::clone(name), mean);
        }
    }
    (means, squares)
}

fn shape_sums(s: &NumericSketch, edges: &[Edge]) -> Sums {
    let mut sums = Sums::new(edges.len() + 1);
    for (value, bucket, n) in s.quantiles().by_session() {
        sums.s[(bucket as usize, bin_of(edges, value))] += n as f64;
    }
    sums.n = dense(s.events()).1;
    sums
}

fn binned_contributors(then: &[u64], now: &[u64], label: impl Fn(usize) -> String) -> Vec<Contributor> {
    let (n, m) = (then.iter().sum::<u64>().max(1) as f64, now.iter().sum::<u64>().max(1) as f64);
    let mut out: Vec<(usize, f64)> =
        terms(then, now).into_iter().enumerate().filter(|(i, _)| then[*i] + now[*i] > 0).collect();
    out.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    out.truncate(TOP_CONTRIBUTORS);
    out.into_iter()
        .map(|(i, contribution)| Contributor {
            key: label(i),
            share: now[i] as f64 / m,
            baseline_share: then[i] as f64 / n,
            contribution,
        })
        .collect()
}

/// Tokens by their own term, with the smoothing of the statistic: also those of the statistic's common rest bin, where new words
/// would otherwise hide.
fn token_contributors(
    bins: usize,
    then: &FxHashMap<u32, TokenCount>,
    total: u64,
    now: &TokenSketch,
    min_users: u32,
    name: impl Fn(u32) -> Option<String>,
) -> Vec<Contributor> {
    let half = bins as f64 / 2.0;
    let (n, m) = (total as f64 + half, now.total() as f64 + half);
    let term = |a: u64, b: u64| {
        let (p, q) = ((a as f64 + 0.5) / n, (b as f64 + 0.5) / m);
        (q - p) * (q / p).ln() * if q < p { -1.0 } else { 1.0 }
    };
    let known = |c: &TokenCount| c.users.count_ones() >= min_users;
    let gone =
        then.iter().filter(|(t, c)| known(c) && now.token(**t).count == 0).map(|(t, c)| (*t, c.count, 0));
    let mut all: Vec<(u32, u64, u64, f64)> = now
        .tokens()
        .filter(|(_, c)| known(c))
        .map(|(t, c)| (t, then.get(&t).map_or(0, |c| c.count), c.count))
        .chain(gone)
        .map(|(t, a, b)| (t, a, b, term(a, b)))
        .collect();
    all.sort_by(|x, y| y.3.abs().total_cmp(&x.3.abs()).then(x.0.cmp(&y.0)));
    let share = |c: u64, of: u64| c as f64 / of.max(1) as f64;
    all.into_iter()
        .filter_map(|(t, a, b, contribution)| {
            name(t).map(|key| Contributor {
                key,
                share: share(b, now.total()),
                baseline_share: share(a, total),
                contribution,
            })
        })
        .take(TOP_CONTRIBUTORS)
        .collect()
}
