//! What the feature `missing` looks for: the fields that the other features read, stage by stage.

use super::kinds::FieldSource;
use crate::event::{Flag, Stage, Text};

/// Fields of a stage: as many as a mask has bits, and more than an event has.
const MAX_FIELDS: usize = u64::BITS as usize;

/// The name of the built-in feature.
pub const MISSING: &str = "missing";

/// The fields that are looked for at each stage, in a fixed order. Their places in it are the bits
/// of what an event lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    by_stage: [Vec<FieldSource>; Stage::ALL.len()],
}

impl Watched {
    /// Adds a field to those of a stage, unless it is there, is no field of its own, or there is no
    /// bit left for it.
    pub fn add(&mut self, stage: Stage, field: FieldSource) {
        let fields = &mut self.by_stage[stage as usize];
        if path(field).is_some() && !fields.contains(&field) && fields.len() < MAX_FIELDS {
            fields.push(field);
        }
    }

    /// The fields that are looked for at a stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> &[FieldSource] {
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

    /// The list as text: part of the feature's definition, since the bits mean nothing without it.
    #[must_use]
    pub fn definition(&self) -> String {
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
pub fn is_of_errors(from: FieldSource) -> bool {
    matches!(from, FieldSource::Text(Text::ErrorCode) | FieldSource::Flag(Flag::Retriable))
}

/// The dotted path of what an event can lack; `None` for what is no field of its own.
fn path(from: FieldSource) -> Option<&'static str> {
    match from {
        FieldSource::Tokens => Some("prompt.text"),
        FieldSource::Loras => Some("model.loras"),
        FieldSource::Num(f) => Some(f.path()),
        FieldSource::Flag(f) => Some(f.path()),
        FieldSource::Text(f) => Some(f.path()),
        FieldSource::Event
        | FieldSource::Failed
        | FieldSource::Missing
        | FieldSource::Embedding
        | FieldSource::Content
        | FieldSource::Style => None,
    }
}
