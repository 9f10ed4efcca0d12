//! The generator: merges new sessions, requests and later stages into one stream in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dimensions::{REGIONS, Tables};
use super::effects::{ResolvedIncident, effects_at};
use super::error::GenerateError;
use super::json::US_PER_DAY;
use super::message::{GeneratedStage, Malformed, MessageWriter};
use super::prompt::Composer;
use super::rhythm::{Arrivals, relative_rate};
use super::session::{Request, Service, SimulatedSession, mix};
use super::settings::GeneratorSettings;

/// Sessions start this long before the first event, so that traffic is at its normal level at the
/// start.
const WARM_UP_US: i64 = 3_600_000_000;

/// What [`Generator::next_into`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Event time of the message in microseconds since 1970 (whole milliseconds); for a malformed
    /// message, the time that it should have.
    pub time_us: i64,
    /// The session, to partition by.
    pub session: u64,
    /// What the message is.
    pub kind: MessageKind,
}

/// What kind of message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A valid event of this stage.
    Event(GeneratedStage),
    /// A message that a consumer must reject.
    Malformed(Malformed),
}

/// Messages written so far, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageCounts {
    events: [u64; 3],
    malformed: [u64; 4],
}

impl MessageCounts {
    /// Messages of this kind.
    pub fn of(&self, kind: MessageKind) -> u64 {
        match kind {
            MessageKind::Event(stage) => self.events[stage as usize],
            MessageKind::Malformed(fault) => self.malformed[fault as usize],
        }
    }

    /// Valid events of all stages.
    pub fn valid(&self) -> u64 {
        self.events.iter().sum()
    }

    /// Malformed messages of all kinds.
    pub fn malformed(&self) -> u64 {
        self.malformed.iter().sum()
    }
}

/// A future event; the number is an index into a slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ScheduledEvent {
    Request(u32),
    Generate(u32),
    Deliver(u32),
}

/// Reusable slots, so that a steady stream allocates nothing.
#[derive(Debug)]
struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    fn take(&mut self, fresh: impl FnOnce() -> T) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.items.push(fresh());
            self.items.len() as u32 - 1
        })
    }
}

/// Generates the events of a simulated service, one message per call.
///
/// Pure: the same [`GeneratorSettings`] give the same bytes. An incident changes nothing outside
/// its segment and time, since every session has its own random streams.
#[derive(Debug)]
pub struct Generator {
    settings: GeneratorSettings,
    start_us: i64,
    end_us: i64,
    tables: Tables,
    composer: Composer,
    incidents: Vec<ResolvedIncident>,
    writer: MessageWriter,
    arrivals: Arrivals,
    arrival_rng: ChaCha8Rng,
    fault_rng: ChaCha8Rng,
    next_arrival: (i64, u16),
    queue: BinaryHeap<Reverse<(i64, u64, ScheduledEvent)>>,
    queued: u64,
    sessions: Slab<SimulatedSession>,
    requests: Slab<Request>,
    counts: MessageCounts,
}

impl Generator {
    /// Creates a generator.
    ///
    /// # Errors
    /// When a setting is out of range, or an incident names a tenant, region, … that the traffic
    /// doesn't have.
    pub fn new(settings: GeneratorSettings) -> Result<Self, GenerateError> {
        settings.check()?;
        let tables = Tables::new(settings.tenants);
        let incidents = settings
            .incidents
            .iter()
            .enumerate()
            .map(|(number, incident)| ResolvedIncident::new(incident, number, &tables))
            .collect::<Result<_, _>>()?;
        settings.check_times()?;
        let start_us = settings.start.timestamp_micros();
        // Messages have whole milliseconds: rounds up, so that none is before the start.
        let start_us = start_us + (-start_us).rem_euclid(1_000);
        let end_us = (settings.start + settings.duration).timestamp_micros();
        let mut arrivals = Arrivals::new(start_us - WARM_UP_US, settings.sessions_per_day());
        let mut arrival_rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let next_arrival = arrivals.next(&mut arrival_rng);
        Ok(Self {
            start_us,
            end_us,
            writer: MessageWriter::new(&tables.tenant_names, settings.stages, settings.image_uris),
            tables,
            composer: Composer::new(),
            incidents,
            arrivals,
            arrival_rng,
            fault_rng: ChaCha8Rng::seed_from_u64(mix(settings.seed)),
            next_arrival,
            queue: BinaryHeap::new(),
            queued: 0,
            sessions: Slab::new(),
            requests: Slab::new(),
            counts: MessageCounts::default(),
            settings,
        })
    }

    /// Writes the next message to `out`, replacing its contents, without a line end. `None` at the
    /// end.
    pub fn next_into(&mut self, out: &mut Vec<u8>) -> Option<Generated> {
        loop {
            self.admit();
            let Reverse((time_us, _, pending)) = self.queue.pop()?;
            if time_us >= self.end_us {
                self.queue.clear();
                self.next_arrival.0 = i64::MAX;
                return None;
            }
            let (stage, place) = match pending {
                ScheduledEvent::Request(session) => match self.request(time_us, session) {
                    Some(place) if self.settings.stages => (GeneratedStage::Ingest, place),
                    Some(place) => (GeneratedStage::Generate, place),
                    None => continue,
                },
                ScheduledEvent::Generate(place) => (GeneratedStage::Generate, place),
                ScheduledEvent::Deliver(place) => (GeneratedStage::Deliver, place),
            };
            return Some(self.emit(out, time_us, stage, place));
        }
    }

    /// Expected number of messages, including malformed ones: the rhythm integrated over time, less
    /// volume drops. The actual number varies, since arrivals are random.
    pub fn expected_total(&self) -> u64 {
        let step = ((self.end_us - self.start_us) / 50_000).max(300_000_000);
        let mut days = 0.0;
        let mut time_us = self.start_us;
        while time_us < self.end_us {
            let width = step.min(self.end_us - time_us);
            let middle = time_us + width / 2;
            for region in 0..REGIONS.len() {
                let lost: f64 =
                    self.incidents.iter().map(|i| i.lost_share(middle, region as u16, &self.tables)).sum();
                days +=
                    relative_rate(region, middle) * (1.0 - lost).max(0.0) * width as f64 / US_PER_DAY as f64;
            }
            time_us += width;
        }
        (days * self.settings.events_per_day).round() as u64
    }

    /// Messages written so far.
    pub const fn counts(&self) -> &MessageCounts {
        &self.counts
    }

    /// The settings.
    pub const fn settings(&self) -> &GeneratorSettings {
        &self.settings
    }

    /// Starts every session that is due before the next queued event.
    fn admit(&mut self) {
        while self.next_arrival.0 < self.end_us
            && self.queue.peek().is_none_or(|Reverse((time_us, _, _))| self.next_arrival.0 <= *time_us)
        {
            let (time_us, region) = self.next_arrival;
            let session = self.sessions.take(SimulatedSession::vacant);
            self.sessions.items[session as usize].begin(self.arrival_rng.next_u64(), region, &self.tables);
            self.push(time_us, ScheduledEvent::Request(session));
            self.next_arrival = self.arrivals.next(&mut self.arrival_rng);
        }
    }

    /// Makes a session's next request. `None`: before the start, or removed by a volume drop.
    fn request(&mut self, time_us: i64, index: u32) -> Option<u32> {
        let session = &mut self.sessions.items[index as usize];
        let mut made = None;
        if time_us >= self.start_us {
            let place = self.requests.take(Request::default);
            let effects = effects_at(&self.incidents, time_us, session.place());
            let service = Service { composer: &self.composer, opt_out_share: self.settings.opt_out_share };
            if session.request(&service, &effects, &mut self.requests.items[place as usize]) {
                made = Some(place);
            } else {
                self.requests.free.push(place);
            }
        }
        match session.next_pause() {
            Some(pause_us) => self.push(time_us + pause_us, ScheduledEvent::Request(index)),
            None => self.sessions.free.push(index),
        }
        made
    }

    fn emit(&mut self, out: &mut Vec<u8>, due_us: i64, stage: GeneratedStage, place: u32) -> Generated {
        let mut time_us = due_us;
        if let Some(jitter_us) = self.settings.jitter.num_microseconds()
            && jitter_us > 0
        {
            time_us = (due_us - self.fault_rng.random_range(0..=jitter_us)).max(self.start_us);
        }
        let time_us = time_us - time_us.rem_euclid(1_000);
        let fault = (self.settings.bad_share > 0.0 && self.fault_rng.random_bool(self.settings.bad_share))
            .then(|| Malformed::ALL[self.fault_rng.random_range(0..Malformed::ALL.len())]);
        let request = &self.requests.items[place as usize];
        let session = request.session;
        self.writer.write(out, request, stage, time_us, fault);
        let kind = match fault {
            Some(fault) => {
                self.counts.malformed[fault as usize] += 1;
                MessageKind::Malformed(fault)
            }
            None => {
                self.counts.events[stage as usize] += 1;
                MessageKind::Event(stage)
            }
        };
        let microseconds = |ms: f64| (ms * 1_000.0) as i64;
        match stage {
            GeneratedStage::Ingest => {
                let ready_us = due_us + microseconds(request.ingest_ms);
                self.push(ready_us, ScheduledEvent::Generate(place));
            }
            GeneratedStage::Generate if self.settings.stages => {
                let done_us = due_us + microseconds(request.queue_wait_ms + request.latency_ms);
                self.push(done_us, ScheduledEvent::Deliver(place));
            }
            GeneratedStage::Generate | GeneratedStage::Deliver => self.requests.free.push(place),
        }
        Generated { time_us, session, kind }
    }

    fn push(&mut self, time_us: i64, pending: ScheduledEvent) {
        self.queue.push(Reverse((time_us, self.queued, pending)));
        self.queued += 1;
    }
}
