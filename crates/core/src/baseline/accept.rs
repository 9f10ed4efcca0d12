//! What was accepted as the new normal: excluded days that count again. Pure.

use super::Excluded;
use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One `baseline accept`: for these segments and this feature, days that began before `at` are no longer excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// A glob over segment names: "tenant=birch", "tenant=*", "*" (all). The whole stream's name is empty.
    pub segment: String,
    /// The feature; all of them where absent.
    #[serde(default)]
    pub feature: Option<String>,
    /// Event time from which it holds, microseconds: baselines of days that begin at or after it heed it.
    pub at: i64,
}

/// Which segments a pattern means: the one of that very name, and those that it matches as a glob.
/// A name may hold what means something else in a glob (`\`, `[`), and still must be possible to
/// name.
#[derive(Debug, Clone)]
pub struct Segments {
    name: String,
    glob: Option<GlobMatcher>,
}

impl Segments {
    /// What a pattern means; one that is no glob means the segment of its name.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { name: pattern.to_owned(), glob: Glob::new(pattern).ok().map(|g| g.compile_matcher()) }
    }

    /// Whether it means the segment of this name.
    #[must_use]
    pub fn is_match(&self, segment: &str) -> bool {
        self.name == segment || self.glob.as_ref().is_some_and(|g| g.is_match(segment))
    }
}

/// When a segment's feature was last accepted, of what was accepted at or before `day`. The segment
/// is named by its identity.
pub fn accepted_at(
    accepts: &[Accept],
    day: i64,
    features: &[Arc<str>],
) -> impl Fn(&str, usize) -> Option<i64> + use<> {
    let heeded: Vec<(Segments, Option<usize>, i64)> = accepts
        .iter()
        .filter(|a| a.at <= day)
        .filter_map(|a| {
            let segments = Segments::new(&a.segment);
            match &a.feature {
                None => Some((segments, None, a.at)),
                Some(f) => Some((segments, Some(features.iter().position(|k| **k == **f)?), a.at)),
            }
        })
        .collect();
    move |segment, feature| {
        let of = heeded
            .iter()
            .filter(|(s, f, _)| f.is_none_or(|f| f == feature) && s.is_match(segment))
            .map(|a| a.2);
        of.max()
    }
}

/// The exclusions that are left for the baselines of the day that begins at `day`. `features` are the job's names, by index.
///
/// Only what was accepted at or before `day` counts, so that a replay, which sees every accept from
/// its start, builds the same baselines as the job that ran on while they came. An accept whose
/// pattern fits no segment or whose feature is gone changes nothing.
#[must_use]
pub fn accepted(excluded: &Excluded, accepts: &[Accept], day: i64, features: &[Arc<str>]) -> Excluded {
    let latest = accepted_at(accepts, day, features);
    let mut out = Excluded::default();
    for ((segment, feature), days) in excluded {
        let until = latest(&segment.name, *feature);
        let left: Vec<i64> = days.iter().copied().filter(|d| until.is_none_or(|u| *d >= u)).collect();
        if !left.is_empty() {
            out.insert((segment.clone(), *feature), left);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::DAY;
    use crate::window::Segment;

    fn segment(name: &str) -> Segment {
        Segment { grouping: 0, name: name.into() }
    }

    fn excluded() -> Excluded {
        let days = |d: &[i64]| d.iter().map(|d| d * DAY).collect::<Vec<_>>();
        Excluded::from_iter([
            ((segment("tenant=birch"), 0), days(&[3, 4, 6])),
            ((segment("tenant=birch"), 1), days(&[4])),
            ((segment("tenant=oak"), 0), days(&[4])),
            ((segment(""), 0), days(&[4])),
        ])
    }

    fn accept(segment: &str, feature: Option<&str>, day: i64) -> Accept {
        Accept { segment: segment.into(), feature: feature.map(Into::into), at: day * DAY }
    }

    fn left(accepts: &[Accept], day: i64) -> Vec<(String, usize, Vec<i64>)> {
        let features: [Arc<str>; 2] = ["nsfw".into(), "error".into()];
        let mut out: Vec<_> = accepted(&excluded(), accepts, day * DAY, &features)
            .into_iter()
            .map(|((s, f), d)| (s.name.to_string(), f, d.iter().map(|d| d / DAY).collect()))
            .collect();
        out.sort();
        out
    }

    #[test]
    fn days_before_it_count_again_for_the_segments_and_the_feature_named() {
        let birch = |f, d: &[i64]| ("tenant=birch".to_owned(), f, d.to_vec());
        let all = left(&[], 9);
        assert_eq!(
            left(&[accept("tenant=birch", Some("nsfw"), 5)], 9)[1..3],
            [birch(0, &[6]), birch(1, &[4])]
        );
        assert_eq!(left(&[accept("*", None, 5)], 9), [birch(0, &[6])]);
        assert_eq!(left(&[accept("", None, 9)], 9), all[1..], "the whole stream alone");
        assert_eq!(left(&[accept("tenant=*", None, 9)], 9), all[..1]);
        let latest = [accept("*", None, 9), accept("*", None, 4)];
        assert_eq!(left(&latest, 9), [], "the latest of several counts");
    }

    #[test]
    fn a_segment_can_be_named_whatever_its_name_means_in_a_glob() {
        for name in
            [r"tenant=a\, b\=c", "tenant=[eu] Acme*", "tenant=a[b", "tenant={x", "tenant=Müller & Söhne"]
        {
            assert!(Segments::new(name).is_match(name), "{name}");
            assert!(!Segments::new(name).is_match("tenant=birch"), "{name}");
        }
        assert!(Segments::new("tenant=*").is_match(r"tenant=a\, b\=c"));
    }

    #[test]
    fn baselines_of_earlier_days_do_not_heed_it() {
        assert_eq!(left(&[accept("*", None, 5)], 4), left(&[], 4));
        assert_ne!(left(&[accept("*", None, 5)], 5), left(&[], 5));
    }

    #[test]
    fn an_unknown_feature_or_pattern_changes_nothing() {
        assert_eq!(left(&[accept("*", Some("gone"), 5), accept("[", None, 5)], 9), left(&[], 9));
    }
}
