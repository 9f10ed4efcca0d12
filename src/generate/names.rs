//! The names that an incident's text uses: kinds of incidents, and the dimensions of its segment.

/// The kinds of incidents.
pub(super) const KINDS: [&str; 11] = [
    "prompt-shift",
    "aesthetic-drop",
    "latency-and-errors",
    "nsfw-rise",
    "cost-rise",
    "acceptance-drop",
    "language-shift",
    "volume-drop",
    "style-shift",
    "latency-tail",
    "new-lora",
];

/// Dimensions by which an incident can choose its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// `tenant`
    Tenant,
    /// `region`
    Region,
    /// `model_version`
    ModelVersion,
    /// `traffic_source`
    TrafficSource,
    /// `gpu_type`
    GpuType,
}

/// Every dimension, in the order of the help.
pub(super) const DIMENSIONS: [Dimension; 5] = [
    Dimension::Tenant,
    Dimension::Region,
    Dimension::ModelVersion,
    Dimension::TrafficSource,
    Dimension::GpuType,
];

impl Dimension {
    /// The names of all of them, as segments write them.
    pub const NAMES: [&'static str; 5] = {
        let mut names = [""; 5];
        let mut i = 0;
        while i < names.len() {
            names[i] = DIMENSIONS[i].name();
            i += 1;
        }
        names
    };

    /// The field's name as segments write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Region => "region",
            Self::ModelVersion => "model_version",
            Self::TrafficSource => "traffic_source",
            Self::GpuType => "gpu_type",
        }
    }
}
