//! From a decoded event to what may be kept: tokens instead of text, hashes instead of ids, names,
//! values by feature.
//!
//! This is where privacy is decided. Whatever leaves this room may be written.

mod batch;
pub mod hash;
mod language;
mod names;
mod prompt;
pub mod reference;
mod shown;
pub mod vectors;

pub use batch::{Batch, Candidate, ImageSource, Row, Value};
pub use hash::{DEFAULT_KEY, IdHasher};
pub use prompt::{MAX_TEXT, TOKENIZER_NAME, token_of, token_text};
pub use shown::Shown;

use crate::config::features::{Feature, FeatureKind, FieldSource};
use crate::config::watched::{group, is_of_errors};
use crate::event::is_identity_free;
use crate::event::{Event, Id, NameField, NameFields, Num, Prompt, Text, text};
use crate::sketch::{OTHER, SketchId};
use names::{NameCache, NameForm, WrittenName};
use prompt::PromptReader;
use std::sync::Arc;
use vectors::VectorPlan;

/// What a name may be and how it is written; part of the ids of sketches that count names.
const NAMES: &str = "names-2";
/// LoRAs of one event that are told apart; further ones are `__other__` together.
const MAX_LORAS: usize = 64;

/// What enriching needs to know: features, dimensions and the hashing key.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The features, in the order of [`Batch::values`].
    pub features: Vec<Feature>,
    /// The segment dimensions, in the order of [`Batch::dimensions`].
    pub dimensions: Vec<Text>,
    /// The hashing key.
    pub hasher: IdHasher,
    /// Fields whose values are always written as their hash.
    pub hidden: NameFields,
    /// What vectors of images are made into; `None` where they are not looked at.
    pub vectors: Option<Arc<VectorPlan>>,
}

/// The field whose names a feature counts.
fn field_of(from: FieldSource) -> Option<NameField> {
    match from {
        FieldSource::Text(t) => Some(NameField::Text(t)),
        FieldSource::Loras => Some(NameField::Loras),
        _ => None,
    }
}

impl Plan {
    /// The id of a feature's sketches.
    #[must_use]
    pub fn sketch_id(&self, feature: &Feature) -> SketchId {
        let reader = match feature.from {
            FieldSource::Tokens => TOKENIZER_NAME,
            FieldSource::Text(Text::Language) => language::READER,
            _ => "",
        };
        let mut text = format!("1|{}|{reader}|{:016x}", feature.definition, self.hasher.key_id());
        if let Some(field) = field_of(feature.from) {
            let how = if self.hidden.contains(field) { "hashed" } else { "text" };
            text = format!("{text}|{NAMES}|{how}");
        }
        if let Some(made_by) = self.vectors.as_ref().and_then(|v| v.made_by(feature.from)) {
            text = format!("{text}|{made_by}");
        }
        SketchId(hash::short_hash(text.as_bytes()))
    }
}

/// Hashes of one event's ids, and what was read of its prompt.
#[derive(Debug, Default)]
pub struct Ids {
    /// Hash of the session, if the event names one.
    pub session: Option<u64>,
    /// Hash of the user, if the event names one.
    pub user: Option<u64>,
    /// Hash of the request id.
    pub request: u64,
    /// Tokens, length and language of a prompt that came as text.
    pub read: Option<Arc<prompt::PromptReading>>,
}

/// What is kept of one event for an archive.
#[derive(Debug, Default)]
pub struct Clean {
    /// Ids and prompt.
    pub ids: Ids,
    /// NameCache by [`Text`], as they are written.
    pub texts: [Option<Arc<str>>; Text::COUNT],
    /// LoRAs, as they are written.
    pub loras: Option<Vec<Arc<str>>>,
    /// Fields that held what is no name.
    pub refused: NameFields,
}

/// Turns events into rows of a [`Batch`]; one per thread, since it holds caches.
#[derive(Debug)]
pub struct Enricher {
    plan: Arc<Plan>,
    names: NameCache,
    /// Fields of the last event that held what is no name.
    refused: NameFields,
    other: Arc<str>,
    prompts: PromptReader,
}

impl Enricher {
    /// An enricher with empty caches.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let (names, refused, prompts) =
            (NameCache::default(), NameFields::default(), PromptReader::default());
        Self { plan, names, refused, other: Arc::from(OTHER), prompts }
    }

    /// What stands for a value of a field, and notes whether it is a name; `None` where there is
    /// nothing but space.
    fn name(&mut self, raw: &str, field: NameField, event: &Event<'_>) -> Option<Arc<str>> {
        let way = NameForm { archived: event.archived, hidden: self.plan.hidden.contains(field) };
        let WrittenName { text, refused } = self.names.get(raw, way, &self.plan.hasher);
        if refused {
            self.refused.insert(field);
        }
        text
    }

    /// A text of an event as it is written; the language, where the event doesn't say it, as it was
    /// read of the prompt.
    fn text(&mut self, field: Text, event: &Event<'_>, ids: &Ids) -> Option<Arc<str>> {
        let read = || ids.read.as_ref().filter(|_| field == Text::Language).map(|r| r.language);
        let raw = event.texts[field as usize].as_deref().or_else(read)?;
        self.name(raw, NameField::Text(field), event)
    }

    /// The fields that held what is no name in the event that was pushed last: their hashes stand
    /// for them.
    #[must_use]
    pub fn refused(&self) -> NameFields {
        self.refused
    }

    /// What an archive keeps of an event: as [`Enricher::push`] would read it, whether or not a
    /// feature or a segment does.
    pub fn clean(&mut self, event: &Event<'_>) -> Clean {
        self.refused = NameFields::default();
        let mut out = Clean { ids: self.ids(event), ..Clean::default() };
        for (&field, slot) in Text::ALL.iter().zip(&mut out.texts) {
            if !event.opt_out || is_identity_free(field) {
                *slot = self.text(field, event, &out.ids);
            }
        }
        if let Some(loras) = event.loras.as_ref().filter(|_| !event.opt_out) {
            let names = loras.iter().filter_map(|l| self.name(l, NameField::Loras, event));
            out.loras = Some(names.collect());
        }
        out.refused = self.refused;
        out
    }

    /// Hashes the ids and reads the prompt. Of an event whose user opted out neither session nor
    /// user nor prompt is even read.
    fn ids(&mut self, event: &Event<'_>) -> Ids {
        let h = &self.plan.hasher;
        let hash = |id: &Id<'_>, f: &dyn Fn(&str) -> u64| match id {
            _ if event.opt_out => None,
            Id::Missing => None,
            Id::Raw(s) => Some(f(s)),
            Id::Hashed(v) => Some(*v),
        };
        Ids {
            session: hash(&event.session, &|s| h.session(s)),
            user: hash(&event.user, &|s| h.user(s)),
            request: event.request_hash.unwrap_or_else(|| h.request(&event.request_id)),
            read: match &event.prompt {
                Prompt::Text(t) if !event.opt_out => Some(self.prompts.read(t)),
                _ => None,
            },
        }
    }

    /// Appends an event to a batch.
    pub fn push(&mut self, event: &Event<'_>, out: &mut Batch) {
        self.refused = NameFields::default();
        let ids = self.ids(event);
        let plan = Arc::clone(&self.plan);
        let start = out.ids.len() as u32;
        out.ids.push_str(&text::admit_request_id(&event.request_id, ids.request));
        out.rows.push(Row {
            time_us: event.time_us,
            stage: event.stage,
            session: ids.session.unwrap_or(ids.request),
            user: ids.user,
            request: ids.request,
            request_id: start..out.ids.len() as u32,
            opt_out: event.opt_out,
        });
        for &d in &plan.dimensions {
            let told = !event.opt_out || is_identity_free(d);
            out.dimensions.push(if told { self.text(d, event, &ids) } else { None });
        }
        let mut tokens = None;
        for f in &plan.features {
            let reads = f.stages.contains(event.stage) && (!event.opt_out || f.kind == FeatureKind::Volume);
            let v = match &f.watched {
                _ if !reads => Value::Missing,
                Some(watched) => lacking(watched.at(event.stage), event, &ids),
                None => self.value(event, &ids, f.from, &mut tokens, out),
            };
            out.values.push(v);
        }
        if let Some(vectors) = plan.vectors.as_ref().filter(|_| !event.opt_out) {
            let row = out.rows.len() as u32 - 1;
            if let Some(source) = vectors.source(event, ids.request, &mut out.addresses) {
                let collection = self.text(Text::StyleCollection, event, &ids);
                out.candidates.push(Candidate { row, source, collection });
            }
        }
    }

    fn value(
        &mut self,
        event: &Event<'_>,
        ids: &Ids,
        from: FieldSource,
        tokens: &mut Option<std::ops::Range<u32>>,
        out: &mut Batch,
    ) -> Value {
        match from {
            FieldSource::Event => Value::Event,
            // Placed when the vector is there.
            FieldSource::Embedding | FieldSource::Content | FieldSource::Style => Value::Missing,
            // Told by the fields that are watched.
            FieldSource::Missing => Value::Missing,
            FieldSource::Failed => Value::Flag(event.failed),
            FieldSource::Flag(f) => event.flags[f as usize].map_or(Value::Missing, Value::Flag),
            FieldSource::Num(Num::PromptLength) if event.nums[Num::PromptLength as usize].is_nan() => {
                ids.read.as_ref().map_or(Value::Missing, |r| Value::Num(f64::from(r.length)))
            }
            FieldSource::Num(f) => {
                let v = event.nums[f as usize];
                if v.is_nan() { Value::Missing } else { Value::Num(v) }
            }
            FieldSource::Text(f) => self.text(f, event, ids).map_or(Value::Missing, Value::Text),
            FieldSource::Loras => match &event.loras {
                None => Value::Missing,
                Some(loras) => {
                    let start = out.names.len() as u32;
                    for l in loras {
                        let Some(name) = self.name(l, NameField::Loras, event) else { continue };
                        let mine = &out.names[start as usize..];
                        if mine.contains(&name) {
                            continue;
                        }
                        if mine.len() >= MAX_LORAS {
                            out.names.push(Arc::clone(&self.other));
                            break;
                        }
                        out.names.push(name);
                    }
                    Value::Names(start..out.names.len() as u32)
                }
            },
            FieldSource::Tokens => {
                let range = tokens.get_or_insert_with(|| {
                    let start = out.tokens.len() as u32;
                    match (&ids.read, &event.prompt) {
                        (Some(r), _) => out.tokens.extend_from_slice(&r.tokens),
                        (None, Prompt::Tokens(t)) => out.tokens.extend_from_slice(t),
                        _ => {}
                    }
                    start..out.tokens.len() as u32
                });
                if range.start == range.end { Value::Missing } else { Value::Tokens(range.clone()) }
            }
        }
    }
}

/// Which of these fields an event lacks: those that [`Enricher::value`] finds missing. A prompt is
/// there when it came as text or as tokens, however short it is; what a prompt's text tells is
/// there with it.
fn lacking(watched: &[FieldSource], event: &Event<'_>, ids: &Ids) -> Value {
    let lacks = |from: FieldSource| match from {
        _ if is_of_errors(from) && !event.failed => false,
        FieldSource::Tokens => event.prompt == Prompt::Missing,
        FieldSource::Loras => event.loras.is_none(),
        FieldSource::Num(f) => {
            event.nums[f as usize].is_nan() && !(f == Num::PromptLength && ids.read.is_some())
        }
        FieldSource::Flag(f) => event.flags[f as usize].is_none(),
        // Nothing but space is no name.
        FieldSource::Text(f) => match &event.texts[f as usize] {
            Some(text) => text.trim().is_empty(),
            None => !(f == Text::Language && ids.read.is_some()),
        },
        FieldSource::Event
        | FieldSource::Failed
        | FieldSource::Missing
        | FieldSource::Embedding
        | FieldSource::Content
        | FieldSource::Style => false,
    };
    let fields = watched.iter().enumerate().fold(0, |mask, (i, from)| mask | u64::from(lacks(*from)) << i);
    Value::Lacking { group: group(event.stage, event.failed), fields }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::features::builtin;

    fn id(name: &str, hidden: &[NameField]) -> SketchId {
        let hidden = hidden.iter().copied().collect();
        let features: Vec<Feature> = builtin();
        let feature = features.iter().find(|f| f.name == name).unwrap().clone();
        Plan { features, dimensions: Vec::new(), hasher: IdHasher::new("k"), hidden, vectors: None }
            .sketch_id(&feature)
    }

    /// What the id was while one word stood for all names that were not admitted.
    fn before(name: &str) -> SketchId {
        let feature = builtin().into_iter().find(|f| f.name == name).unwrap();
        let reader = match feature.from {
            FieldSource::Tokens => TOKENIZER_NAME,
            FieldSource::Text(Text::Language) => language::READER,
            _ => "",
        };
        let key = IdHasher::new("k").key_id();
        SketchId(hash::short_hash(format!("1|{}|{reader}|{key:016x}", feature.definition).as_bytes()))
    }

    #[test]
    fn what_counts_names_starts_afresh_and_nothing_else_does() {
        for name in ["sampler", "loras", "style_collection", "language", "error_code"] {
            assert_ne!(id(name, &[]), before(name), "{name}");
        }
        for name in ["volume", "prompt_tokens", "latency_ms", "nsfw", "prompt_length"] {
            assert_eq!(id(name, &[]), before(name), "{name}");
        }
    }

    #[test]
    fn hashing_a_field_is_another_definition_of_the_features_that_read_it() {
        let hidden = [NameField::Text(Text::Sampler), NameField::Loras];
        for (name, changes) in
            [("sampler", true), ("loras", true), ("language", false), ("latency_ms", false)]
        {
            assert_eq!(id(name, &hidden) != id(name, &[]), changes, "{name}");
        }
    }
}
