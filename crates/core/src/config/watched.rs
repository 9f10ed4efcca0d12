//! What the feature `missing` looks for: the fields that the other features read, stage by stage.

use super::features::{Feature, From, Kind};
use crate::event::{Flag, Stage, Stages, Text};

/// Fields of a stage: as many as a mask has bits, and more than an event has.
const MAX_FIELDS: usize = u64::BITS as usize;

/// The name of the built-in feature.
pub const MISSING: &str = "missing";

/// The fields that are looked for at each stage, in a fixed order. Their places in it are the bits
/// of what an event lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    by_stage: [Vec<From>; Stage::ALL.len()],
}

impl Watched {
    /// The fields that these features read at these stages.
    #[must_use]
    pub fn of(features: &[Feature], stages: Stages) -> Self {
        let mut out = Self::default();
        for stage in Stage::ALL.into_iter().filter(|s| stages.contains(*s)) {
            let fields = &mut out.by_stage[stage as usize];
            for feature in features.iter().filter(|f| f.stages.contains(stage)) {
                for from in [Some(feature.from), feature.stratify.map(From::Text)].into_iter().flatten() {
                    if path(from).is_some() && !fields.contains(&from) && fields.len() < MAX_FIELDS {
                        fields.push(from);
                    }
                }
            }
        }
        out
    }

    /// The fields that are looked for at a stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> &[From] {
        &self.by_stage[stage as usize]
    }

    /// What to call a field of a group of events: `generate quality.aesthetic`; of events that
    /// carry an error `failed generate quality.aesthetic`.
    #[must_use]
    pub fn name(&self, group: u8, field: u8) -> Option<String> {
        let stage = *Stage::ALL.get(usize::from(group / 2))?;
        let path = path(*self.at(stage).get(usize::from(field))?)?;
        let failed = if group % 2 == 1 { "failed " } else { "" };
        Some(format!("{failed}{} {path}", stage.name()))
    }

    /// The list as text: part of the definition, since the bits mean nothing without it.
    fn definition(&self) -> String {
        let at = |stage: &Stage| {
            let paths: Vec<_> = self.at(*stage).iter().filter_map(|f| path(*f)).collect();
            format!("{}:{}", stage.name(), paths.join("+"))
        };
        Stage::ALL.iter().map(at).collect::<Vec<_>>().join(";")
    }
}

/// The group in which an event is compared: its stage, and whether it failed. A failed request has
/// no image and so lacks what is said of images; more failures must not read as missing fields.
#[must_use]
pub fn group(stage: Stage, failed: bool) -> u8 {
    2 * stage as u8 + u8::from(failed)
}

/// Whether a field says something about an error, and so is looked for only where there is one.
#[must_use]
pub fn is_of_errors(from: From) -> bool {
    matches!(from, From::Text(Text::ErrorCode) | From::Flag(Flag::Retriable))
}

/// The dotted path of what an event can lack; `None` for what is no field of its own.
fn path(from: From) -> Option<&'static str> {
    match from {
        From::Tokens => Some("prompt.text"),
        From::Loras => Some("model.loras"),
        From::Num(f) => Some(f.path()),
        From::Flag(f) => Some(f.path()),
        From::Text(f) => Some(f.path()),
        From::Event | From::Failed | From::Missing | From::Embedding | From::Content | From::Style => None,
    }
}

/// Tells each feature of this kind what to look for, once all features are known.
pub fn watch(features: &mut [Feature]) {
    for i in 0..features.len() {
        if features[i].kind == Kind::Missing {
            let watched = Watched::of(features, features[i].stages);
            // A definition that was completed before is completed anew.
            let own = features[i].definition.split("|fields:").next().unwrap_or_default().to_owned();
            features[i].definition = format!("{own}|fields:{}", watched.definition());
            features[i].watched = Some(watched.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::builtin;
    use super::*;
    use crate::event::Num;

    #[test]
    fn fields_are_listed_once_a_stage_and_nothing_that_is_no_field() {
        let features = builtin();
        let missing = features.iter().find(|f| f.name == MISSING).unwrap();
        let watched = missing.watched.as_ref().unwrap();
        let generate = watched.at(Stage::Generate);
        for from in [From::Tokens, From::Loras, From::Num(Num::Aesthetic), From::Text(Text::ModelVersion)] {
            assert_eq!(generate.iter().filter(|f| **f == from).count(), 1, "{from:?}");
        }
        assert!(!generate.iter().any(|f| matches!(f, From::Event | From::Failed | From::Missing)));
        assert!(!watched.at(Stage::Deliver).contains(&From::Tokens), "read from generate alone");
        assert!(watched.at(Stage::Deliver).contains(&From::Num(Num::Latency)));
        let place = generate.iter().position(|f| *f == From::Num(Num::Aesthetic)).unwrap() as u8;
        let name = |failed| watched.name(group(Stage::Generate, failed), place).unwrap();
        assert_eq!(name(false), "generate quality.aesthetic");
        assert_eq!(name(true), "failed generate quality.aesthetic");
        assert_eq!(watched.name(group(Stage::Generate, false), 63), None);
        assert_eq!(watched.name(200, 0), None);
    }

    #[test]
    fn the_definition_names_the_fields_and_is_completed_once() {
        let mut features = builtin();
        let of = |all: &[Feature]| all.iter().find(|f| f.name == MISSING).unwrap().definition.clone();
        let before = of(&features);
        let upscale = before.split(';').find(|s| s.starts_with("upscale:")).unwrap();
        assert!(upscale.contains("metrics.latency_ms") && !upscale.contains("prompt"), "{before}");
        watch(&mut features);
        assert_eq!(of(&features), before);
        features.retain(|f| f.name != "aesthetic");
        watch(&mut features);
        assert!(!of(&features).contains("quality.aesthetic"), "what nobody reads is not missed");
    }
}
