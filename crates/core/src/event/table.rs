//! The table of the event's fields: one row per field, and nothing about a field stands elsewhere in the code.
//!
//! From a row come the variant of [`Num`], [`Flag`] or [`Text`], its dotted path, its archive column, its place in the
//! structs that serde reads, and the line that moves its value into the [`Event`]. The order of the rows is the order of
//! the variants, of the archive's columns, and of complaints about wrong types.

use super::Event;
use super::decode::Taker;
use super::fields::ChosenBy;
use super::ranges::Bounds;
use super::raw::{NameList, ObjectField, Opt, Seed, TokenIds};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::marker::PhantomData;

/// Declares a field enum. `[metrics.latency_ms]` is the path; a note says more in the documentation.
macro_rules! field_enum {
    ($(#[$doc:meta])* $name:ident {
        $($variant:ident = [$first:ident $(. $second:ident)?] $($note:literal)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(
                #[doc = concat!("`", stringify!($first) $(, ".", stringify!($second))?, "`" $(, ": ", $note)?)]
                $variant,
            )+
        }

        impl $name {
            /// All of them, in the archive's column order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The dotted path in the event.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(stringify!($first) $(, ".", stringify!($second))?),)+
                }
            }

            /// The archive's column.
            #[must_use]
            pub fn column(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(stringify!($first) $(, "_", stringify!($second))?),)+
                }
            }

            /// The field with this dotted path.
            #[must_use]
            pub fn from_path(path: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|field| field.path() == path)
            }
        }
    };
}

/// Declares a group of optional fields as serde reads it.
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

/// Generates everything from the table. The optional parts of the pattern are the kinds of a row; a row is of one kind.
macro_rules! event_fields {
    (@when_opted_out kept) => { true };
    (@when_opted_out dropped) => { false };
    (
        message {$(
            $(text $top_text:ident $top_name:ident by $top_chooser:ident, $top_kept:ident)?
            $(other $top_other:ident: $top_type:ty => $top_taker:ident)?
        ;)+}
        $($group:ident: $raw:ident {$(
            $(number $number:ident $number_name:ident $unit:literal in $low:literal..=$high:literal
                $(clip $from:literal..=$to:literal)?)?
            $(flag $flag:ident $flag_name:ident)?
            $(text $text:ident $text_name:ident by $chooser:ident, $kept:ident)?
            $(other $other:ident: $type:ty => $taker:ident)?
        ;)+})+
    ) => {
        field_enum! {
            /// Numbers.
            Num { $($($($number = [$group.$number_name] $unit,)?)+)+ }
        }
        field_enum! {
            /// Yes or no.
            Flag { $($($($flag = [$group.$flag_name],)?)+)+ }
        }
        field_enum! {
            /// Texts that hold names; how a name is written is up to [`super::text`].
            Text { $($($top_text = [$top_name],)?)+ $($($($text = [$group.$text_name],)?)+)+ }
        }

        impl Num {
            /// What the schema lets it be; outside it counts as missing.
            #[must_use]
            pub fn range(self) -> Bounds {
                let (low, high) = match self { $($($(Self::$number => ($low, $high),)?)+)+ };
                Bounds { low, high }
            }

            /// The bounds at which a feature that is tested by its mean clips it, unless it has others; `None`: the
            /// range is narrow enough.
            #[must_use]
            pub fn clip(self) -> Option<Bounds> {
                match self {
                    $($($(Self::$number => None$(.or(Some(Bounds { low: $from, high: $to })))?,)?)+)+
                }
            }
        }

        impl Text {
            /// Who chooses its values.
            #[must_use]
            pub fn chosen_by(self) -> ChosenBy {
                match self {
                    $($(Self::$top_text => ChosenBy::$top_chooser,)?)+
                    $($($(Self::$text => ChosenBy::$chooser,)?)+)+
                }
            }

            /// Whether it is kept of a user who opted out.
            pub(super) fn kept_when_opted_out(self) -> bool {
                match self {
                    $($(Self::$top_text => event_fields!(@when_opted_out $top_kept),)?)+
                    $($($(Self::$text => event_fields!(@when_opted_out $kept),)?)+)+
                }
            }
        }

        group! {
            /// The whole message.
            Raw<'a> {
                request_id: Opt<Cow<'a, str>>,
                timestamp: Opt<Cow<'a, str>>,
                pipeline_stage: Opt<Cow<'a, str>>,
                artifacts: Option<&'a RawValue>,
                $($($top_name: Opt<Cow<'a, str>>,)? $($top_other: Opt<$top_type>,)?)+
                $($group: ObjectField<$raw<'a>>,)+
            }
        }
        $(group! {
            #[doc = concat!("`", stringify!($group), "`")]
            $raw<'a> {$(
                $($number_name: Opt<f64>,)?
                $($flag_name: Opt<bool>,)?
                $($text_name: Opt<Cow<'a, str>>,)?
                $($other: Opt<$type>,)?
            )+}
        })+

        impl<'a> Raw<'a> {
            /// Moves what the rows of the table describe into an event.
            #[inline]
            pub fn fill(self, event: &mut Event<'a>, taker: &mut Taker<'_>) {
                $(
                    $(taker.text(event, Text::$top_text, self.$top_name);)?
                    $(taker.$top_taker(event, self.$top_other, stringify!($top_other));)?
                )+
                $(if let Some(group) = taker.group(self.$group, stringify!($group)) {
                    group.fill(event, taker);
                })+
            }
        }
        $(impl<'a> $raw<'a> {
            #[inline]
            fn fill(self, event: &mut Event<'a>, taker: &mut Taker<'_>) {$(
                $(taker.num(event, Num::$number, self.$number_name);)?
                $(taker.flag(event, Flag::$flag, self.$flag_name);)?
                $(taker.text(event, Text::$text, self.$text_name);)?
                $(taker.$taker(
                    event,
                    self.$other,
                    concat!(stringify!($group), ".", stringify!($other)),
                );)?
            )+}
        })+

        /// The paths of the other fields that are read.
        #[cfg(test)]
        const OTHERS: &[&str] = &[
            $($(stringify!($top_other),)?)+
            $($($(concat!(stringify!($group), ".", stringify!($other)),)?)+)+
        ];
        /// The groups.
        #[cfg(test)]
        const GROUPS: &[&str] = &[$(stringify!($group),)+];
    };
}

// The rows, each of one kind:
//
// - `number VARIANT name "unit" in RANGE clip BOUNDS`: ranges are far beyond what services send, and what lies outside
//   is no measurement. Bounds of clipping lie where a value may still be meant, and yet one of some thousands does not
//   hide a change of the others by two standard deviations (a test in `baseline/outliers_tests.rs` says so). A range
//   that is narrow enough needs none.
// - `flag VARIANT name`: yes or no.
// - `text VARIANT name by CHOOSER, kept` or `dropped`: a name, and two decisions about privacy. Who chooses its values
//   ([`ChosenBy`]) decides when they are shown; only what says nothing of the user's request is kept of a user who
//   opted out.
// - `other name: TYPE => METHOD`: has a place of its own in the event, where that method of [`Taker`] puts it.
event_fields! {
    message {
        other session_id: Cow<'a, str> => session;
        other user_id_hash: Cow<'a, str> => user;
        text Region region by Operator, kept;
        text Tenant tenant by Operator, kept;
        text TrafficSource traffic_source by Client, kept;
    }
    prompt: RawPrompt {
        number PromptLength length "characters" in 0.0..=1e7 clip 0.0..=1e4;
        text Language language by Service, dropped;
        flag RedactionApplied redaction_applied;
        other token_ids: TokenIds => prompt_tokens;
        other text: Cow<'a, str> => prompt_text;
    }
    model: RawModel {
        text ModelFamily family by Operator, kept;
        text ModelVersion version by Operator, kept;
        text Checkpoint checkpoint_hash by Operator, kept;
        other loras: NameList<'a> => loras;
    }
    params: RawParams {
        text Sampler sampler by Client, kept;
        number Steps steps "inference steps" in 0.0..=1e4 clip 0.0..=300.0;
        number Cfg cfg "guidance scale" in -100.0..=1e3 clip -50.0..=50.0;
        other seed: Seed => seed;
        text Resolution resolution by Client, kept;
    }
    resources: RawResources {
        text GpuType gpu_type by Operator, kept;
        number GpuMem gpu_mem_mb "MiB" in 0.0..=1e7 clip 0.0..=1e6;
        number BatchSize batch_size "images" in 0.0..=1e4 clip 0.0..=256.0;
    }
    metrics: RawMetrics {
        number Latency latency_ms "milliseconds" in 0.0..=1e9 clip 0.0..=3.6e6;
        number Rps rps "requests a second" in 0.0..=1e6 clip 0.0..=1e3;
        number GpuUtil gpu_util "share, 0 to 1" in 0.0..=1.0;
        number Cost cost_usd "US dollars" in 0.0..=1e6 clip 0.0..=100.0;
        number QueueWait queue_wait_ms "milliseconds" in 0.0..=1e9 clip 0.0..=8.64e7;
        number ModelLoad model_load_ms "milliseconds" in 0.0..=1e9 clip 0.0..=3.6e6;
        number SafetyCheck safety_check_ms "milliseconds" in 0.0..=1e9 clip 0.0..=3.6e6;
        number CdnUpload cdn_upload_ms "milliseconds" in 0.0..=1e9 clip 0.0..=3.6e6;
    }
    quality: RawQuality {
        number ClipI clip_i "cosine similarity" in -1.0..=1.0;
        number Aesthetic aesthetic "score, 0 to 10" in 0.0..=10.0;
        number StyleDistance style_distance "cosine distance" in 0.0..=2.0;
        flag Nsfw nsfw_flag;
        flag FaceOk face_ok;
    }
    safety: RawSafety {
        flag PromptPassed prompt_passed;
        flag ImagePassed image_passed;
        text SafetyCategory category by Service, dropped;
    }
    outcome: RawOutcome {
        flag Accepted accepted;
        flag Edited edited;
        number Rerolls rerolls "re-rolls" in 0.0..=1e4 clip 0.0..=100.0;
    }
    error: RawError {
        text ErrorCode code by Service, dropped;
        flag Retriable retriable;
    }
    style: RawStyle {
        text StyleCollection collection by Client, dropped;
    }
    consent: RawConsent {
        other opt_out: bool => opt_out;
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
