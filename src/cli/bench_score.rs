//! `driftglass bench-score`: comparisons of windows with baselines per second, on real events.

use super::common::{runtime, say, storage};
use super::{CliError, ConfigFile};
use crate::baseline::{BaselineInfo, BlocksOfWeek, Prepared, UnseenDays};
use crate::config::features::{Feature, of_embeddings};
use crate::engine::Job;
use crate::enrich::reference::Reference;
use crate::enrich::{Batch, Enricher};
use crate::event::decode;
use crate::sketch::{Body, Sketch, SketchId, VectorSketch, session_bucket};
use crate::window::{Origins, Pane, Partition, Reach, Segment, SketchSet};
use clap::Args;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments.
#[derive(Debug, Args)]
pub struct BenchScore {
    #[command(flatten)]
    config: ConfigFile,
    /// Uncompressed JSON lines, sorted by time
    #[arg(required_unless_present = "vectors")]
    input: Option<PathBuf>,
    /// Measure vectors instead: N random ones of 512 components per window
    #[arg(long, value_name = "N")]
    vectors: Option<usize>,
    /// Number of rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Comparisons of each pair per round: enough to hide the start of threads.
const TIMES: usize = 100;

/// A prepared baseline and the window that is compared with it.
struct ComparedPair<'f> {
    feature: &'f Feature,
    baseline: Prepared,
    window: Sketch,
}

impl BenchScore {
    /// Measures, and prints a line of JSON: comparisons per second on all cores, the median of the
    /// rounds.
    ///
    /// # Errors
    /// When the input can't be read.
    pub fn run(self) -> Result<(), CliError> {
        if let Some(n) = self.vectors {
            say(vectors(n.max(1), self.rounds.max(1)))?;
            return Ok(());
        }
        let Some(input) = &self.input else { return Err(CliError::usage("name a file of events")) };
        let runtime = runtime()?;
        let config = self.config.read()?;
        let storage = storage(&config, &runtime)?;
        let job = Job::look(config, storage)?;
        let rows = panes(&job, input)?;
        let times = rows.iter().map(|r| r.start);
        let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        // The last tenth of the time is the window, all before it the baseline.
        let cut = last - (last - first) / 10;
        let mut sides: BTreeMap<Segment, (SketchSet, SketchSet)> = BTreeMap::new();
        for row in rows {
            let sides = sides.entry(row.segment).or_default();
            let side = if row.start < cut { &mut sides.0 } else { &mut sides.1 };
            row.contents.add_to(side, |_| true).map_err(CliError::failed)?;
        }
        let pairs: Vec<ComparedPair<'_>> = sides.values().flat_map(|(b, w)| pairs(&job, b, w)).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut rates: Vec<f64> = (0..self.rounds.max(1)).map(|_| rate(&pairs, cores)).collect();
        rates.sort_by(f64::total_cmp);
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        pairs.iter().for_each(|p| *kinds.entry(format!("{:?}", p.feature.kind)).or_default() += 1);
        say(serde_json::json!({
            "segments": sides.len(), "comparisons": pairs.len(), "kinds": kinds, "threads": cores,
            "per_s": rates[rates.len() / 2], "least_per_s": rates[0], "most_per_s": rates[rates.len() - 1],
        }))?;
        Ok(())
    }
}

/// The cost of a vector: adding it to a sketch, projecting it, comparing a window of `n` with a
/// baseline of ten times as many, and the bytes of the window.
fn vectors(n: usize, rounds: usize) -> serde_json::Value {
    const DIMENSION: usize = 512;
    let reference = Reference::random(DIMENSION);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let made: Vec<Vec<f32>> =
        (0..n).map(|_| (0..DIMENSION).map(|_| rng.random::<f32>() - 0.5).collect()).collect();
    let (mut unit, mut projected) = (Vec::new(), vec![0.0; reference.components()]);
    let mut fill = |sketch: &mut VectorSketch, times: u64| {
        for (i, v) in (0..times).flat_map(|t| made.iter().map(move |v| (t, v))) {
            Reference::unit(v, &mut unit);
            reference.project(&unit, &mut projected);
            let session = (i << 32) ^ u64::from(v[0].to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sketch.add(&unit, &projected, session_bucket(session), session, (session, "r"));
        }
    };
    let (mut baseline, mut window) = (VectorSketch::default(), VectorSketch::default());
    fill(&mut baseline, 10);
    fill(&mut window, 1);
    let mut adds: Vec<f64> = Vec::new();
    for _ in 0..rounds {
        let (mut sketch, started) = (VectorSketch::default(), Instant::now());
        fill(&mut sketch, 1);
        adds.push(started.elapsed().as_secs_f64() * 1e6 / n as f64);
        std::hint::black_box(sketch);
    }
    let features = of_embeddings();
    let feature = &features[0];
    let sketch = |body| Sketch { id: SketchId(1), body: Body::Vector(body) };
    let (baseline, window) = (sketch(baseline), sketch(window));
    let about = BaselineInfo {
        name: "b".into(),
        id: "b".into(),
        days: 7,
        enough_days: true,
        blocks: BlocksOfWeek::ALL,
        unseen: UnseenDays::default(),
        hours: 168.0,
    };
    let started = Instant::now();
    let prepared = Prepared::new(about, feature, &baseline, None);
    let preparing = started.elapsed().as_secs_f64() * 1e6;
    let mut scores: Vec<f64> = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        for _ in 0..100 {
            std::hint::black_box(prepared.compare(feature, &window, None).ok());
        }
        scores.push(started.elapsed().as_secs_f64() * 1e4);
    }
    adds.sort_by(f64::total_cmp);
    scores.sort_by(f64::total_cmp);
    serde_json::json!({
        "vectors": n, "us_per_vector": adds[rounds / 2], "us_to_prepare_a_baseline": preparing,
        "us_per_score": scores[rounds / 2], "bytes_of_a_window": window.encode().len(),
    })
}

/// Reads events into panes, as one partition.
fn panes(job: &Job, input: &Path) -> Result<Vec<Pane>, CliError> {
    let mut file = std::io::BufReader::new(std::fs::File::open(input).map_err(CliError::failed)?);
    let mut partition = Partition::new(job.filler.clone(), job.times);
    let mut enricher = Enricher::new(job.plan.clone());
    let (mut batch, mut line, mut mistyped) = (Batch::default(), Vec::new(), Vec::new());
    let (mut rows, mut next) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line).map_err(CliError::failed)?;
        mistyped.clear();
        if let Ok(event) = decode(line.trim_ascii(), &mut mistyped) {
            enricher.push(&event, &mut batch);
        }
        if batch.rows.len() >= 1_000 || read == 0 {
            let offsets: Vec<i64> = (next..).take(batch.rows.len()).collect();
            next += batch.rows.len() as i64;
            let origins = Origins { offsets: &offsets, appended: &[] };
            partition.ingest(&batch, origins, |_, _, _| {}).map_err(CliError::failed)?;
            batch.clear();
            rows.extend(partition.take_closed());
        }
        if read == 0 {
            rows.extend(partition.flush(Reach::Ended).0);
            return Ok(rows);
        }
    }
}

fn pairs<'f>(job: &'f Job, baseline: &SketchSet, window: &SketchSet) -> Vec<ComparedPair<'f>> {
    let features = &job.settings.features;
    let all = features.iter().zip(&baseline.sketches).zip(&window.sketches);
    all.filter_map(|((feature, b), w)| {
        let about = BaselineInfo {
            name: "b".into(),
            id: "b".into(),
            days: 7,
            enough_days: true,
            blocks: BlocksOfWeek::ALL,
            unseen: UnseenDays::default(),
            hours: 168.0,
        };
        let baseline = Prepared::new(about, feature, b.as_deref()?, None);
        Some(ComparedPair { feature, baseline, window: w.as_deref()?.clone() })
    })
    .collect()
}

/// Compares all pairs [`TIMES`] times on `threads` threads.
fn rate(pairs: &[ComparedPair<'_>], threads: usize) -> f64 {
    let started = Instant::now();
    let with_p: usize = std::thread::scope(|scope| {
        let one = |part: &[ComparedPair<'_>]| {
            let pairs = (0..TIMES).flat_map(|_| part);
            let compared = pairs.filter_map(|p| p.baseline.compare(p.feature, &p.window, None).ok());
            compared.filter(|c| c.scores.p_value.is_some()).count()
        };
        let size = pairs.len().div_ceil(threads).max(1);
        let handles: Vec<_> = pairs.chunks(size).map(|part| scope.spawn(move || one(part))).collect();
        handles.into_iter().filter_map(|h| h.join().ok()).sum()
    });
    std::hint::black_box(with_p);
    (TIMES * pairs.len()) as f64 / started.elapsed().as_secs_f64()
}
