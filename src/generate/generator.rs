//! The generator: merges arrivals, running sessions and later stages into one stream of messages in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dimensions::{REGIONS, Tables};
use super::effects::{Prepared, effects_at};
use super::error::GenerateError;
use super::json::US_PER_DAY;
use super::message::{Malformed, Stage, Writer};
use super::prompt::Composer;
use super::rhythm::{Arrivals, relative_rate};
use super::session::{Request, Service, Session, mix};
use super::settings::Settings;

/// Sessions begin this long before the first event, so that traffic is at its level from the start.
const WARM_UP_US: i64 = 3_600_000_000;

/// What [`Generator::next_into`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Event time as the message says it, in microseconds since 1970 (whole milliseconds); of a malformed message, the
    /// time it should have said.
    pub time_us: i64,
    /// The session, to partition by.
    pub session: u64,
    /// What the message is.
    pub kind: Kind,
}

/// What kind of message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A valid event of this stage.
    Event(Stage),
    /// A message that a consumer must refuse.
    Malformed(Malformed),
}

/// Messages written so far, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    events: [u64; 3],
    malformed: [u64; 4],
}

impl Counts {
    /// Messages of this kind.
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Event(stage) => self.events[stage as usize],
            Kind::Malformed(fault) => self.malformed[fault as usize],
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

/// Something that happens later; the number is a place in a slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pending {
    Request(u32),
    Generate(u32),
    Deliver(u32),
}

/// Reusable places, so that a steady stream allocates nothing.
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

/// Writes the reference events of a simulated service, one message a call.
///
/// Pure: the same [`Settings`] give the same bytes. An incident changes nothing outside its segment and time: every
/// session draws from streams of its own.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    start_us: i64,
    end_us: i64,
    tables: Tables,
    composer: Composer,
    incidents: Vec<Prepared>,
    writer: Writer,
    arrivals: Arrivals,
    arrival_rng: ChaCha8Rng,
    fault_rng: ChaCha8Rng,
    next_arrival: (i64, u16),
    queue: BinaryHeap<Reverse<(i64, u64, Pending)>>,
    queued: u64,
    sessions: Slab<Session>,
    requests: Slab<Request>,
    counts: Counts,
}

impl Generator {
    /// Prepares a run.
    ///
    /// # Errors
    /// When a setting is out of range, or an incident names a tenant, region, … that the traffic doesn't have.
    pub fn new(settings: Settings) -> Result<Self, GenerateError> {
        settings.check()?;
        let tables = Tables::new(settings.tenants);
        let incidents = settings
            .incidents
            .iter()
            .enumerate()
            .map(|(number, incident)| Prepared::new(incident, number, &tables))
            .collect::<Result<_, _>>()?;
        settings.check_times()?;
        let start_us = settings.start.timestamp_micros();
        // Messages say whole milliseconds: up to the next one, so that none is before the start.
        let start_us = start_us + (-start_us).rem_euclid(1_000);
        let end_us = (settings.start + settings.duration).timestamp_micros();
        let mut arrivals = Arrivals::new(start_us - WARM_UP_US, settings.sessions_per_day());
        let mut arrival_rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let next_arrival = arrivals.next(&mut arrival_rng);
        Ok(Self {
            start_us,
            end_us,
            writer: Writer::new(&tables.tenant_names, settings.stages, settings.image_uris),
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
            counts: Counts::default(),
            settings,
        })
    }

    /// Writes the next message, in place of what `out` held (no line end). `None`: the time is over.
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
                Pending::Request(session) => match self.request(time_us, session) {
                    Some(place) if self.settings.stages => (Stage::Ingest, place),
                    Some(place) => (Stage::Generate, place),
                    None => continue,
                },
                Pending::Generate(place) => (Stage::Generate, place),
                Pending::Deliver(place) => (Stage::Deliver, place),
            };
            return Some(self.emit(out, time_us, stage, place));
        }
    }

    /// Messages that the settings let expect, malformed ones included: the rhythm integrated over the time, less what
    /// volume drops take. The real number varies around it as random arrivals do.
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
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The settings of this run.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins every session that is due before anything queued.
    fn admit(&mut self) {
        while self.next_arrival.0 < self.end_us
            && self.queue.peek().is_none_or(|Reverse((time_us, _, _))| self.next_arrival.0 <= *time_us)
        {
            let (time_us, region) = self.next_arrival;
            let session = self.sessions.take(Session::vacant);
            self.sessions.items[session as usize].begin(self.arrival_rng.next_u64(), region, &self.tables);
            self.push(time_us, Pending::Request(session));
            self.next_arrival = self.arrivals.next(&mut self.arrival_rng);
        }
    }

    /// Makes a session's next request. None: before the start, or taken away by a volume drop.
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
        match session.go_on() {
            Some(pause_us) => self.push(time_us + pause_us, Pending::Request(index)),
            None => self.sessions.free.push(index),
        }
        made
    }

    fn emit(&mut self, out: &mut Vec<u8>, due_us: i64, stage: Stage, place: u32) -> Generated {
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
                Kind::Malformed(fault)
            }
            None => {
                self.counts.events[stage as usize] += 1;
                Kind::Event(stage)
            }
        };
        let microseconds = |ms: f64| (ms * 1_000.0) as i64;
        match stage {
            Stage::Ingest => {
                let ready_us = due_us + microseconds(request.ingest_ms);
                self.push(ready_us, Pending::Generate(place));
            }
            Stage::Generate if self.settings.stages => {
                let done_us = due_us + microseconds(request.queue_wait_ms + request.latency_ms);
                self.push(done_us, Pending::Deliver(place));
            }
            Stage::Generate | Stage::Deliver => self.requests.free.push(place),
        }
        Generated { time_us, session, kind }
    }

    fn push(&mut self, time_us: i64, pending: Pending) {
        self.queue.push(Reverse((time_us, self.queued, pending)));
        self.queued += 1;
    }
}
