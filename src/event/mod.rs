//! The reference event: decoding, the text that may leave, times.

pub mod archive;
mod conform;
mod decode;
mod fields;
mod raw;
pub mod text;
pub mod time;

pub use conform::{check_types, conform};
pub use decode::{Reject, RejectReason, decode, decode_within};
pub use fields::{Flag, Num, Stage, Stages, Text, column, dimension};
pub use raw::VOCABULARY;

use std::borrow::Cow;

/// An id that is never written as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Id<'a> {
    /// Not in the event.
    #[default]
    Missing,
    /// As the event carries it; to be hashed.
    Raw(Cow<'a, str>),
    /// Hashed already (from an archive).
    Hashed(u64),
}

/// What is known of the prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// Nothing.
    #[default]
    Missing,
    /// Its text; becomes tokens and is dropped.
    Text(Cow<'a, str>),
    /// Its CLIP tokens.
    Tokens(Cow<'a, [u16]>),
}

/// One event, decoded and borrowed from its message. Texts are as they came: [`text::admit`] stands between them and any output.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The request.
    pub request_id: Cow<'a, str>,
    /// Hash of the request id, where it is known already (from an archive, which may hold a changed id).
    pub request_hash: Option<u64>,
    /// Event time in microseconds since 1970.
    pub time_us: i64,
    /// The stage that speaks.
    pub stage: Stage,
    /// The session.
    pub session: Id<'a>,
    /// The user.
    pub user: Id<'a>,
    /// The prompt.
    pub prompt: Prompt<'a>,
    /// LoRAs in use; `None` where the event doesn't say.
    pub loras: Option<Vec<Cow<'a, str>>>,
    /// The seed.
    pub seed: Option<i64>,
    /// Numbers by [`Num`]; NaN where missing.
    pub nums: [f64; Num::COUNT],
    /// Flags by [`Flag`].
    pub flags: [Option<bool>; Flag::COUNT],
    /// Texts by [`Text`].
    pub texts: [Option<Cow<'a, str>>; Text::COUNT],
    /// Whether the event carries an error.
    pub failed: bool,
    /// The JSON of `artifacts`, read only where images are looked at.
    pub artifacts: Option<Cow<'a, str>>,
    /// The user opted out: the event counts in volume only.
    pub opt_out: bool,
}

impl<'a> Event<'a> {
    /// An event with the required fields and nothing else.
    #[must_use]
    pub fn new(request_id: Cow<'a, str>, time_us: i64, stage: Stage) -> Self {
        Self {
            request_id,
            request_hash: None,
            time_us,
            stage,
            session: Id::Missing,
            user: Id::Missing,
            prompt: Prompt::Missing,
            loras: None,
            seed: None,
            nums: [f64::NAN; Num::COUNT],
            flags: [None; Flag::COUNT],
            texts: [const { None }; Text::COUNT],
            failed: false,
            artifacts: None,
            opt_out: false,
        }
    }
}
