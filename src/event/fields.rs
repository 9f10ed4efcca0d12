//! The fields of the reference event that features, segments and the archive can draw on, each declared once.

/// Declares a field enum with its dotted paths in the event.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $path:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = concat!("`", $path, "`")] $variant,)+ }

        impl $name {
            /// All of them, in the archive's column order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The dotted path in the event.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)+ }
            }

            /// The field with this dotted path.
            #[must_use]
            pub fn from_path(path: &str) -> Option<Self> {
                match path { $($path => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

fields! {
    /// Numbers.
    Num {
        PromptLength = "prompt.length",
        Steps = "params.steps",
        Cfg = "params.cfg",
        GpuMem = "resources.gpu_mem_mb",
        BatchSize = "resources.batch_size",
        Latency = "metrics.latency_ms",
        Rps = "metrics.rps",
        GpuUtil = "metrics.gpu_util",
        Cost = "metrics.cost_usd",
        QueueWait = "metrics.queue_wait_ms",
        ModelLoad = "metrics.model_load_ms",
        SafetyCheck = "metrics.safety_check_ms",
        CdnUpload = "metrics.cdn_upload_ms",
        ClipI = "quality.clip_i",
        Aesthetic = "quality.aesthetic",
        StyleDistance = "quality.style_distance",
        Rerolls = "outcome.rerolls",
    }
}

fields! {
    /// Yes or no.
    Flag {
        RedactionApplied = "prompt.redaction_applied",
        Nsfw = "quality.nsfw_flag",
        FaceOk = "quality.face_ok",
        PromptPassed = "safety.prompt_passed",
        ImagePassed = "safety.image_passed",
        Accepted = "outcome.accepted",
        Edited = "outcome.edited",
        Retriable = "error.retriable",
    }
}

fields! {
    /// Short texts that may be written once they pass the rules of [`super::text`].
    Text {
        Region = "region",
        Tenant = "tenant",
        TrafficSource = "traffic_source",
        Language = "prompt.language",
        ModelFamily = "model.family",
        ModelVersion = "model.version",
        Checkpoint = "model.checkpoint_hash",
        Sampler = "params.sampler",
        Resolution = "params.resolution",
        GpuType = "resources.gpu_type",
        SafetyCategory = "safety.category",
        ErrorCode = "error.code",
        StyleCollection = "style.collection",
    }
}

/// Who chooses the values of a name: what decides when they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// Whoever sends requests: a value may be any text, a whole prompt too.
    Client,
    /// The service, as a code, from what clients send: what is no code may be anything.
    Service,
    /// Whoever runs the service.
    Operator,
}

impl Text {
    /// Who chooses its values.
    #[must_use]
    pub fn chosen_by(self) -> ChosenBy {
        match self {
            Self::TrafficSource | Self::Sampler | Self::Resolution | Self::StyleCollection => {
                ChosenBy::Client
            }
            Self::Language | Self::SafetyCategory | Self::ErrorCode => ChosenBy::Service,
            Self::Region
            | Self::Tenant
            | Self::ModelFamily
            | Self::ModelVersion
            | Self::Checkpoint
            | Self::GpuType => ChosenBy::Operator,
        }
    }
}

/// The column of a dotted path, and for texts the segment dimension: `model.version` is `model_version`.
#[must_use]
pub fn column(path: &str) -> String {
    path.replace('.', "_")
}

/// The text field behind a segment dimension: its column name (`model_version`), dotted path, or last part where that is unique
/// (`checkpoint_hash`).
#[must_use]
pub fn dimension(name: &str) -> Option<Text> {
    Text::ALL
        .iter()
        .copied()
        .find(|t| t.path() == name || column(t.path()) == name)
        .or_else(|| Text::ALL.iter().copied().find(|t| t.path().rsplit('.').next() == Some(name)))
}

/// The pipeline stage that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Request taken in.
    Ingest,
    /// Prompt and image prepared.
    Preprocess,
    /// Image generated.
    Generate,
    /// Image enlarged.
    Upscale,
    /// Image finished.
    Postprocess,
    /// Image delivered.
    Deliver,
}

impl Stage {
    /// All stages, in order of the pipeline.
    pub const ALL: [Self; 6] =
        [Self::Ingest, Self::Preprocess, Self::Generate, Self::Upscale, Self::Postprocess, Self::Deliver];

    /// Its name in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Preprocess => "preprocess",
            Self::Generate => "generate",
            Self::Upscale => "upscale",
            Self::Postprocess => "postprocess",
            Self::Deliver => "deliver",
        }
    }

    /// The stage of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stages(u8);

impl Stages {
    /// Every stage.
    pub const ALL: Self = Self(0b11_1111);

    /// Whether a stage is in the set.
    #[must_use]
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }
}

impl FromIterator<Stage> for Stages {
    fn from_iter<I: IntoIterator<Item = Stage>>(stages: I) -> Self {
        Self(stages.into_iter().fold(0, |set, s| set | (1 << s as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_back_to_their_fields() {
        Num::ALL.iter().for_each(|f| assert_eq!(Num::from_path(f.path()), Some(*f)));
        Text::ALL.iter().for_each(|f| assert_eq!(Text::from_path(f.path()), Some(*f)));
        assert_eq!(dimension("model_version"), Some(Text::ModelVersion));
        assert_eq!(dimension("tenant"), Some(Text::Tenant));
        assert_eq!(dimension("checkpoint_hash"), Some(Text::Checkpoint));
        assert_eq!(dimension("prompt"), None);
    }

    #[test]
    fn stages_form_sets() {
        let set: Stages = [Stage::Generate, Stage::Deliver].into_iter().collect();
        assert!(set.contains(Stage::Generate) && !set.contains(Stage::Ingest));
        assert!(
            Stage::ALL.into_iter().all(|s| Stages::ALL.contains(s) && Stage::from_name(s.name()) == Some(s))
        );
    }
}
