//! Which alerts belong together, decided from their transitions alone.
//!
//! A newly firing alert joins the living incident that it has most to do with, by its segment and
//! its feature, or opens a new one. The weights were found on archives with known incidents.

use super::family::{Family, upstream};
use super::relation::{SegmentRelation, dimensions, relation};
use crate::alert::{AlertRow, AlertState};
use crate::config::Severity;
use crate::event::time::HOUR;
use std::collections::{BTreeMap, BTreeSet};

/// How long an incident lives on after its last transition. Six hours split real incidents.
const QUIET: i64 = 24 * HOUR;
/// How long after its opening an incident's lead may still become a feature nearer to the cause.
const SETTLES: i64 = 24 * HOUR;

/// Whether an incident goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentState {
    /// An alert fires, or did a short time ago.
    Open,
    /// Nothing of it has fired for a day.
    Resolved,
}

impl IncidentState {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// The alerts of one cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Hash of the id of the alert that opened it.
    pub id: String,
    /// The severest of its alerts.
    pub severity: Severity,
    /// When its first alert fired, microseconds.
    pub opened: i64,
    /// When the condition of any of its alerts first held.
    pub since: i64,
    /// Its last transition.
    pub last: i64,
    /// The row with which its lead fired: what it is about.
    pub lead: AlertRow,
    /// Its alerts by id, with the state of each.
    pub alerts: BTreeMap<String, AlertState>,
    /// The features that its alerts are about.
    pub features: BTreeSet<String>,
    /// The segments that they are about.
    pub segments: BTreeSet<String>,
    /// Whether every window was complete in which one of its alerts fired.
    pub complete: bool,
    families: BTreeSet<Family>,
}

impl Incident {
    fn open(alert: &AlertRow) -> Self {
        let id = blake3::hash(alert.id.as_bytes()).to_hex()[..16].to_owned();
        let mut new = Self {
            id,
            severity: alert.severity,
            opened: alert.at,
            since: alert.pending_since,
            last: alert.at,
            lead: alert.clone(),
            alerts: BTreeMap::new(),
            features: BTreeSet::new(),
            segments: BTreeSet::new(),
            complete: true,
            families: BTreeSet::new(),
        };
        new.add(alert);
        new
    }

    fn add(&mut self, alert: &AlertRow) {
        self.alerts.insert(alert.id.clone(), alert.state);
        self.features.insert(alert.feature.clone());
        self.segments.insert(alert.segment.clone());
        self.families.insert(Family::of(&alert.feature));
        self.severity = self.severity.max(alert.severity);
        self.since = self.since.min(alert.pending_since);
        self.last = self.last.max(alert.at);
        self.complete &= alert.complete;
    }

    /// Whether it goes on at a time.
    #[must_use]
    pub fn state(&self, at: i64) -> IncidentState {
        let fires = self.alerts.values().any(|state| *state == AlertState::Firing);
        if fires || at - self.last <= QUIET { IncidentState::Open } else { IncidentState::Resolved }
    }

    /// How much a firing alert has to do with it, in half points; `None`: nothing.
    fn score(&self, alert: &AlertRow) -> Option<u32> {
        let of_feature = self.features.contains(&alert.feature);
        let of_family = self.families.contains(&Family::of(&alert.feature));
        let pick = |feature: u32, family: Option<u32>, neither: Option<u32>| match (of_feature, of_family) {
            (true, _) => Some(feature),
            (_, true) => family,
            _ => neither,
        };
        match relation(segment_of(alert), segment_of(&self.lead)) {
            SegmentRelation::Equal => pick(18, Some(16), Some(10)),
            SegmentRelation::Inside => pick(17, Some(14), Some(8)),
            SegmentRelation::Contains => pick(15, Some(12), None),
            SegmentRelation::Crosses => pick(11, None, None),
            SegmentRelation::Conflicts => None,
        }
    }

    /// Lets an alert that joins become the lead, where it is nearer to the cause.
    fn follow(&mut self, alert: &AlertRow) {
        let (own, lead) = (segment_of(alert), segment_of(&self.lead));
        let relation = relation(own, lead);
        let narrower = dimensions(lead).is_empty() && !dimensions(own).is_empty();
        let same_family = Family::of(&alert.feature) == Family::of(&self.lead.feature);
        let same_feature = alert.feature == self.lead.feature;
        let wider = dimensions(lead).len() > 1
            && !dimensions(own).is_empty()
            && relation == SegmentRelation::Contains;
        let nearer = relation == SegmentRelation::Equal
            && alert.at - self.opened <= SETTLES
            && upstream(&alert.feature) < upstream(&self.lead.feature);
        if narrower && same_family || wider && same_feature || nearer {
            self.lead = alert.clone();
        }
    }
}

/// The segment by which alerts are compared: what is shown of a name may change, its identity does
/// not.
fn segment_of(alert: &AlertRow) -> &str {
    if alert.identity.is_empty() { &alert.segment } else { &alert.identity }
}

/// All incidents so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentBook {
    incidents: Vec<Incident>,
    /// The incident of each alert that has one.
    of_alert: BTreeMap<String, usize>,
}

impl IncidentBook {
    /// Takes in transitions of alerts. Those of one call are brought into order; calls follow each
    /// other in event time.
    pub fn observe(&mut self, transitions: &[AlertRow]) {
        let mut ordered: Vec<&AlertRow> = transitions.iter().collect();
        let fires = |a: &AlertRow| a.state == AlertState::Firing;
        // What ends first makes room; a wide segment comes before its parts.
        ordered.sort_by(|a, b| {
            let key = |a: &AlertRow| (a.at, fires(a), segment_of(a).len());
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        ordered.into_iter().for_each(|alert| self.step(alert));
    }

    /// The incidents, in the order in which they opened.
    #[must_use]
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    fn step(&mut self, alert: &AlertRow) {
        let known = self.of_alert.get(&alert.id).copied();
        if alert.state != AlertState::Firing {
            if let Some(i) = known {
                self.incidents[i].alerts.insert(alert.id.clone(), alert.state);
                self.incidents[i].last = self.incidents[i].last.max(alert.at);
            }
            return;
        }
        let joined = known.or_else(|| {
            let alive =
                self.incidents.iter().enumerate().filter(|(_, of)| of.state(alert.at) == IncidentState::Open);
            let scored = alive.filter_map(|(i, of)| Some((of.score(alert)?, of.last, i)));
            scored.max_by_key(|of| *of).map(|(_, _, i)| i)
        });
        let i = match joined {
            Some(i) => {
                self.incidents[i].add(alert);
                self.incidents[i].follow(alert);
                i
            }
            None => {
                self.incidents.push(Incident::open(alert));
                self.incidents.len() - 1
            }
        };
        self.of_alert.insert(alert.id.clone(), i);
    }
}
