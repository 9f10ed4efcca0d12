//! A segment's few events, value by value. Traffic is sparse in most segments: a sketch of one
//! event takes ten times the memory of the event, and adding an event to a sum takes a fraction of
//! the time of merging its sketch.
//!
//! What is kept of an event is what its sketches would keep: names, numbers, tokens in ascending
//! order, hashes of session and request, and six bits of the user's hash. A sum of them equals, to
//! the bit, the sum of their sketches.

use super::packed::PackedError;
use super::sketch_set::{SketchSet, empty};
use crate::config::features::{Feature, FeatureKind, clipped, counted, scaled};
use crate::enrich::{Batch, Value};
use crate::event::Bounds;
use crate::sketch::codec::{DecodeError, Reader, Writer};
use crate::sketch::{Body, MAX_GROUPS, SketchId, UnlikeSketches, session_bucket};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// Up to this many events of a segment are kept one by one.
const FEW: u32 = 8;

/// The user's bits of an event that names none.
const NO_USER: u8 = 64;

/// The part of a feature's definition that adding a value needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The feature's kind.
    pub kind: FeatureKind,
    /// The id of its sketches.
    pub id: SketchId,
    /// `Some(c)`: tested as ln(x + c).
    pub log: Option<f64>,
    /// The bounds at which its mean clips numbers.
    pub clip: Option<Bounds>,
    /// Its quantiles are kept by session bucket.
    pub by_session: bool,
}

impl Definition {
    /// The definition of a feature whose sketches have this id.
    #[must_use]
    pub fn new(feature: &Feature, id: SketchId) -> Self {
        let by_session = feature.by_session();
        Self { kind: feature.kind, id, log: feature.log, clip: feature.clip, by_session }
    }
}

/// A job's definitions, by feature index.
pub type Definitions = Arc<[Definition]>;

/// Events as values.
#[derive(Debug, Clone)]
pub struct Events {
    definitions: Definitions,
    count: u32,
    buckets: u32,
    /// Names of the events' longest lists: no category has more values.
    names: u32,
    bytes: Vec<u8>,
}

impl PartialEq for Events {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.is_like(other)
    }
}

/// What an event says besides its values.
struct EventHead<'a> {
    session: u64,
    bucket: u8,
    user: Option<u64>,
    request: (u64, &'a str),
    values: u64,
}

impl Events {
    /// No events yet.
    #[must_use]
    pub fn new(definitions: Definitions) -> Self {
        Self { definitions, count: 0, buckets: 0, names: 0, bytes: Vec::new() }
    }

    /// Reads what [`Events::bytes`] has written.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn read(bytes: &[u8], definitions: Definitions) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let (mut count, mut buckets, mut names) = (0u32, 0, 0u32);
        let mut scratch = Scratch::default();
        while r.end().is_err() {
            let head = head(&mut r)?;
            let mut longest = 0;
            for _ in 0..head.values {
                if let (_, _, ValueRead::Names(list)) = scratch.value(&mut r, &definitions)? {
                    longest = longest.max(list.len());
                }
            }
            names = names.saturating_add(u32::try_from(longest).unwrap_or(u32::MAX));
            count = count.saturating_add(1);
            buckets |= u32::from(head.values > 0) << head.bucket;
        }
        Ok(Self { definitions, count, buckets, names, bytes: bytes.to_vec() })
    }

    /// The events as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that they take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Which session buckets any event filled, as a bitmap.
    #[must_use]
    pub fn filled_buckets(&self) -> u32 {
        self.buckets
    }

    /// How many values a category of theirs has at most.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names as usize
    }

    /// Bit `hash(user) mod 64` of every user whose event carries a feature.
    ///
    /// # Errors
    /// When the bytes are damaged, which [`Events::read`] rules out.
    pub fn users(&self, feature: usize) -> Result<u64, DecodeError> {
        let mut r = Reader::new(&self.bytes);
        let (mut scratch, mut users) = (Scratch::default(), 0);
        for _ in 0..self.count {
            let head = head(&mut r)?;
            for _ in 0..head.values {
                if scratch.value(&mut r, &self.definitions)?.0 == feature {
                    users |= head.user.map_or(0, |u| 1u64 << u);
                }
            }
        }
        Ok(users)
    }

    /// Whether both were made by the same definitions.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.definitions, &other.definitions) || self.definitions == other.definitions
    }

    /// Whether so many more events may be kept here.
    #[must_use]
    pub fn has_room_for(&self, more: u32) -> bool {
        self.count.saturating_add(more) <= FEW
    }

    /// Whether row `i` of a batch can be kept as values. One with a vector is not: a vector is
    /// large, and its sums take no more memory than itself.
    #[must_use]
    pub fn takes(&self, batch: &Batch, i: usize) -> bool {
        let features = self.definitions.len();
        let values = &batch.values[i * features..(i + 1) * features];
        batch.vectors == 0 || !values.iter().any(|v| matches!(v, Value::Vector(_)))
    }

    /// Adds row `i` of a batch.
    pub fn push(&mut self, batch: &Batch, i: usize) {
        let row = &batch.rows[i];
        let values = &batch.values[i * self.definitions.len()..(i + 1) * self.definitions.len()];
        let present = || {
            let all = self.definitions.iter().zip(values).enumerate();
            all.filter(|(_, (d, v))| fits(d.kind, v))
        };
        let mut w = Writer { bytes: std::mem::take(&mut self.bytes), ..Writer::default() };
        w.hash(row.session);
        w.u8(row.user.map_or(NO_USER, |u| (u & 63) as u8));
        // As in sketches: only the requests that may become examples are named.
        let named =
            present().any(|(_, (_, v))| matches!(v, Value::Flag(true) | Value::Event)) && !row.opt_out;
        w.hash(if named { row.request } else { 0 });
        w.text(if named { &batch.ids[Batch::range(&row.request_id)] } else { "" });
        let n = present().count();
        w.uint(n as u64);
        let mut sorted: SmallVec<[u16; 64]> = SmallVec::new();
        let mut longest = 0;
        for (feature, (_, value)) in present() {
            w.uint(feature as u64);
            match value {
                Value::Num(x) => w.hash(x.to_bits()),
                Value::Flag(holds) => w.u8(u8::from(*holds)),
                Value::Event => w.u8(if row.opt_out { COUNTED } else { NAMED }),
                Value::Text(v) => {
                    longest = longest.max(1);
                    w.uint(1);
                    w.text(v);
                }
                Value::Names(r) => {
                    let names = &batch.names[Batch::range(r)];
                    longest = longest.max(names.len());
                    w.uint(names.len() as u64);
                    names.iter().for_each(|v| w.text(v));
                }
                Value::Tokens(r) => {
                    // In order they would be the prompt.
                    sorted.clear();
                    sorted.extend_from_slice(&batch.tokens[Batch::range(r)]);
                    sorted.sort_unstable();
                    w.uint(sorted.len() as u64);
                    sorted.iter().for_each(|t| w.uint(u64::from(*t)));
                }
                Value::Lacking { group, fields } => {
                    w.u8(*group);
                    w.uint(*fields);
                }
                Value::Missing | Value::Vector(_) => {}
            }
        }
        self.bytes = w.bytes;
        self.count += 1;
        self.names = self.names.saturating_add(u32::try_from(longest).unwrap_or(u32::MAX));
        self.buckets |= u32::from(n > 0) << session_bucket(row.session);
    }

    /// Adds others of the same definitions.
    pub fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
        self.names = self.names.saturating_add(other.names);
        self.buckets |= other.buckets;
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Adds the wanted features of all events to a sum.
    ///
    /// # Errors
    /// When the sum's sketches were made by another definition.
    pub fn add_to(&self, sum: &mut SketchSet, wanted: &impl Fn(usize) -> bool) -> Result<(), PackedError> {
        if sum.sketches.len() < self.definitions.len() {
            sum.sketches.resize_with(self.definitions.len(), || None);
        }
        let mut r = Reader::new(&self.bytes);
        let mut scratch = Scratch::default();
        for _ in 0..self.count {
            let head = head(&mut r)?;
            for _ in 0..head.values {
                let (feature, definition, value) = scratch.value(&mut r, &self.definitions)?;
                if !wanted(feature) {
                    continue;
                }
                let new = || Box::new(empty(definition.kind, definition.id));
                let sketch = sum.sketches[feature].get_or_insert_with(new);
                if sketch.id != definition.id {
                    return Err(UnlikeSketches::Definition { left: sketch.id, right: definition.id }.into());
                }
                add(&mut sketch.body, definition, &value, &head);
            }
        }
        Ok(())
    }

    /// Their sketches.
    ///
    /// # Errors
    /// When the bytes are damaged, which [`Events::read`] rules out.
    pub fn contents(&self, wanted: impl Fn(usize) -> bool) -> Result<SketchSet, PackedError> {
        let mut out = SketchSet::default();
        self.add_to(&mut out, &wanted)?;
        Ok(out)
    }
}

/// Flags of the volume in addition to yes and no: an event that names its request, and one that
/// does not because its user opted out.
const NAMED: u8 = 2;
const COUNTED: u8 = 3;

fn fits(kind: FeatureKind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (FeatureKind::Tokens, Value::Tokens(_))
            | (FeatureKind::Categorical, Value::Text(_) | Value::Names(_))
            | (FeatureKind::Numeric | FeatureKind::Tail, Value::Num(_))
            | (FeatureKind::Rate | FeatureKind::Volume, Value::Flag(_) | Value::Event)
            | (FeatureKind::Missing, Value::Lacking { .. })
    )
}

fn head<'a>(r: &mut Reader<'a>) -> Result<EventHead<'a>, DecodeError> {
    let session = r.hash()?;
    let user = match r.u8()? {
        NO_USER => None,
        bits if bits < NO_USER => Some(u64::from(bits)),
        _ => return r.impossible("user"),
    };
    let request = (r.hash()?, r.text()?);
    Ok(EventHead { session, bucket: session_bucket(session), user, request, values: r.length()? as u64 })
}

/// A value read back.
enum ValueRead<'s, 'a> {
    Num(f64),
    Flag(u8),
    Names(&'s [&'a str]),
    Tokens(&'s [u16]),
    Lacking(u8, u64),
}

/// Lists that are read into again and again.
#[derive(Default)]
struct Scratch<'a> {
    names: SmallVec<[&'a str; 4]>,
    tokens: SmallVec<[u16; 64]>,
}

impl<'a> Scratch<'a> {
    fn value<'s, 'd>(
        &'s mut self,
        r: &mut Reader<'a>,
        definitions: &'d [Definition],
    ) -> Result<(usize, &'d Definition, ValueRead<'s, 'a>), DecodeError> {
        let feature = usize::try_from(r.uint()?).unwrap_or(usize::MAX);
        let Some(definition) = definitions.get(feature) else { return r.impossible("feature") };
        let value = match definition.kind {
            FeatureKind::Numeric | FeatureKind::Tail => {
                let x = f64::from_bits(r.hash()?);
                if !x.is_finite() {
                    return r.impossible("number");
                }
                ValueRead::Num(x)
            }
            FeatureKind::Rate | FeatureKind::Volume => match r.u8()? {
                flag @ 0..=COUNTED => ValueRead::Flag(flag),
                _ => return r.impossible("flag"),
            },
            FeatureKind::Categorical => {
                self.names.clear();
                for _ in 0..r.length()? {
                    self.names.push(r.text()?);
                }
                ValueRead::Names(&self.names)
            }
            FeatureKind::Tokens => {
                self.tokens.clear();
                for _ in 0..r.length()? {
                    match u16::try_from(r.uint()?) {
                        Ok(t) => self.tokens.push(t),
                        Err(_) => return r.impossible("token"),
                    }
                }
                ValueRead::Tokens(&self.tokens)
            }
            FeatureKind::Missing => match r.u8()? {
                group @ 0..MAX_GROUPS => ValueRead::Lacking(group, r.uint()?),
                _ => return r.impossible("group"),
            },
            FeatureKind::Embedding => return r.impossible("vector"),
        };
        Ok((feature, definition, value))
    }
}

fn add(body: &mut Body, definition: &Definition, value: &ValueRead<'_, '_>, head: &EventHead<'_>) {
    let (bucket, session) = (head.bucket, head.session);
    match (body, value) {
        (Body::Numeric(s), ValueRead::Num(x)) => {
            let x = counted(definition.kind, *x);
            let mean = clipped(definition.clip, x);
            s.add(x, mean, scaled(definition.log, mean), bucket, session, definition.by_session);
        }
        (Body::Rate(s), ValueRead::Flag(NAMED)) => s.count(bucket, session, Some(head.request), head.user),
        (Body::Rate(s), ValueRead::Flag(COUNTED)) => s.count(bucket, session, None, head.user),
        (Body::Rate(s), ValueRead::Flag(holds)) => s.add(*holds == 1, bucket, session, head.request),
        (Body::Category(s), ValueRead::Names(names)) => {
            s.add_names(names.iter().copied(), bucket, session, head.user);
        }
        (Body::Tokens(s), ValueRead::Tokens(tokens)) => s.add(tokens, bucket, session, head.user),
        (Body::Missing(s), ValueRead::Lacking(group, fields)) => s.add(*group, *fields, bucket, session),
        _ => debug_assert!(false, "a value that does not fit its feature"),
    }
}
