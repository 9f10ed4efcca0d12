//! `driftglass bench-score`: comparisons of a window with a baseline per second, of segments and features as real events fill them.

use super::common::{runtime, storage};
use super::{CliError, ConfigFile};
use crate::baseline::{About, Prepared};
use crate::config::features::Feature;
use crate::engine::Job;
use crate::enrich::{Batch, Enricher};
use crate::event::decode;
use crate::sketch::Sketch;
use crate::window::{Contents, PaneRow, Partition, Segment};
use clap::Args;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments.
#[derive(Debug, Args)]
pub struct BenchScore {
    #[command(flatten)]
    config: ConfigFile,
    /// JSON lines, plain, in order of time
    input: PathBuf,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A prepared baseline and the window that is compared with it.
struct Pair<'f> {
    feature: &'f Feature,
    baseline: Prepared,
    window: Sketch,
}

impl BenchScore {
    /// Measures, and prints a line of JSON: comparisons per second on all cores, the median of the rounds.
    ///
    /// # Errors
    /// When the input can't be read.
    pub fn run(self) -> Result<(), CliError> {
        let runtime = runtime()?;
        let config = self.config.read()?;
        let storage = storage(&config, &runtime)?;
        let job = Job::look(config, storage)?;
        let rows = panes(&job, &self.input)?;
        let times = rows.iter().map(|r| r.start);
        let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        // The last tenth of the time is the window, all before it the baseline.
        let cut = last - (last - first) / 10;
        let mut sides: BTreeMap<Segment, (Contents, Contents)> = BTreeMap::new();
        for row in rows {
            let sides = sides.entry(row.segment).or_default();
            let side = if row.start < cut { &mut sides.0 } else { &mut sides.1 };
            side.absorb(row.contents).map_err(CliError::failed)?;
        }
        let pairs: Vec<Pair<'_>> = sides.values().flat_map(|(b, w)| pairs(&job, b, w)).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut rates: Vec<f64> = (0..self.rounds.max(1)).map(|_| rate(&pairs, cores)).collect();
        rates.sort_by(f64::total_cmp);
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        pairs.iter().for_each(|p| *kinds.entry(format!("{:?}", p.feature.kind)).or_default() += 1);
        println!(
            "{}",
            serde_json::json!({
                "segments": sides.len(), "comparisons": pairs.len(), "kinds": kinds, "threads": cores,
                "per_s": rates[rates.len() / 2], "least_per_s": rates[0], "most_per_s": rates[rates.len() - 1],
            })
        );
        Ok(())
    }
}

/// Reads events into panes, as one partition.
fn panes(job: &Job, input: &PathBuf) -> Result<Vec<PaneRow>, CliError> {
    let mut file = std::io::BufReader::new(std::fs::File::open(input).map_err(CliError::failed)?);
    let mut partition = Partition::new(job.filler.clone(), job.times);
    let mut enricher = Enricher::new(job.plan.clone());
    let (mut batch, mut line, mut mistyped) = (Batch::default(), Vec::new(), Vec::new());
    let mut rows = Vec::new();
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line).map_err(CliError::failed)?;
        mistyped.clear();
        if let Ok(event) = decode(line.trim_ascii(), &mut mistyped) {
            enricher.push(&event, &mut batch);
        }
        if batch.rows.len() >= 1_000 || read == 0 {
            partition.ingest(&batch, |_, _| {});
            batch.clear();
            rows.extend(partition.take_closed());
        }
        if read == 0 {
            rows.extend(partition.flush());
            return Ok(rows);
        }
    }
}

fn pairs<'f>(job: &'f Job, baseline: &Contents, window: &Contents) -> Vec<Pair<'f>> {
    let features = &job.settings.features;
    let all = features.iter().zip(&baseline.sketches).zip(&window.sketches);
    all.filter_map(|((feature, b), w)| {
        let about = About { name: "b".into(), id: "b".into(), days: 7, enough_days: true, hours: 168.0 };
        let baseline = Prepared::new(about, feature, b.as_deref()?, None);
        Some(Pair { feature, baseline, window: w.as_deref()?.clone() })
    })
    .collect()
}

/// Compares all pairs once, on so many threads.
fn rate(pairs: &[Pair<'_>], threads: usize) -> f64 {
    let begun = Instant::now();
    let with_p: usize = std::thread::scope(|scope| {
        let one = |part: &[Pair<'_>]| {
            let compared = part.iter().filter_map(|p| p.baseline.compare(p.feature, &p.window, None).ok());
            compared.filter(|c| c.scores.p_value.is_some()).count()
        };
        let size = pairs.len().div_ceil(threads).max(1);
        let handles: Vec<_> = pairs.chunks(size).map(|part| scope.spawn(move || one(part))).collect();
        handles.into_iter().filter_map(|h| h.join().ok()).sum()
    });
    std::hint::black_box(with_p);
    pairs.len() as f64 / begun.elapsed().as_secs_f64()
}
