//! The shapes serde reads: every field optional and forgiving, so that one mistyped field costs that field and not the event.

use serde::Deserialize;
use serde::de::{
    Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A field that may be absent (or null) or of the wrong type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opt<T> {
    /// Absent or null.
    #[default]
    Missing,
    /// There, but of another type.
    Mistyped,
    /// There.
    Value(T),
}

/// What one JSON value can become; each method is asked for the JSON type that it names.
pub trait FromJson<'de>: Sized {
    /// From `true` or `false`.
    fn bool(_: bool) -> Option<Self> {
        None
    }
    /// From a number with a fraction or exponent.
    fn float(_: f64) -> Option<Self> {
        None
    }
    /// From a whole number.
    fn int(_: i128) -> Option<Self> {
        None
    }
    /// From a string with escapes.
    fn str(_: &str) -> Option<Self> {
        None
    }
    /// From a string without escapes, borrowed from the message.
    fn borrowed(s: &'de str) -> Option<Self> {
        Self::str(s)
    }
    /// From an array; must read it to its end.
    fn seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl FromJson<'_> for f64 {
    fn float(v: f64) -> Option<Self> {
        v.is_finite().then_some(v)
    }
    fn int(v: i128) -> Option<Self> {
        Some(v as Self)
    }
}

impl FromJson<'_> for bool {
    fn bool(v: bool) -> Option<Self> {
        Some(v)
    }
}

impl<'de> FromJson<'de> for Cow<'de, str> {
    fn str(s: &str) -> Option<Self> {
        Some(Cow::Owned(s.to_owned()))
    }
    fn borrowed(s: &'de str) -> Option<Self> {
        Some(Cow::Borrowed(s))
    }
}

/// A seed: any 64-bit integer; an unsigned one above 2⁶³ keeps its bits.
#[derive(Debug, Clone, Copy)]
pub struct Seed(pub i64);

impl FromJson<'_> for Seed {
    fn int(v: i128) -> Option<Self> {
        i64::try_from(v).ok().or_else(|| u64::try_from(v).ok().map(|v| v as i64)).map(Self)
    }
}

/// A token id.
#[derive(Debug, Clone, Copy)]
struct TokenId(u16);

impl FromJson<'_> for TokenId {
    fn int(v: i128) -> Option<Self> {
        u16::try_from(v).ok().filter(|v| *v < VOCABULARY).map(Self)
    }
}

/// CLIP token ids, each below 49,408.
#[derive(Debug, Clone)]
pub struct TokenIds(pub Vec<u16>);

/// Size of CLIP's vocabulary.
pub const VOCABULARY: u16 = 49_408;

impl<'de> FromJson<'de> for TokenIds {
    fn seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut ids = Some(Vec::new());
        while let Some(v) = seq.next_element::<Opt<TokenId>>()? {
            ids = match (ids, v) {
                (Some(mut ids), Opt::Value(TokenId(v))) => {
                    ids.push(v);
                    Some(ids)
                }
                _ => None,
            };
        }
        Ok(ids.map(Self))
    }
}

/// A list of names.
#[derive(Debug, Clone)]
pub struct NameList<'a>(pub Vec<Cow<'a, str>>);

impl<'de> FromJson<'de> for NameList<'de> {
    fn seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut names = Some(Vec::new());
        while let Some(v) = seq.next_element::<Opt<Cow<'de, str>>>()? {
            names = match (names, v) {
                (Some(mut names), Opt::Value(v)) => {
                    names.push(v);
                    Some(names)
                }
                _ => None,
            };
        }
        Ok(names.map(Self))
    }
}

struct OptVisitor<T>(PhantomData<T>);

fn opt<T>(v: Option<T>) -> Opt<T> {
    v.map_or(Opt::Mistyped, Opt::Value)
}

impl<'de, T: FromJson<'de>> Visitor<'de> for OptVisitor<T> {
    type Value = Opt<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<Opt<T>, E> {
        Ok(opt(T::bool(v)))
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Opt<T>, E> {
        Ok(opt(T::int(i128::from(v))))
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Opt<T>, E> {
        Ok(opt(T::int(i128::from(v))))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Opt<T>, E> {
        Ok(opt(T::float(v)))
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Opt<T>, E> {
        Ok(opt(T::str(v)))
    }
    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Opt<T>, E> {
        Ok(opt(T::borrowed(v)))
    }
    fn visit_unit<E: Error>(self) -> Result<Opt<T>, E> {
        Ok(Opt::Missing)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Opt<T>, A::Error> {
        Ok(opt(T::seq(seq)?))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Opt<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Opt::Mistyped)
    }
}

impl<'de, T: FromJson<'de>> Deserialize<'de> for Opt<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(OptVisitor(PhantomData))
    }
}

/// A nested object.
#[derive(Debug)]
pub struct ObjectField<T>(pub Opt<T>);

impl<T> Default for ObjectField<T> {
    fn default() -> Self {
        Self(Opt::Missing)
    }
}

struct ObjectFieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectFieldVisitor<T> {
    type Value = ObjectField<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_unit<E: Error>(self) -> Result<ObjectField<T>, E> {
        Ok(ObjectField(Opt::Missing))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ObjectField<T>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ObjectField(Opt::Mistyped))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ObjectField<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|v| ObjectField(Opt::Value(v)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectField<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ObjectFieldVisitor(PhantomData))
    }
}

/// Declares a group of optional fields.
macro_rules! group {
    ($(#[$doc:meta])* $name:ident<$l:lifetime> { $($field:ident: $t:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a, 'a: 'de"))]
        pub struct $name<$l> {
            $(#[doc = concat!("`", stringify!($field), "`")] pub $field: $t,)+
            #[serde(skip)]
            #[doc(hidden)]
            pub _message: PhantomData<&$l ()>,
        }
    };
}

group! {
    /// The whole message.
    Raw<'a> {
        request_id: Opt<Cow<'a, str>>,
        timestamp: Opt<Cow<'a, str>>,
        pipeline_stage: Opt<Cow<'a, str>>,
        session_id: Opt<Cow<'a, str>>,
        user_id_hash: Opt<Cow<'a, str>>,
        region: Opt<Cow<'a, str>>,
        tenant: Opt<Cow<'a, str>>,
        traffic_source: Opt<Cow<'a, str>>,
        prompt: ObjectField<RawPrompt<'a>>,
        model: ObjectField<Model<'a>>,
        params: ObjectField<Params<'a>>,
        resources: ObjectField<Resources<'a>>,
        metrics: ObjectField<Metrics<'a>>,
        quality: ObjectField<Quality<'a>>,
        safety: ObjectField<Safety<'a>>,
        outcome: ObjectField<Outcome<'a>>,
        error: ObjectField<Failure<'a>>,
        style: ObjectField<Style<'a>>,
        artifacts: Option<&'a RawValue>,
        consent: ObjectField<Consent<'a>>,
    }
}
group! {
    /// `prompt`
    RawPrompt<'a> { text: Opt<Cow<'a, str>>, token_ids: Opt<TokenIds>, length: Opt<f64>, language: Opt<Cow<'a, str>>, redaction_applied: Opt<bool>, }
}
group! {
    /// `model`
    Model<'a> { family: Opt<Cow<'a, str>>, version: Opt<Cow<'a, str>>, checkpoint_hash: Opt<Cow<'a, str>>, loras: Opt<NameList<'a>>, }
}
group! {
    /// `params`
    Params<'a> { sampler: Opt<Cow<'a, str>>, steps: Opt<f64>, cfg: Opt<f64>, seed: Opt<Seed>, resolution: Opt<Cow<'a, str>>, }
}
group! {
    /// `resources`
    Resources<'a> { gpu_type: Opt<Cow<'a, str>>, gpu_mem_mb: Opt<f64>, batch_size: Opt<f64>, }
}
group! {
    /// `metrics`
    Metrics<'a> { latency_ms: Opt<f64>, rps: Opt<f64>, gpu_util: Opt<f64>, cost_usd: Opt<f64>, queue_wait_ms: Opt<f64>, model_load_ms: Opt<f64>, safety_check_ms: Opt<f64>, cdn_upload_ms: Opt<f64>, }
}
group! {
    /// `quality`
    Quality<'a> { clip_i: Opt<f64>, aesthetic: Opt<f64>, nsfw_flag: Opt<bool>, face_ok: Opt<bool>, style_distance: Opt<f64>, }
}
group! {
    /// `safety`
    Safety<'a> { prompt_passed: Opt<bool>, image_passed: Opt<bool>, category: Opt<Cow<'a, str>>, }
}
group! {
    /// `outcome`
    Outcome<'a> { accepted: Opt<bool>, edited: Opt<bool>, rerolls: Opt<f64>, }
}
group! {
    /// `error`; its message is never read.
    Failure<'a> { code: Opt<Cow<'a, str>>, retriable: Opt<bool>, }
}
group! {
    /// `style`
    Style<'a> { collection: Opt<Cow<'a, str>>, }
}
group! {
    /// `consent`
    Consent<'a> { opt_out: Opt<bool>, }
}
