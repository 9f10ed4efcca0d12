//! A job: everything that follows from its configuration, made once.

use super::error::{JobError, OWNER_FILE};
use super::evaluate::history;
use super::evaluate::settings::EvaluationSettings;
use super::pin_files;
use crate::alert::{RuleNames, Rules, default_rules_for};
use crate::baseline::BaselineName;
use crate::config::units::Span;
use crate::config::{Config, plain_name};
use crate::embed::{Embedder, vector_plan};
use crate::enrich::{DEFAULT_KEY, IdHasher, Plan, Shown};
use crate::store::panes::TableNames;
use crate::store::{CreateOutcome, Storage, StorageError};
use crate::window::{CONFIRMING_RECORDS, Filler, Times};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// How a job gets its events; run and replay never share a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// From Kafka.
    Run,
    /// From files.
    Replay,
}

/// A job, ready to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Where it writes.
    pub storage: Storage,
    /// What enriching needs.
    pub plan: Arc<Plan>,
    /// Finds vectors of images; `None` where images are not watched, and for a job set up for
    /// reading only.
    pub embedder: Option<Arc<Embedder>>,
    /// What is needed to add events to panes.
    pub filler: Arc<Filler>,
    /// Pane length and lateness.
    pub times: Times,
    /// What evaluating needs.
    pub settings: Arc<EvaluationSettings>,
}

/// The file at the output's root that names its job.
#[derive(Debug, Serialize, Deserialize)]
struct OutputOwner {
    job: String,
    format: u32,
}

const FORMAT: u32 = 1;
/// Folders that `--overwrite` empties: all that a job writes, except pins.
const OWN: [&str; 12] = [
    "panes",
    "windows",
    "alerts",
    "rejects",
    "exclusions",
    "vectors",
    "_panes",
    "_open",
    "_days",
    "_staged",
    "_chain",
    "_inputs",
];

impl Job {
    /// Sets up a job in its output, which then belongs to it.
    ///
    /// # Errors
    /// As [`Job::prepare`] and [`PreparedJob::begin`].
    pub fn open(config: Config, kind: JobKind, storage: Storage, overwrite: bool) -> Result<Self, JobError> {
        Self::prepare(config, kind, storage)?.begin(overwrite)
    }

    /// Sets up a job without writing anything: every mistake should be known before its output is
    /// touched.
    ///
    /// # Errors
    /// When configuration, rules, models or earlier files are invalid.
    pub fn prepare(config: Config, kind: JobKind, storage: Storage) -> Result<PreparedJob, JobError> {
        let default = match (&config.input.kafka, kind) {
            (Some(k), JobKind::Run) => format!("run-{}-{}", k.topic, k.group),
            (None, JobKind::Run) => "run".to_owned(),
            (_, JobKind::Replay) => "replay".to_owned(),
        };
        let name = config.engine.job.clone().unwrap_or(default);
        if !plain_name(&name) {
            return Err(JobError::Name(name));
        }
        let mut job = Self::set_up(config, name, storage, true)?;
        if let (Some(embedding), Some(plan)) = (&job.settings.config.embedding, &job.plan.vectors) {
            job.embedder = Some(Arc::new(Embedder::new(embedding, plan, &job.storage)?));
        }
        if job.settings.config.privacy.key.is_empty() {
            tracing::warn!(
                "privacy.key is not set: session and user ids are hashed with a built-in key that is public, so anybody can find out whether \
                 an id that they know is in the output; set key = \"${{DRIFTGLASS_KEY}}\" under [privacy], and that variable \
                 to a secret that stays the same"
            );
        }
        Ok(PreparedJob { job })
    }

    /// Sets up a job for reading only: nothing is written.
    ///
    /// # Errors
    /// As [`Job::open`].
    pub fn look(config: Config, storage: Storage) -> Result<Self, JobError> {
        let name = owner(&storage)?.map_or_else(|| "run".to_owned(), |o| o.job);
        // Rules may name a pin that this command is about to make.
        Self::set_up(config, name, storage, false)
    }

    fn set_up(config: Config, name: String, storage: Storage, judges: bool) -> Result<Self, JobError> {
        let features = config.feature_set()?;
        let groupings = Arc::new(config.groupings()?);
        let names = TableNames::new(Arc::clone(&groupings), &features);
        let pinned = if judges { Some(pin_files::names(&storage)?) } else { None };
        let rules = compile_rules(&config, &names, pinned.as_deref())?;
        let key = if config.privacy.key.is_empty() { DEFAULT_KEY } else { &config.privacy.key };
        let vectors = match &config.embedding {
            None => None,
            Some(embedding) => Some(Arc::new(vector_plan(embedding, &storage)?)),
        };
        let plan = Arc::new(Plan {
            features: features.clone(),
            dimensions: groupings.dimensions.clone(),
            hasher: IdHasher::new(key),
            hidden: config.hidden_fields()?,
            vectors,
        });
        let filler = Arc::new(Filler::new(&plan, Arc::clone(&groupings)));
        let shown = Shown::new(plan.hasher.clone(), config.privacy.min_users);
        let names = TableNames { shown, ..names.with_definitions(filler.definitions()) };
        // The logs of tests are short.
        let confirming_records = if cfg!(test) { 15 } else { CONFIRMING_RECORDS };
        let (pane, lateness) = (config.windows.pane.0, config.windows.lateness.0);
        let times = Times { pane, lateness, confirming_records };
        let pins = history::pins(&storage, &names)?.into_iter().map(|p| p.0).collect();
        let styles = plan.vectors.iter().flat_map(|v| &v.styles);
        let styles = styles.map(|s| (Arc::clone(&s.name), s.centroid.clone())).collect();
        let settings =
            Arc::new(EvaluationSettings { config, features, groupings, names, rules, pins, styles });
        Ok(Self { name, storage, plan, embedder: None, filler, times, settings })
    }

    /// Whether a local file is in a folder that `--overwrite` empties.
    #[must_use]
    pub fn clears(&self, path: &Path) -> bool {
        let root = url::Url::parse(self.storage.url()).ok().and_then(|u| u.to_file_path().ok());
        let (Some(root), Ok(path)) = (root, path.canonicalize()) else { return false };
        OWN.iter().any(|folder| path.starts_with(root.join(folder)))
    }

    /// The folder of a partition's chain.
    #[must_use]
    pub fn partition_chain(&self, partition: i32) -> String {
        format!("_chain/{}/partition={partition:05}", self.name)
    }

    /// The folder of the evaluator's chain.
    #[must_use]
    pub fn evaluator_chain(&self) -> String {
        format!("_chain/{}/evaluator", self.name)
    }

    /// The folder of the days.
    #[must_use]
    pub fn days_folder(&self) -> String {
        format!("_days/{}", self.name)
    }
}

/// A job that is set up and has written nothing yet.
#[derive(Debug)]
pub struct PreparedJob {
    job: Job,
}

impl PreparedJob {
    /// The job, for checking its inputs before it begins.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Makes the output the job's own, emptied first if `overwrite` says so.
    ///
    /// # Errors
    /// When the output belongs to another job, or fails.
    pub fn begin(self, overwrite: bool) -> Result<Job, JobError> {
        if overwrite {
            self.clear()?;
        }
        claim_output(&self.job.storage, &self.job.name)?;
        Ok(self.job)
    }

    /// Deletes what a job wrote, its owner last: a clearing that was interrupted can be repeated.
    fn clear(&self) -> Result<(), JobError> {
        let storage = &self.job.storage;
        if let Some(recorded) =
            self.job.settings.config.embedding.as_ref().and_then(|e| e.recorded.as_deref())
            && reads_from(recorded, storage)?
        {
            return Err(JobError::ReadsItself);
        }
        let mut files = Vec::new();
        for folder in OWN {
            files.push((folder, storage.list(folder)?));
        }
        if let Some((folder, _)) = files.iter().find(|f| !f.1.is_empty())
            && storage.get(OWNER_FILE)?.is_none()
        {
            return Err(JobError::NoOutput { dir: storage.url().to_owned(), folder });
        }
        for file in files.iter().flat_map(|f| &f.1) {
            storage.delete(file)?;
        }
        storage.delete(OWNER_FILE)?;
        Ok(())
    }
}

/// Whether a table of vectors is the one in this output, named directly or by the output.
fn reads_from(recorded: &str, storage: &Storage) -> Result<bool, StorageError> {
    let url = Storage::open(recorded, storage.runtime().clone())?.url().to_owned();
    Ok(url == storage.url() || url == format!("{}vectors/", storage.url()))
}

/// Plans the configuration's rules, or the default ones. `pins` are the names of the output's pins,
/// where they are known.
///
/// # Errors
/// The first rule that is wrong.
pub fn compile_rules(
    config: &Config,
    names: &TableNames,
    pins: Option<&[String]>,
) -> Result<Rules, JobError> {
    let features: Vec<String> = names.features.iter().map(ToString::to_string).collect();
    let windows: Vec<String> = config.windows.rolling.iter().map(|r| Span(r.length()).to_string()).collect();
    let groupings: Vec<String> = names.groupings.all.iter().map(|g| g.name.to_string()).collect();
    let baselines: Vec<String> =
        BaselineName::configured(&config.baselines).map(|name| name.to_string()).collect();
    let known = RuleNames {
        dimensions: &names.dimensions,
        features: &features,
        windows: &windows,
        groupings: &groupings,
        baselines: &baselines,
        pins,
    };
    if config.rules.is_empty() {
        return Rules::compile(&default_rules_for(&features), &known)
            .map_err(|e| JobError::Rule(e.to_string()));
    }
    Rules::compile(&config.rules, &known).map_err(|e| {
        let entry = config.rules.iter().position(|r| r.name == e.rule).unwrap_or(0);
        JobError::Rule(format!("{}{e}", config.origin.place(&format!("rules[{entry}].{}", e.key))))
    })
}

/// A name unlike any other writer's.
pub(super) fn writer_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn owner(storage: &Storage) -> Result<Option<OutputOwner>, StorageError> {
    Ok(storage.get(OWNER_FILE)?.and_then(|b| serde_json::from_slice(&b).ok()))
}

fn claim_output(storage: &Storage, name: &str) -> Result<(), JobError> {
    let mine = serde_json::to_vec(&OutputOwner { job: name.to_owned(), format: FORMAT }).unwrap_or_default();
    if storage.create(OWNER_FILE, mine)? == CreateOutcome::Exists {
        let found = owner(storage)?.map(|o| o.job);
        if found.as_deref() != Some(name) {
            return Err(JobError::OtherJob {
                dir: storage.url().to_owned(),
                found: found.unwrap_or_else(|| "unknown".into()),
                wanted: name.to_owned(),
            });
        }
    }
    Ok(())
}
