//! The fields of the reference event that features, segments and the archive can draw on, each declared once.

use super::ranges::Bounds;

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

/// Declares the numbers: path, range, and the bounds at which a mean clips them where the range alone lets a
/// single value carry it away.
macro_rules! numbers {
    ($($variant:ident = $path:literal in $low:literal..=$high:literal
        $(clip $from:literal..=$to:literal)?,)+) => {
        fields! {
            /// Numbers.
            Num { $($variant = $path,)+ }
        }

        impl Num {
            /// What the schema lets it be; outside it counts as missing.
            #[must_use]
            pub fn range(self) -> Bounds {
                let (low, high) = match self { $(Self::$variant => ($low, $high),)+ };
                Bounds { low, high }
            }

            /// The bounds at which a feature that is tested by its mean clips it, unless it has others; `None`: the
            /// range is narrow enough.
            #[must_use]
            pub fn clip(self) -> Option<Bounds> {
                match self {
                    $(Self::$variant => None$(.or(Some(Bounds { low: $from, high: $to })))?,)+
                }
            }
        }
    };
}

// Ranges are far beyond what services send: what lies outside is no measurement. Bounds of clipping lie where a
// value may still be meant, and yet one of some thousands does not hide a change of the others by two standard
// deviations (a test in `baseline/outliers_tests.rs` says so).
numbers! {
    PromptLength = "prompt.length" in 0.0..=1e7 clip 0.0..=1e4,
    Steps = "params.steps" in 0.0..=1e4 clip 0.0..=300.0,
    Cfg = "params.cfg" in -100.0..=1e3 clip -50.0..=50.0,
    GpuMem = "resources.gpu_mem_mb" in 0.0..=1e7 clip 0.0..=1e6,
    BatchSize = "resources.batch_size" in 0.0..=1e4 clip 0.0..=256.0,
    Latency = "metrics.latency_ms" in 0.0..=1e9 clip 0.0..=3.6e6,
    Rps = "metrics.rps" in 0.0..=1e6 clip 0.0..=1e3,
    GpuUtil = "metrics.gpu_util" in 0.0..=1.0,
    Cost = "metrics.cost_usd" in 0.0..=1e6 clip 0.0..=100.0,
    QueueWait = "metrics.queue_wait_ms" in 0.0..=1e9 clip 0.0..=8.64e7,
    ModelLoad = "metrics.model_load_ms" in 0.0..=1e9 clip 0.0..=3.6e6,
    SafetyCheck = "metrics.safety_check_ms" in 0.0..=1e9 clip 0.0..=3.6e6,
    CdnUpload = "metrics.cdn_upload_ms" in 0.0..=1e9 clip 0.0..=3.6e6,
    ClipI = "quality.clip_i" in -1.0..=1.0,
    Aesthetic = "quality.aesthetic" in 0.0..=10.0,
    StyleDistance = "quality.style_distance" in 0.0..=2.0,
    Rerolls = "outcome.rerolls" in 0.0..=1e4 clip 0.0..=100.0,
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
    /// Texts that hold names; how a name is written is up to [`super::text`].
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

/// A field that holds names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameField {
    /// A text.
    Text(Text),
    /// `model.loras`
    Loras,
}

impl NameField {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Text::ALL.iter().copied().map(Self::Text).chain([Self::Loras])
    }

    /// The dotted path in the event.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Text(t) => t.path(),
            Self::Loras => "model.loras",
        }
    }

    /// The field of a name, as [`dimension`] takes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "model.loras" | "model_loras" | "loras" => Some(Self::Loras),
            _ => dimension(name).map(Self::Text),
        }
    }

    fn bit(self) -> u32 {
        const { assert!(Text::COUNT < 31, "a set of fields is 32 bits") };
        match self {
            Self::Text(t) => 1 << t as u32,
            Self::Loras => 1 << 31,
        }
    }
}

/// A set of fields that hold names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameFields(u32);

impl NameFields {
    /// Adds a field.
    pub fn insert(&mut self, field: NameField) {
        self.0 |= field.bit();
    }

    /// Whether a field is in the set.
    #[must_use]
    pub fn contains(self, field: NameField) -> bool {
        self.0 & field.bit() != 0
    }

    /// Whether no field is.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The dotted paths of its fields.
    pub fn paths(self) -> impl Iterator<Item = &'static str> {
        NameField::all().filter(move |f| self.contains(*f)).map(NameField::path)
    }
}

impl FromIterator<NameField> for NameFields {
    fn from_iter<I: IntoIterator<Item = NameField>>(fields: I) -> Self {
        let mut out = Self::default();
        fields.into_iter().for_each(|f| out.insert(f));
        out
    }
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

/// Whether a text describes the service and not what the user asked for. Of a user who opted out
/// only such texts are kept, and only such dimensions are counted.
#[must_use]
pub fn is_identity_free(field: Text) -> bool {
    !matches!(field, Text::Language | Text::SafetyCategory | Text::ErrorCode | Text::StyleCollection)
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
    fn fields_with_names_form_sets() {
        assert!(NameField::all().all(|f| NameField::from_name(f.path()) == Some(f)));
        let set: NameFields = [NameField::Loras, NameField::Text(Text::Sampler)].into_iter().collect();
        assert_eq!(set.paths().collect::<Vec<_>>(), ["params.sampler", "model.loras"]);
        let all: NameFields = NameField::all().collect();
        assert_eq!(all.paths().count(), Text::COUNT + 1);
        assert!(NameFields::default().is_empty() && !set.contains(NameField::Text(Text::Tenant)));
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
