//! What fields are besides their rows in the [`table`](super::table): names and sets of them, dimensions, stages.

use super::table::Text;

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

/// The column of a dotted path, and for texts the segment dimension: `model.version` is `model_version`.
#[must_use]
pub fn column(path: &str) -> String {
    path.replace('.', "_")
}

/// The text field behind a segment dimension: its column name (`model_version`), dotted path, or last part where
/// that is unique (`checkpoint_hash`).
#[must_use]
pub fn dimension(name: &str) -> Option<Text> {
    Text::ALL
        .iter()
        .copied()
        .find(|t| t.path() == name || t.column() == name)
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
    field.kept_when_opted_out()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Num;

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
