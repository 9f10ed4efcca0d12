//! What events lack, compared: each field's share of the events of its group that lack it, one test
//! over all.
//!
//! A field is judged as a rate is, among the events of one stage that failed or did not, so that
//! neither another mix of stages nor more failures read as missing fields. The least p-value
//! counts, times the number of fields that could differ.

use crate::config::watched::Watched;
use crate::drift::{
    BUCKETS, Contributor, Distances, Judgement, PreparedScalar, Reason, TOP_CONTRIBUTORS, distances,
};
use crate::sketch::{MissingGroup, MissingSketch};
use std::sync::Arc;

/// A number for each session bucket.
pub(super) type PerBucket = [f64; BUCKETS];

/// A baseline of what events lack.
#[derive(Debug, Clone)]
pub struct PreparedMissing {
    groups: Vec<PreparedGroup>,
    watched: Option<Arc<Watched>>,
}

#[derive(Debug, Clone)]
struct PreparedGroup {
    key: u8,
    n: u64,
    /// What a field is compared with that no event lacks.
    never: PreparedScalar,
    /// Fields that events lack, ascending.
    fields: Vec<PreparedField>,
}

#[derive(Debug, Clone)]
struct PreparedField {
    field: u8,
    lacking: u64,
    test: PreparedScalar,
}

/// A window's and its baseline's events of one group that lack a field.
struct FieldPair {
    group: u8,
    field: u8,
    /// The baseline's: lacking, and of how many.
    then: (u64, u64),
    /// The window's.
    now: (u64, u64),
}

impl FieldPair {
    fn share((lacking, of): (u64, u64)) -> f64 {
        lacking as f64 / of.max(1) as f64
    }

    /// Over two bins: the events that lack it and those that have it.
    fn distances(&self) -> Option<Distances> {
        let bins = |(lacking, of): (u64, u64)| [lacking, of.saturating_sub(lacking)];
        distances(&bins(self.then), &bins(self.now))
    }
}

impl PreparedMissing {
    /// Prepares a baseline. `watched` names its fields.
    #[must_use]
    pub fn new(baseline: &MissingSketch, watched: Option<Arc<Watched>>) -> Self {
        let group = |g: &MissingGroup| {
            let n = dense(g.events());
            let prepared = |field| {
                let s = dense(g.lacking(field));
                let lacking = total(g.lacking(field));
                PreparedField { field, lacking, test: PreparedScalar::new(&s, &n, lacking as f64) }
            };
            PreparedGroup {
                key: g.key(),
                n: g.n(),
                never: PreparedScalar::new(&[0.0; BUCKETS], &n, 0.0),
                fields: fields(g.fields()).map(prepared).collect(),
            }
        };
        Self { groups: baseline.groups().iter().map(group).collect(), watched }
    }

    /// The p-value, and the p-value of what exceeds a tolerated difference of shares.
    #[must_use]
    pub fn score(&self, window: &MissingSketch, tolerance: f64) -> (Judgement, Judgement) {
        let (mut least, mut material, mut fields, mut judged) = (1.0f64, 1.0f64, 0u32, false);
        let mut reason = Reason::FewWindowBuckets;
        for (then, now) in self.pairs_of_groups(window) {
            let n = dense(now.events());
            match then.never.score(&[0.0; BUCKETS], &n, 0.0) {
                Judgement::PValue(_) => judged = true,
                Judgement::Insufficient(why) => {
                    reason = why;
                    continue;
                }
            }
            for field in then.compared(now) {
                let (test, s) = (then.test(field), dense(now.lacking(field)));
                if let Some(p) = test.score(&s, &n, 0.0).p_value() {
                    fields += 1;
                    least = least.min(p);
                    material = material.min(test.score(&s, &n, tolerance).p_value().unwrap_or(1.0));
                }
            }
        }
        if !judged {
            return (Judgement::Insufficient(reason), Judgement::Insufficient(reason));
        }
        let of_all = |p: f64| Judgement::PValue((p * f64::from(fields.max(1))).min(1.0));
        (of_all(least), of_all(material))
    }

    /// The distances of the field that differs most; none where nothing can be judged.
    #[must_use]
    pub fn distances(&self, window: &MissingSketch) -> Option<Distances> {
        let all = self.pairs(window).into_iter().filter_map(|p| p.distances());
        let most = all.max_by(|a, b| a.psi_excess.total_cmp(&b.psi_excess).then(a.psi.total_cmp(&b.psi)));
        // Where no event lacks anything, before and now, nothing is apart.
        let judged = self.pairs_of_groups(window).any(|(then, now)| then.judges(now));
        most.or(judged.then_some(Distances { psi: 0.0, psi_excess: 0.0, kl: 0.0, js: 0.0 }))
    }

    /// The fields whose shares differ by more than the sizes of the samples explain: first those
    /// that more events lack than did, largest first, then those that fewer lack.
    #[must_use]
    pub fn contributors(&self, window: &MissingSketch) -> Vec<Contributor> {
        let mut all: Vec<(Contributor, f64)> = self
            .pairs(window)
            .into_iter()
            .filter_map(|p| {
                let d = p.distances()?;
                let (share, baseline_share) = (FieldPair::share(p.now), FieldPair::share(p.then));
                let contribution = if share < baseline_share { -d.psi } else { d.psi };
                let name = self.watched.as_ref().and_then(|w| w.name(p.group, p.field));
                let key = name.unwrap_or_else(|| format!("{}.{}", p.group, p.field));
                Some((Contributor { key, share, baseline_share, contribution }, d.psi_excess))
            })
            .filter(|(_, excess)| *excess > 0.0)
            .collect();
        all.sort_by(|(a, _), (b, _)| b.contribution.total_cmp(&a.contribution));
        let lost = all.partition_point(|(c, _)| c.contribution >= 0.0);
        all[lost..].reverse();
        all.truncate(TOP_CONTRIBUTORS);
        all.into_iter().map(|(c, _)| c).collect()
    }

    /// The fields that differ or vary, of the groups that can be judged.
    fn pairs(&self, window: &MissingSketch) -> Vec<FieldPair> {
        let mut out = Vec::new();
        for (then, now) in self.pairs_of_groups(window).filter(|(then, now)| then.judges(now)) {
            let of = now.n();
            out.extend(then.compared(now).map(|field| FieldPair {
                group: then.key,
                field,
                then: (then.lacking(field), then.n),
                now: (total(now.lacking(field)), of),
            }));
        }
        out
    }

    /// The groups that both have.
    fn pairs_of_groups<'a>(
        &'a self,
        window: &'a MissingSketch,
    ) -> impl Iterator<Item = (&'a PreparedGroup, &'a MissingGroup)> {
        let of = |then: &'a PreparedGroup| window.groups().iter().find(|g| g.key() == then.key);
        self.groups.iter().filter_map(move |then| Some((then, of(then)?)))
    }
}

impl PreparedGroup {
    fn at(&self, field: u8) -> Option<&PreparedField> {
        self.fields.binary_search_by_key(&field, |f| f.field).ok().map(|i| &self.fields[i])
    }

    fn test(&self, field: u8) -> &PreparedScalar {
        self.at(field).map_or(&self.never, |f| &f.test)
    }

    fn lacking(&self, field: u8) -> u64 {
        self.at(field).map_or(0, |f| f.lacking)
    }

    fn judges(&self, window: &MissingGroup) -> bool {
        self.never.score(&[0.0; BUCKETS], &dense(window.events()), 0.0).p_value().is_some()
    }

    /// The fields that some events lack and that not all have always lacked: those that could
    /// differ.
    fn compared(&self, window: &MissingGroup) -> impl Iterator<Item = u8> {
        let then = self.fields.iter().fold(0, |mask, f| mask | 1u64 << f.field);
        let constant = |field: &u8| {
            self.lacking(*field) == self.n && window.lacking(*field) == window.events() && self.n > 0
        };
        fields(then | window.fields()).filter(move |f| !constant(f))
    }
}

/// What events lack of each field that is watched, largest share first: names and shares of those
/// that any event lacks.
#[must_use]
pub fn missing_shares(sketch: &MissingSketch, watched: &Watched) -> Vec<(String, f64)> {
    let of = |g: &MissingGroup, f: u8| {
        Some((watched.name(g.key(), f)?, FieldPair::share((total(g.lacking(f)), g.n()))))
    };
    let mut all: Vec<(String, f64)> =
        sketch.groups().iter().flat_map(|g| fields(g.fields()).filter_map(move |f| of(g, f))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
}

fn dense(cells: &[(u8, u64)]) -> PerBucket {
    let mut out = [0.0; BUCKETS];
    cells.iter().for_each(|(b, n)| out[usize::from(*b)] = *n as f64);
    out
}

fn total(cells: &[(u8, u64)]) -> u64 {
    cells.iter().fold(0, |sum, c| sum.saturating_add(c.1))
}

/// The fields of a mask, ascending.
fn fields(mask: u64) -> impl Iterator<Item = u8> {
    (0..u64::BITS as u8).filter(move |f| mask & 1 << f != 0)
}

#[cfg(test)]
#[path = "missing_tests.rs"]
mod tests;
