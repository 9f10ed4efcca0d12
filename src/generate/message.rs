//! A request's events as JSON messages, one per stage, and the ways in which a message can be
//! malformed.

use super::dimensions::{GPUS, MODEL_VERSIONS, REGIONS, RESOLUTIONS, SAMPLERS, TRAFFIC_SOURCES};
use super::json::{Timestamps, push_bool, push_decimal, push_hex, push_raw, push_str, push_u64};
use super::session::{Failure, Request, mix};
use super::vocabulary::{LANGUAGES, STYLES};

/// The pipeline stage of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GeneratedStage {
    /// The request arrived.
    Ingest,
    /// The image was made, or failed.
    Generate,
    /// The user received it.
    Deliver,
}

/// Number of images per style: `images/STYLE-0.png` and so on.
pub const IMAGES: u32 = 24;

/// What is wrong with a malformed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Truncated JSON.
    NotJson,
    /// `request_id` is missing.
    MissingRequestId,
    /// `timestamp` is a number.
    MistypedTimestamp,
    /// `timestamp` is a string but not a time from 2000 to 2100.
    ImpossibleTime,
}

impl Malformed {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NotJson, Self::MissingRequestId, Self::MistypedTimestamp, Self::ImpossibleTime];
}

impl GeneratedStage {
    /// The stage's name in `pipeline_stage`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Generate => "generate",
            Self::Deliver => "deliver",
        }
    }
}

impl Failure {
    const fn code(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::SafetyBlock => "safety_block",
            Self::InvalidConfig => "invalid_config",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Oom => "out of memory in generate",
            Self::Timeout => "no image within 30 s",
            Self::SafetyBlock => "prompt refused by the safety check",
            Self::InvalidConfig => "resolution not supported by this sampler",
        }
    }

    const fn retriable(self) -> bool {
        matches!(self, Self::Oom | Self::Timeout)
    }
}

/// Writes events. The fields per stage depend on whether every stage has its own event.
#[derive(Debug, Clone)]
pub(super) struct MessageWriter {
    timestamps: Timestamps,
    /// Whether outcomes are on `deliver` rather than on `generate`.
    stages: bool,
    image_uris: bool,
    /// JSON strings of the tenants' names.
    tenants: Vec<Vec<u8>>,
}

impl MessageWriter {
    pub(super) fn new(tenant_names: &[String], stages: bool, image_uris: bool) -> Self {
        let quoted = |name: &String| {
            let mut out = Vec::new();
            push_str(&mut out, name);
            out
        };
        let tenants = tenant_names.iter().map(quoted).collect();
        Self { timestamps: Timestamps::new(), stages, image_uris, tenants }
    }

    /// Writes one event to `out`, replacing its contents.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        request: &Request,
        stage: GeneratedStage,
        time_us: i64,
        fault: Option<Malformed>,
    ) {
        out.clear();
        push_raw(out, "{");
        if fault != Some(Malformed::MissingRequestId) {
            push_raw(out, "\"request_id\":");
            push_hex(out, request.id, 24);
            push_raw(out, ",");
        }
        push_raw(out, "\"session_id\":");
        push_hex(out, request.session.into(), 16);
        push_raw(out, ",\"user_id_hash\":");
        push_hex(out, u128::from(mix(request.user)) << 64 | u128::from(request.user), 32);
        push_raw(out, ",\"timestamp\":");
        match fault {
            Some(Malformed::MistypedTimestamp) => push_u64(out, time_us.unsigned_abs() / 1_000),
            Some(Malformed::ImpossibleTime) => {
                let texts = ["\"2026-02-30T12:00:00.000Z\"", "\"1970-01-01T00:00:00.000Z\"", "\"just now\""];
                push_raw(out, texts[(request.id % 3) as usize]);
            }
            _ => self.timestamps.push(out, time_us),
        }
        let place = &request.place;
        push_raw(out, ",\"region\":\"");
        push_raw(out, REGIONS[usize::from(place.region)].name);
        push_raw(out, "\",\"tenant\":");
        out.extend_from_slice(&self.tenants[usize::from(place.tenant)]);
        push_raw(out, ",\"traffic_source\":\"");
        push_raw(out, TRAFFIC_SOURCES[usize::from(place.source)].0);
        push_raw(out, "\",\"trace_id\":");
        push_hex(out, request.trace, 32);
        push_raw(out, ",\"span_id\":");
        push_hex(out, request.span.wrapping_add(stage as u64).into(), 16);
        push_raw(out, ",\"pipeline_stage\":\"");
        push_raw(out, stage.name());
        push_raw(out, "\"");
        push_model(out, request);
        match stage {
            GeneratedStage::Ingest => {
                push_raw(out, ",\"metrics\":{\"latency_ms\":");
                push_decimal(out, request.ingest_ms, 1);
                push_raw(out, "},\"error\":null");
            }
            GeneratedStage::Generate => self.push_generate(out, request),
            GeneratedStage::Deliver => {
                push_raw(out, ",\"metrics\":{\"latency_ms\":");
                push_decimal(out, request.upload_ms + 5.0, 1);
                push_raw(out, ",\"cdn_upload_ms\":");
                push_decimal(out, request.upload_ms, 1);
                push_raw(out, "},\"error\":null");
                push_outcome(out, request);
            }
        }
        push_raw(out, ",\"style\":{\"collection\":\"");
        push_raw(out, STYLES[usize::from(request.style)]);
        push_raw(out, "\"},\"consent\":{\"opt_out\":");
        push_bool(out, request.opt_out);
        push_raw(out, "}}");
        if fault == Some(Malformed::NotJson) {
            out.truncate(out.len() * 3 / 5);
        }
    }

    fn push_generate(&self, out: &mut Vec<u8>, request: &Request) {
        push_raw(out, ",\"prompt\":{\"text\":");
        push_str(out, &request.prompt);
        push_raw(out, ",\"length\":");
        push_u64(out, request.prompt_chars.into());
        push_raw(out, ",\"language\":\"");
        push_raw(out, LANGUAGES[usize::from(request.language)]);
        push_raw(out, "\",\"redaction_applied\":false},\"params\":{\"sampler\":\"");
        push_raw(out, SAMPLERS[usize::from(request.sampler)].0);
        push_raw(out, "\",\"steps\":");
        push_u64(out, request.steps.into());
        push_raw(out, ",\"cfg\":");
        push_decimal(out, request.cfg, 1);
        push_raw(out, ",\"seed\":");
        push_u64(out, request.seed.into());
        push_raw(out, ",\"resolution\":\"");
        push_raw(out, RESOLUTIONS[usize::from(request.resolution)].0);
        let gpu = &GPUS[usize::from(request.place.gpu)];
        push_raw(out, "\"},\"resources\":{\"gpu_type\":\"");
        push_raw(out, gpu.name);
        push_raw(out, "\",\"gpu_mem_mb\":");
        push_u64(out, gpu.mem_mb);
        push_raw(out, ",\"batch_size\":");
        push_u64(out, request.batch);
        push_raw(out, "},\"metrics\":{\"latency_ms\":");
        push_decimal(out, request.latency_ms, 1);
        push_raw(out, ",\"queue_wait_ms\":");
        push_decimal(out, request.queue_wait_ms, 1);
        push_raw(out, ",\"gpu_util\":");
        push_decimal(out, request.gpu_util, 2);
        push_raw(out, ",\"cost_usd\":");
        push_decimal(out, request.cost_usd, 6);
        push_raw(out, ",\"safety_check_ms\":");
        push_decimal(out, request.safety_check_ms, 1);
        push_raw(out, "}");
        match request.failure {
            None => self.push_image(out, request),
            Some(failure) => push_failure(out, request, failure),
        }
        if !self.stages {
            push_outcome(out, request);
        }
    }

    fn push_image(&self, out: &mut Vec<u8>, request: &Request) {
        let quality = &request.quality;
        push_raw(out, ",\"quality\":{\"clip_i\":");
        push_decimal(out, quality.clip_i, 4);
        push_raw(out, ",\"aesthetic\":");
        push_decimal(out, quality.aesthetic, 3);
        push_raw(out, ",\"nsfw_flag\":");
        push_bool(out, quality.nsfw);
        push_raw(out, ",\"face_ok\":");
        push_bool(out, quality.face_ok);
        push_raw(out, ",\"style_distance\":");
        push_decimal(out, quality.style_distance, 4);
        push_raw(out, "},\"safety\":{\"prompt_passed\":true,\"image_passed\":");
        push_bool(out, !quality.nsfw);
        push_raw(out, ",\"category\":");
        push_raw(out, if quality.nsfw { "\"adult\"" } else { "null" });
        push_raw(out, "},\"error\":null,\"artifacts\":{\"image_id\":");
        push_hex(out, request.trace, 20);
        if self.image_uris {
            push_raw(out, ",\"image_uri\":\"images/");
            push_raw(out, STYLES[usize::from(request.drawn)]);
            push_raw(out, "-");
            push_u64(out, (request.trace % u128::from(IMAGES)) as u64);
            push_raw(out, ".png\"");
        }
        push_raw(out, "}");
    }
}

fn push_model(out: &mut Vec<u8>, request: &Request) {
    let version = &MODEL_VERSIONS[usize::from(request.place.version)];
    push_raw(out, ",\"model\":{\"family\":\"");
    push_raw(out, version.family);
    push_raw(out, "\",\"version\":\"");
    push_raw(out, version.name);
    push_raw(out, "\",\"checkpoint_hash\":");
    push_hex(out, request.checkpoint.into(), 16);
    push_raw(out, ",\"loras\":[");
    for (i, &lora) in request.loras[..request.lora_count].iter().enumerate() {
        push_raw(out, if i > 0 { ",\"lora-" } else { "\"lora-" });
        out.extend_from_slice(&[b'0' + lora / 100, b'0' + lora / 10 % 10, b'0' + lora % 10, b'"']);
    }
    push_raw(out, "]}");
}

fn push_failure(out: &mut Vec<u8>, request: &Request, failure: Failure) {
    push_raw(out, ",\"quality\":null,\"safety\":");
    push_raw(
        out,
        match failure {
            Failure::SafetyBlock if request.id & 1 == 0 => "{\"prompt_passed\":false,\"category\":\"adult\"}",
            Failure::SafetyBlock => "{\"prompt_passed\":false,\"category\":\"violence\"}",
            _ => "null",
        },
    );
    push_raw(out, ",\"error\":{\"code\":\"");
    push_raw(out, failure.code());
    push_raw(out, "\",\"message\":\"");
    push_raw(out, failure.message());
    push_raw(out, "\",\"retriable\":");
    push_bool(out, failure.retriable());
    push_raw(out, "},\"artifacts\":null");
}

fn push_outcome(out: &mut Vec<u8>, request: &Request) {
    push_raw(out, ",\"outcome\":{\"accepted\":");
    push_bool(out, request.accepted);
    push_raw(out, ",\"edited\":");
    push_bool(out, request.edited);
    push_raw(out, ",\"rerolls\":");
    push_u64(out, request.rerolls.into());
    push_raw(out, "}");
}
