//! A session: the values that it keeps, and the requests that it makes.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Exp1, StandardNormal};

use super::dimensions::{GPUS, MODEL_VERSIONS, REGIONS, RESOLUTIONS, STEPS, SessionDimensions, Tables};
use super::effects::Effects;
use super::prompt::{Composer, PromptPlan};
use super::vocabulary::ANIME;

/// Probability that a session continues after a request.
const CONTINUE_PROBABILITY: f64 = 0.78;
pub(super) const MAX_REQUESTS: u32 = 30;
const RE_ROLL: f64 = 0.6;
/// Probability that the next request has a new prompt rather than an edit or a re-roll.
const NEW_PROMPT: f64 = 0.08;
const USERS_PER_TENANT_AND_REGION: f64 = 2_000.0;
const ACCEPTED: f64 = 0.42;
const NSFW: f64 = 0.02;
/// The LoRA of an incident, which no session uses otherwise.
const NEW_LORA: u8 = 250;
/// Share of errors without an incident, and its split by cause.
pub(super) const ERROR_RATE: f64 = 0.015;
const ERROR_SPLIT: [(f64, Failure); 4] = [
    (0.25, Failure::Oom),
    (0.60, Failure::Timeout),
    (0.85, Failure::SafetyBlock),
    (1.0, Failure::InvalidConfig),
];

/// Mean number of requests of a session: geometric, truncated at [`MAX_REQUESTS`].
pub(super) fn mean_requests() -> f64 {
    (0..MAX_REQUESTS as i32).map(|n| CONTINUE_PROBABILITY.powi(n)).sum()
}

/// Mixes 64 bits well (the finalizer of SplitMix64): ids and hashes of users, checkpoints,
/// sessions.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Oom,
    Timeout,
    SafetyBlock,
    InvalidConfig,
}

/// What the service measured on a finished image.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quality {
    pub clip_i: f64,
    pub aesthetic: f64,
    pub nsfw: bool,
    pub face_ok: bool,
    pub style_distance: f64,
}

/// A request with all values of its events.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub session: u64,
    pub user: u64,
    pub opt_out: bool,
    pub place: SessionDimensions,
    pub id: u128,
    pub trace: u128,
    pub span: u64,
    pub prompt: String,
    pub prompt_chars: u32,
    pub language: u8,
    pub style: u8,
    /// The style of the image.
    pub drawn: u8,
    pub checkpoint: u64,
    pub loras: [u8; 4],
    pub lora_count: usize,
    pub sampler: u8,
    pub steps: u16,
    pub cfg: f64,
    pub seed: u32,
    pub resolution: u8,
    pub batch: u64,
    pub latency_ms: f64,
    pub queue_wait_ms: f64,
    pub gpu_util: f64,
    pub cost_usd: f64,
    pub ingest_ms: f64,
    pub safety_check_ms: f64,
    pub upload_ms: f64,
    pub failure: Option<Failure>,
    pub quality: Quality,
    pub accepted: bool,
    pub edited: bool,
    pub rerolls: u32,
}

/// What sessions share to make requests.
pub(super) struct Service<'a> {
    pub composer: &'a Composer,
    pub opt_out_share: f64,
}

/// A running session. It has two random streams, so that an incident in one segment doesn't affect
/// other sessions, and a changed prompt doesn't affect other values of the same session.
#[derive(Debug, Clone)]
pub(super) struct SimulatedSession {
    values: ChaCha8Rng,
    words: ChaCha8Rng,
    id: u64,
    user: u64,
    place: SessionDimensions,
    style: u8,
    language: u8,
    sampler: u8,
    steps: u16,
    resolution: u8,
    cfg: f64,
    loras: [u8; 4],
    lora_count: usize,
    batch: u64,
    /// Random ranks that decide whether a shift or a volume drop affects the session.
    style_draw: f64,
    language_draw: f64,
    volume_draw: f64,
    requests: u32,
    rerolls: u32,
    prompt: PromptPlan,
    text: String,
    chars: u32,
    has_prompt: bool,
}

impl SimulatedSession {
    /// An empty slot; [`SimulatedSession::begin`] fills it.
    pub(super) fn vacant() -> Self {
        Self {
            values: ChaCha8Rng::seed_from_u64(0),
            words: ChaCha8Rng::seed_from_u64(0),
            id: 0,
            user: 0,
            place: SessionDimensions::default(),
            style: 0,
            language: 0,
            sampler: 0,
            steps: 0,
            resolution: 0,
            cfg: 0.0,
            loras: [0; 4],
            lora_count: 0,
            batch: 1,
            style_draw: 0.0,
            language_draw: 0.0,
            volume_draw: 0.0,
            requests: 0,
            rerolls: 0,
            prompt: PromptPlan::default(),
            text: String::new(),
            chars: 0,
            has_prompt: false,
        }
    }

    /// Starts a new session in this slot.
    pub(super) fn begin(&mut self, seed: u64, region: u16, tables: &Tables) {
        self.values = ChaCha8Rng::seed_from_u64(seed);
        self.words = ChaCha8Rng::seed_from_u64(mix(seed));
        let rng = &mut self.values;
        self.id = rng.next_u64();
        let r = usize::from(region);
        self.place = SessionDimensions {
            tenant: tables.tenants.draw(rng) as u16,
            region,
            version: tables.versions.draw(rng) as u16,
            source: tables.sources.draw(rng) as u16,
            gpu: tables.gpus[r].draw(rng) as u16,
        };
        // Squared, so that some users are much more active than others.
        let user = (USERS_PER_TENANT_AND_REGION * rng.random::<f64>().powi(2)) as u64;
        self.user = mix(u64::from(self.place.tenant) << 40 | u64::from(region) << 32 | user);
        self.style = tables.tenant_styles[usize::from(self.place.tenant) % 6].draw(rng) as u8;
        self.language = tables.languages[r].draw(rng) as u8;
        self.sampler = tables.samplers.draw(rng) as u8;
        self.steps = STEPS[tables.steps.draw(rng)].0;
        self.resolution = tables.resolutions.draw(rng) as u8;
        self.cfg = 4.5 + 0.5 * f64::from(rng.random_range(0..10u8));
        self.lora_count = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3][rng.random_range(0..10)];
        for lora in &mut self.loras {
            *lora = tables.loras.draw(rng) as u8;
        }
        self.batch = if rng.random_bool(0.15) { 4 } else { 1 };
        self.style_draw = rng.random();
        self.language_draw = rng.random();
        self.volume_draw = rng.random();
        self.requests = 0;
        self.rerolls = 0;
        self.has_prompt = false;
    }

    pub(super) fn place(&self) -> &SessionDimensions {
        &self.place
    }

    /// Microseconds until the next request; `None`: the session is over.
    pub(super) fn next_pause(&mut self) -> Option<i64> {
        self.requests += 1;
        let continues = self.values.random_bool(CONTINUE_PROBABILITY);
        let pause: f64 = self.values.sample(Exp1);
        (continues && self.requests < MAX_REQUESTS).then_some(5_000_000 + (35e6 * pause) as i64)
    }

    /// Makes the next request in `request`. Returns false if a volume drop removed the session.
    pub(super) fn request(
        &mut self,
        service: &Service<'_>,
        effects: &Effects,
        request: &mut Request,
    ) -> bool {
        let remains = self.volume_draw < effects.volume_factor;
        self.next_prompt(service.composer, effects);
        let rng = &mut self.values;
        // Makes every draw regardless of incidents, so that the stream is the same with and without
        // them.
        let (id, trace, span, seed) =
            (rng.random::<u128>(), rng.random::<u128>(), rng.next_u64(), rng.next_u32());
        let [error, kind, timeout, nsfw, face, accept, edit, util] = rng.random::<[f64; 8]>();
        let mut normal = || -> f64 { rng.sample(StandardNormal) };
        let (speed, aesthetic, clip, distance) = (normal(), normal(), normal(), normal());
        let (queue, ingest, safety, upload) = (normal(), normal(), normal(), normal());

        let place = self.place;
        let version = &MODEL_VERSIONS[usize::from(place.version)];
        let gpu = &GPUS[usize::from(place.gpu)];
        let pixels = RESOLUTIONS[usize::from(self.resolution)].1;
        let mut failure = (error < ERROR_RATE).then(|| {
            ERROR_SPLIT.iter().find(|(end, _)| kind < *end).map_or(Failure::InvalidConfig, |(_, f)| *f)
        });
        if timeout < effects.timeout_rate {
            failure = Some(Failure::Timeout);
        }
        // From the request's id, since a draw would change all later values.
        let is_slow = unit(mix((id as u64) ^ 0x510_3e5)) < effects.slow.0;
        let work_ms = version.base_ms
            * REGIONS[usize::from(place.region)].latency_factor
            * gpu.latency_factor
            * f64::from(self.steps)
            / 30.0
            * pixels.powf(0.8)
            * (0.22 * speed).exp()
            * if self.batch > 1 { 2.6 } else { 1.0 }
            * effects.latency_factor
            * if is_slow { effects.slow.1 } else { 1.0 };
        let latency_ms = match failure {
            None => work_ms,
            Some(Failure::Oom) => 0.4 * work_ms,
            Some(Failure::Timeout) => work_ms.max(30_000.0),
            Some(Failure::SafetyBlock | Failure::InvalidConfig) => 90.0 * (0.3 * speed).exp(),
        };
        let quality = Quality {
            clip_i: (version.clip_i - effects.aesthetic_delta / 20.0 + 0.028 * clip).clamp(0.0, 1.0),
            aesthetic: (version.aesthetic - effects.aesthetic_delta + 0.55 * aesthetic).clamp(1.0, 10.0),
            nsfw: nsfw < NSFW * effects.nsfw_factor,
            face_ok: face < 0.93,
            style_distance: (0.24 + 0.06 * distance).clamp(0.0, 2.0),
        };
        // Users accept better images more often.
        let acceptance =
            (ACCEPTED + 0.06 * (quality.aesthetic - version.aesthetic)) * effects.acceptance_factor;

        request.session = self.id;
        request.user = self.user;
        request.opt_out =
            (mix(self.user ^ 0x0b7_0071) >> 11) as f64 / ((1u64 << 53) as f64) < service.opt_out_share;
        request.place = place;
        request.id = id;
        request.trace = trace;
        request.span = span;
        request.prompt.clone_from(&self.text);
        request.prompt_chars = self.chars;
        request.language = self.prompt.language;
        request.style = self.prompt.style;
        // From the session's id, since a draw would change all later values.
        let draw = unit(mix(self.id ^ 0x57_71e5));
        request.drawn = if draw < effects.drawn_share { ANIME } else { request.style };
        request.checkpoint = mix(u64::from(place.version) << 32 | effects.release);
        request.loras = self.loras;
        request.lora_count = self.lora_count;
        if unit(mix(self.id ^ 0x10_4a5)) < effects.new_lora_share {
            let slot = request.lora_count.min(request.loras.len() - 1);
            request.loras[slot] = NEW_LORA;
            request.lora_count = slot + 1;
        }
        request.sampler = self.sampler;
        request.steps = self.steps;
        request.cfg = self.cfg;
        request.seed = seed;
        request.resolution = self.resolution;
        request.batch = self.batch;
        request.latency_ms = latency_ms;
        request.queue_wait_ms = 120.0 * (0.9 * queue).exp();
        request.gpu_util = 0.55 + 0.43 * util;
        request.cost_usd = latency_ms / 1_000.0 * gpu.usd_per_second * effects.cost_factor;
        request.ingest_ms = 4.0 * (0.4 * ingest).exp();
        request.safety_check_ms = 35.0 * (0.25 * safety).exp();
        request.upload_ms = 60.0 * (0.5 * upload).exp();
        request.failure = failure;
        request.quality = quality;
        request.accepted = failure.is_none() && accept < acceptance;
        request.edited = failure.is_none() && edit < 0.08;
        request.rerolls = self.rerolls;
        remains
    }

    fn next_prompt(&mut self, composer: &Composer, effects: &Effects) {
        let style = if self.style_draw < effects.anime_share { ANIME } else { self.style };
        let language = match effects.language {
            Some((share, to)) if self.language_draw < share => to,
            _ => self.language,
        };
        let turned = self.prompt.style != style || self.prompt.language != language;
        let draw: f64 = self.words.random();
        if !self.has_prompt || turned || draw < NEW_PROMPT {
            composer.compose(&mut self.prompt, style, language, &mut self.words);
            self.rerolls = 0;
        } else if draw < NEW_PROMPT + RE_ROLL {
            self.rerolls += 1;
            return;
        } else {
            composer.edit(&mut self.prompt, &mut self.words);
            self.rerolls = 0;
        }
        self.prompt.render(&mut self.text);
        self.chars = self.text.chars().count() as u32;
        self.has_prompt = true;
    }
}

/// A hash as a number from 0 to 1.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_make_as_many_requests_as_announced() {
        let tables = Tables::new(6);
        let mut session = SimulatedSession::vacant();
        let (mut requests, mut longest) = (0u32, 0);
        for seed in 0..20_000 {
            session.begin(seed, 0, &tables);
            let mut n = 1;
            while session.next_pause().is_some() {
                n += 1;
            }
            requests += n;
            longest = longest.max(n);
        }
        let mean = f64::from(requests) / 20_000.0;
        assert!((mean - mean_requests()).abs() < 0.1, "{mean} against {}", mean_requests());
        assert_eq!(longest, MAX_REQUESTS);
    }

    #[test]
    fn a_session_keeps_its_place_and_mostly_its_prompt() {
        let (tables, composer) = (Tables::new(6), Composer::new());
        let service = Service { composer: &composer, opt_out_share: 0.0 };
        let mut session = SimulatedSession::vacant();
        let (mut request, mut previous) = (Request::default(), String::new());
        let (mut same, mut pairs) = (0u32, 0u32);
        for seed in 0..2_000 {
            session.begin(seed, 1, &tables);
            previous.clear();
            let user = session.user;
            loop {
                assert!(session.request(&service, &Effects::default(), &mut request));
                assert_eq!((request.user, request.place.region), (user, 1));
                if !previous.is_empty() {
                    pairs += 1;
                    same += u32::from(previous == request.prompt);
                }
                previous.clone_from(&request.prompt);
                if session.next_pause().is_none() {
                    break;
                }
            }
        }
        let share = f64::from(same) / f64::from(pairs);
        assert!((0.57..0.67).contains(&share), "{share}");
    }
}
