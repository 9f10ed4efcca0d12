//! The types of fields as serde reads them: each optional and tolerant, so that one of the wrong type costs that field
//! and not the event. The [`table`](super::table) makes the structs of them.

use serde::Deserialize;
use serde::de::{
    Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
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
