//! The reference event: decoding, the text that may leave, times.

mod decode;
mod fields;
mod position;
mod ranges;
mod raw;
mod repair;
mod table;
pub mod text;
pub mod time;

pub use decode::{Reject, RejectReason, decode, decode_within};
pub use fields::{ChosenBy, NameField, NameFields, Stage, Stages, column, dimension, is_identity_free};
pub use position::{Offset, PartitionId};
pub use ranges::{Bounds, Ranges};
pub use raw::VOCABULARY;
pub use repair::repair;
pub use table::{Flag, Num, Text};

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

/// One event, decoded and borrowed from its message. Names are as they came: [`text`] stands
/// between them and any output.
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
    /// Its names are those of an archive: written already, so with our escapes and hashes.
    pub archived: bool,
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
            archived: false,
        }
    }

    /// The same with texts of its own, for when the message does not last.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let id = |id| match id {
            Id::Missing => Id::Missing,
            Id::Raw(text) => Id::Raw(own(text)),
            Id::Hashed(hash) => Id::Hashed(hash),
        };
        Event {
            request_id: own(self.request_id),
            request_hash: self.request_hash,
            time_us: self.time_us,
            stage: self.stage,
            session: id(self.session),
            user: id(self.user),
            prompt: match self.prompt {
                Prompt::Missing => Prompt::Missing,
                Prompt::Text(text) => Prompt::Text(own(text)),
                Prompt::Tokens(tokens) => Prompt::Tokens(Cow::Owned(tokens.into_owned())),
            },
            loras: self.loras.map(|all| all.into_iter().map(own).collect()),
            seed: self.seed,
            nums: self.nums,
            flags: self.flags,
            texts: self.texts.map(|text| text.map(own)),
            failed: self.failed,
            artifacts: self.artifacts.map(own),
            opt_out: self.opt_out,
            archived: self.archived,
        }
    }
}
