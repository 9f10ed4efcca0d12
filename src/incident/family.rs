//! What features have to do with each other: families, and which of two is nearer to the cause.

/// Features that one cause moves together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What people ask for.
    Request,
    /// How they ask for it to be made.
    Settings,
    /// Speed, failures, cost.
    Service,
    /// What the model paints.
    Image,
    /// What people think of it.
    Reception,
    /// What events say at all.
    Data,
    /// A feature of the user's own, by itself.
    Own(String),
}

/// Features from the cause to what follows, without stage and unit.
const UPSTREAM: [&str; 23] = [
    "prompt_tokens",
    "language",
    "style_collection",
    "prompt_length",
    "loras",
    "sampler",
    "steps",
    "cfg",
    "queue_wait",
    "latency",
    "error",
    "error_code",
    "cost",
    "style_mix",
    "content_mix",
    "embedding",
    "style_distance",
    "aesthetic",
    "clip_i",
    "nsfw",
    "face_ok",
    "accepted",
    "edited",
];

/// Stages whose latencies, tails and errors are features of their own.
const STAGES: [&str; 5] = ["ingest_", "preprocess_", "upscale_", "postprocess_", "deliver_"];

/// A feature without its stage, its unit and whether it is a tail: `upscale_latency_tail` is a
/// latency.
fn stem(feature: &str) -> &str {
    let named = STAGES.iter().find_map(|stage| feature.strip_prefix(stage)).unwrap_or(feature);
    ["_ms", "_usd", "_tail"].iter().find_map(|unit| named.strip_suffix(unit)).unwrap_or(named)
}

impl Family {
    /// A feature's family.
    #[must_use]
    pub fn of(feature: &str) -> Self {
        match stem(feature) {
            "prompt_tokens" | "prompt_length" | "language" | "style_collection" => Self::Request,
            "sampler" | "loras" | "steps" | "cfg" => Self::Settings,
            "latency" | "queue_wait" | "cost" | "error" | "error_code" => Self::Service,
            "embedding" | "content_mix" | "style_mix" | "style_distance" | "aesthetic" | "clip_i"
            | "face_ok" | "nsfw" => Self::Image,
            "accepted" | "edited" | "rerolls" => Self::Reception,
            "missing" | "volume" => Self::Data,
            _ => Self::Own(feature.to_owned()),
        }
    }
}

/// How near to the cause a feature is; 0 is nearest.
pub(super) fn upstream(feature: &str) -> usize {
    let stem = stem(feature);
    UPSTREAM.iter().position(|own| *own == stem).unwrap_or(UPSTREAM.len())
}
