//! Incidents prepared for the hot path: values as table indices, and the combined effects on a
//! request.

use super::dimensions::{REGIONS, SessionDimensions, Tables};
use super::error::GenerateError;
use super::incident::{IncidentKind, InjectedIncident};
use super::names::Dimension;
use super::schedule::Schedule;
use super::vocabulary::LANGUAGES;

/// The effects of active incidents on one request; the default has none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effects {
    /// Share of sessions that switch to anime prompts.
    pub anime_share: f64,
    /// Share of sessions whose images are in anime style.
    pub drawn_share: f64,
    /// Share of sessions with a LoRA that did not exist before.
    pub new_lora_share: f64,
    /// Share of requests that take so many times as long.
    pub slow: (f64, f64),
    /// Share of sessions that write in another language, and which.
    pub language: Option<(f64, u8)>,
    /// Reduction of the aesthetic score.
    pub aesthetic_delta: f64,
    /// The release of the checkpoint; 0 is the first.
    pub release: u64,
    pub latency_factor: f64,
    pub timeout_rate: f64,
    pub nsfw_factor: f64,
    pub cost_factor: f64,
    pub acceptance_factor: f64,
    /// Share of sessions that remain.
    pub volume_factor: f64,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            anime_share: 0.0,
            drawn_share: 0.0,
            new_lora_share: 0.0,
            slow: (0.0, 1.0),
            language: None,
            aesthetic_delta: 0.0,
            release: 0,
            latency_factor: 1.0,
            timeout_rate: 0.0,
            nsfw_factor: 1.0,
            cost_factor: 1.0,
            acceptance_factor: 1.0,
            volume_factor: 1.0,
        }
    }
}

/// One incident with its segment as table indices.
#[derive(Debug, Clone)]
pub(super) struct ResolvedIncident {
    kind: IncidentKind,
    language: u8,
    start_us: i64,
    end_us: i64,
    schedule: Schedule,
    conditions: Vec<(Dimension, u16)>,
    release: u64,
}

impl ResolvedIncident {
    /// Resolves an incident's values; `number` distinguishes releases.
    pub(super) fn new(
        incident: &InjectedIncident,
        number: usize,
        tables: &Tables,
    ) -> Result<Self, GenerateError> {
        incident.check().map_err(GenerateError::Incident)?;
        let mut conditions = Vec::new();
        for (dimension, value) in &incident.segment.0 {
            let index = tables.index_of(*dimension, value).ok_or_else(|| GenerateError::NoSuchValue {
                dimension: dimension.name(),
                value: value.clone(),
                valid: tables.values(*dimension).collect::<Vec<_>>().join(", "),
            })?;
            conditions.push((*dimension, index));
        }
        let share = |region: u16| -> f64 {
            conditions.iter().map(|&(dimension, index)| tables.share(dimension, index, region)).product()
        };
        if !(0..REGIONS.len()).any(|region| share(region as u16) > 0.0) {
            return Err(GenerateError::NoSuchSegment(incident.segment.to_string()));
        }
        let language = match &incident.kind {
            IncidentKind::LanguageShift { to, .. } => {
                LANGUAGES.iter().position(|code| code == to).unwrap_or(0) as u8
            }
            _ => 0,
        };
        Ok(Self {
            kind: incident.kind.clone(),
            language,
            start_us: incident.start.timestamp_micros(),
            end_us: incident.end.map_or(i64::MAX, |end| end.timestamp_micros()),
            schedule: incident.schedule,
            conditions,
            release: number as u64 + 1,
        })
    }

    fn touches(&self, place: &SessionDimensions) -> bool {
        self.conditions.iter().all(|&(dimension, index)| place.index(dimension) == index)
    }

    /// The part of its strength that it has at this time, 0 to 1.
    fn strength(&self, time_us: i64) -> f64 {
        if (self.start_us..self.end_us).contains(&time_us) {
            self.schedule.strength(self.start_us, time_us)
        } else {
            0.0
        }
    }

    /// Share of a region's traffic that a volume drop removes at this time.
    pub(super) fn lost_share(&self, time_us: i64, region: u16, tables: &Tables) -> f64 {
        let IncidentKind::VolumeDrop { factor } = self.kind else { return 0.0 };
        let strength = self.strength(time_us);
        if strength <= 0.0 {
            return 0.0;
        }
        let share = |&(dimension, index): &(Dimension, u16)| tables.share(dimension, index, region);
        (1.0 - factor) * strength * self.conditions.iter().map(share).product::<f64>()
    }
}

/// Combines the incidents of this time and session: factors multiply; of shares and rates the
/// largest applies.
pub(super) fn effects_at(incidents: &[ResolvedIncident], time_us: i64, place: &SessionDimensions) -> Effects {
    let mut effects = Effects::default();
    for incident in incidents.iter().filter(|incident| incident.touches(place)) {
        let strength = incident.strength(time_us);
        if strength <= 0.0 {
            continue;
        }
        let part = |share: f64| share * strength;
        let times = |factor: f64| factor.powf(strength);
        match &incident.kind {
            IncidentKind::PromptShift { share } => {
                effects.anime_share = effects.anime_share.max(part(*share))
            }
            IncidentKind::AestheticDrop { delta } => {
                effects.aesthetic_delta += part(*delta);
                effects.release = incident.release;
            }
            IncidentKind::LatencyAndErrors { factor, error_rate } => {
                effects.latency_factor *= times(*factor);
                effects.timeout_rate = effects.timeout_rate.max(part(*error_rate));
            }
            IncidentKind::NsfwRise { factor } => effects.nsfw_factor *= times(*factor),
            IncidentKind::CostRise { factor } => effects.cost_factor *= times(*factor),
            IncidentKind::AcceptanceDrop { factor } => effects.acceptance_factor *= times(*factor),
            IncidentKind::LanguageShift { share, .. } => {
                effects.language = Some((part(*share), incident.language))
            }
            IncidentKind::VolumeDrop { factor } => effects.volume_factor *= 1.0 - part(1.0 - *factor),
            IncidentKind::StyleShift { share } => effects.drawn_share = effects.drawn_share.max(part(*share)),
            IncidentKind::LatencyTail { share, factor } => effects.slow = (part(*share), *factor),
            IncidentKind::NewLora { share } => {
                effects.new_lora_share = effects.new_lora_share.max(part(*share));
            }
        }
    }
    effects
}
