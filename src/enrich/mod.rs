//! From a decoded event to what may be kept: tokens instead of text, hashes instead of ids, admitted names, values by feature.
//!
//! This is where privacy is decided. Whatever leaves this room may be written.

mod batch;
pub mod hash;
mod language;
mod prompt;
pub mod reference;
pub mod vectors;

pub use batch::{Batch, Candidate, Row, Source, Value};
pub use hash::{DEFAULT_KEY, IdHasher};
pub use prompt::{MAX_TEXT, TOKENIZER_NAME, token_of, token_text};

use crate::config::features::{Feature, From, Kind};
use crate::config::watched::{group, is_of_errors};
use crate::event::archive::is_identity_free;
use crate::event::{Event, Id, Num, Prompt, Text, text};
use crate::sketch::{OTHER, SketchId};
use prompt::PromptReader;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use vectors::VectorPlan;

/// Names kept interned per thread; past that the table starts anew.
const MAX_NAMES: usize = 1 << 16;
/// LoRAs of one event that are told apart; further ones are `__other__` together.
const MAX_LORAS: usize = 64;

/// Names as shared strings: each raw value is admitted or refused once.
#[derive(Debug, Default)]
struct Names {
    table: FxHashMap<Box<str>, Arc<str>>,
}

impl Names {
    fn get(&mut self, raw: &str) -> Arc<str> {
        if let Some(n) = self.table.get(raw) {
            return Arc::clone(n);
        }
        let name: Arc<str> = Arc::from(text::admit(raw));
        if raw.len() <= text::MAX_VALUE {
            if self.table.len() >= MAX_NAMES {
                self.table.clear();
            }
            self.table.insert(raw.into(), Arc::clone(&name));
        }
        name
    }
}

/// What enriching needs to know: features, dimensions and the hashing key.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The features, in the order of [`Batch::values`].
    pub features: Vec<Feature>,
    /// The segment dimensions, in the order of [`Batch::dimensions`].
    pub dimensions: Vec<Text>,
    /// The hashing key.
    pub hasher: IdHasher,
    /// What vectors of images are made into; `None` where they are not looked at.
    pub vectors: Option<Arc<VectorPlan>>,
}

impl Plan {
    /// The id of a feature's sketches.
    #[must_use]
    pub fn sketch_id(&self, feature: &Feature) -> SketchId {
        let reader = match feature.from {
            From::Tokens => TOKENIZER_NAME,
            From::Text(Text::Language) => language::READER,
            _ => "",
        };
        let mut text = format!("1|{}|{reader}|{:016x}", feature.definition, self.hasher.key_id());
        if let Some(made_by) = self.vectors.as_ref().and_then(|v| v.made_by(feature.from)) {
            text = format!("{text}|{made_by}");
        }
        SketchId(hash::short_hash(text.as_bytes()))
    }
}

/// What is kept of one event for an archive.
#[derive(Debug)]
pub struct Clean {
    /// Hash of the session, if the event names one.
    pub session: Option<u64>,
    /// Hash of the user, if the event names one.
    pub user: Option<u64>,
    /// Hash of the request id.
    pub request: u64,
    /// Tokens, length and language of a prompt that came as text.
    pub read: Option<Arc<prompt::Read>>,
}

/// Turns events into rows of a [`Batch`]; one per thread, since it holds caches.
#[derive(Debug)]
pub struct Enricher {
    plan: Arc<Plan>,
    names: Names,
    prompts: PromptReader,
}

impl Enricher {
    /// An enricher with empty caches.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, names: Names::default(), prompts: PromptReader::default() }
    }

    /// The admitted form of a name.
    pub fn name(&mut self, raw: &str) -> Arc<str> {
        self.names.get(raw)
    }

    /// Hashes the ids and reads the prompt. Of an event whose user opted out neither session nor user nor prompt is even read.
    pub fn clean(&mut self, event: &Event<'_>) -> Clean {
        let h = &self.plan.hasher;
        let hash = |id: &Id<'_>, f: &dyn Fn(&str) -> u64| match id {
            _ if event.opt_out => None,
            Id::Missing => None,
            Id::Raw(s) => Some(f(s)),
            Id::Hashed(v) => Some(*v),
        };
        Clean {
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
        let clean = self.clean(event);
        let plan = Arc::clone(&self.plan);
        let start = out.ids.len() as u32;
        out.ids.push_str(&text::admit_request_id(&event.request_id, clean.request));
        out.rows.push(Row {
            time_us: event.time_us,
            stage: event.stage,
            session: clean.session.unwrap_or(clean.request),
            user: clean.user,
            request: clean.request,
            request_id: start..out.ids.len() as u32,
            opt_out: event.opt_out,
        });
        for &d in &plan.dimensions {
            let mut v = event.texts[d as usize].as_deref();
            if d == Text::Language && v.is_none() {
                v = clean.read.as_ref().map(|r| r.language);
            }
            let told = !event.opt_out || is_identity_free(d);
            out.dimensions.push(v.filter(|_| told).map(|v| self.names.get(v)));
        }
        let mut tokens = None;
        for f in &plan.features {
            let reads = f.stages.contains(event.stage) && (!event.opt_out || f.kind == Kind::Volume);
            let v = match &f.watched {
                _ if !reads => Value::Missing,
                Some(watched) => lacking(watched.at(event.stage), event, &clean),
                None => self.value(event, &clean, f.from, &mut tokens, out),
            };
            out.values.push(v);
        }
        if let Some(vectors) = plan.vectors.as_ref().filter(|_| !event.opt_out) {
            let row = out.rows.len() as u32 - 1;
            if let Some(source) = vectors.source(event, clean.request, &mut out.addresses) {
                let collection = event.texts[Text::StyleCollection as usize].as_deref();
                let collection = collection.map(|c| self.names.get(c));
                out.candidates.push(Candidate { row, source, collection });
            }
        }
    }

    fn value(
        &mut self,
        event: &Event<'_>,
        clean: &Clean,
        from: From,
        tokens: &mut Option<std::ops::Range<u32>>,
        out: &mut Batch,
    ) -> Value {
        match from {
            From::Event => Value::Event,
            // Placed when the vector is there.
            From::Embedding | From::Content | From::Style => Value::Missing,
            // Told by the fields that are watched.
            From::Missing => Value::Missing,
            From::Failed => Value::Flag(event.failed),
            From::Flag(f) => event.flags[f as usize].map_or(Value::Missing, Value::Flag),
            From::Num(Num::PromptLength) if event.nums[Num::PromptLength as usize].is_nan() => {
                clean.read.as_ref().map_or(Value::Missing, |r| Value::Num(f64::from(r.length)))
            }
            From::Num(f) => {
                let v = event.nums[f as usize];
                if v.is_nan() { Value::Missing } else { Value::Num(v) }
            }
            From::Text(Text::Language) if event.texts[Text::Language as usize].is_none() => {
                clean.read.as_ref().map_or(Value::Missing, |r| Value::Text(self.names.get(r.language)))
            }
            From::Text(f) => {
                event.texts[f as usize].as_deref().map_or(Value::Missing, |v| Value::Text(self.names.get(v)))
            }
            From::Loras => match &event.loras {
                None => Value::Missing,
                Some(loras) => {
                    let start = out.names.len() as u32;
                    for l in loras {
                        let mut name = self.names.get(l);
                        let mine = &out.names[start as usize..];
                        if mine.contains(&name) {
                            continue;
                        }
                        if mine.len() >= MAX_LORAS {
                            name = self.names.get(OTHER);
                            out.names.push(name);
                            break;
                        }
                        out.names.push(name);
                    }
                    Value::Names(start..out.names.len() as u32)
                }
            },
            From::Tokens => {
                let range = tokens.get_or_insert_with(|| {
                    let start = out.tokens.len() as u32;
                    match (&clean.read, &event.prompt) {
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
fn lacking(watched: &[From], event: &Event<'_>, clean: &Clean) -> Value {
    let lacks = |from: From| match from {
        _ if is_of_errors(from) && !event.failed => false,
        From::Tokens => event.prompt == Prompt::Missing,
        From::Loras => event.loras.is_none(),
        From::Num(f) => event.nums[f as usize].is_nan() && !(f == Num::PromptLength && clean.read.is_some()),
        From::Flag(f) => event.flags[f as usize].is_none(),
        From::Text(f) => event.texts[f as usize].is_none() && !(f == Text::Language && clean.read.is_some()),
        From::Event | From::Failed | From::Missing | From::Embedding | From::Content | From::Style => false,
    };
    let fields = watched.iter().enumerate().fold(0, |mask, (i, from)| mask | u64::from(lacks(*from)) << i);
    Value::Lacking { group: group(event.stage, event.failed), fields }
}
