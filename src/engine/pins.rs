//! What people do with baselines: pinning a range of committed hours, looking at a baseline,
//! accepting the present.

use super::error::{EvaluationError, PinError};
use super::evaluate::history::{Days, excluded, exclusions, read_rows};
use super::evaluate::types::History;
use super::job::Job;
use super::pin_files::{ACCEPTS, PINS};
pub use super::pin_files::{PinInfo, accepts, names, pins};
use crate::baseline::{
    Accept, BaselineDays, BaselineName, BaselineRecipe, BaselineSet, Excluded, HeldBaselines, HoursOfDay,
    PinnedHours, RESERVED_PREFIXES, accepted,
};
use crate::config::Baselines;
use crate::config::near::near;
use crate::config::plain_name;
use crate::event::time::{DAY, HOUR, date, floor, text};
use crate::sketch::{MAX_STRETCH_VALUES, Sketch};
use crate::store::panes::{self, TableNames};
use crate::store::{CreateOutcome, Storage};
use crate::window::{PaneRow, Segment, SketchSet};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn json_of(name: &str) -> String {
    format!("{PINS}/{name}.json")
}

fn rows_of(name: &str) -> String {
    format!("{PINS}/{name}.parquet")
}

/// Names of pins are parts of paths on every store.
fn check_name(name: &str) -> Result<(), PinError> {
    if plain_name(name) && name.is_ascii() && !RESERVED_PREFIXES.iter().any(|p| name.starts_with(p)) {
        Ok(())
    } else {
        Err(PinError::Name(name.to_owned()))
    }
}

/// Files of the public `panes` with their date, sorted.
fn pane_files(storage: &Storage) -> Result<Vec<(String, String)>, PinError> {
    let files = storage.list("panes")?;
    Ok(files
        .into_iter()
        .filter_map(|path| {
            let date = path.split('/').find_map(|p| p.strip_prefix("date="))?.to_owned();
            Some((date, path))
        })
        .collect())
}

/// What was pinned.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Range, hours and days.
    pub info: PinInfo,
    /// Segments that it has.
    pub segments: usize,
}

/// Merges the committed hours of `from..to` (microseconds, whole hours) into a baseline of this
/// name.
///
/// # Errors
/// When the name is taken or not a name, the range has no data, or the output fails.
pub fn pin(
    storage: &Storage,
    names: &TableNames,
    name: &str,
    from: i64,
    to: i64,
) -> Result<Pinned, PinError> {
    check_name(name)?;
    let range = || (text(from), text(to));
    if from >= to || from % HOUR != 0 || to % HOUR != 0 {
        let (from, to) = range();
        return Err(PinError::Range { from, to });
    }
    if storage.get(&json_of(name))?.is_some() {
        return Err(PinError::Exists(name.to_owned()));
    }
    let files = pane_files(storage)?;
    let (first, last) = (date(from), date(to - 1));
    let mut segments: BTreeMap<(Segment, HoursOfDay), (i64, SketchSet)> = BTreeMap::new();
    let mut hours = BTreeSet::new();
    for (_, path) in files.iter().filter(|(d, _)| *d >= first && *d <= last) {
        for row in read_rows(storage, path, names)? {
            if row.start < from || row.start >= to {
                continue;
            }
            hours.insert(row.start);
            let block = (row.segment, HoursOfDay::of(row.start));
            let merged = segments.entry(block).or_insert_with(|| (row.start, SketchSet::default()));
            merged.0 = merged.0.min(row.start);
            merged.1.merge(&row.contents).map_err(EvaluationError::from)?;
        }
    }
    if segments.is_empty() {
        let have = match (files.first(), files.last()) {
            (Some(a), Some(b)) => format!("this output has panes of {} to {}", a.0, b.0),
            _ => format!("{} has none at all: has the job run with this output?", storage.url()),
        };
        let (from, to) = range();
        return Err(PinError::NoData { from, to, have });
    }
    let mut count = 0;
    let mut last = None;
    let mut rows = Vec::new();
    for ((segment, _), (start, mut contents)) in segments {
        contents.fold(MAX_STRETCH_VALUES);
        count += usize::from(last.as_ref() != Some(&segment));
        last = Some(segment.clone());
        rows.push(PaneRow { start, close_at: to, segment, contents });
    }
    let held = |wanted: HoursOfDay| {
        let hours = hours.iter().filter(|hour| wanted.contains(HoursOfDay::of(**hour)));
        let days: BTreeSet<i64> = hours.clone().map(|hour| floor(*hour, DAY)).collect();
        PinnedHours { hours: hours.count() as u32, days: days.len() as u16 }
    };
    let all = held(HoursOfDay::ALL);
    let blocks = HoursOfDay::blocks().map(held).collect();
    let info = PinInfo { from, to, hours: all.hours, days: all.days, blocks };
    write(storage, name, panes::encode(&rows, to - from, names)?, &info)?;
    Ok(Pinned { info, segments: count })
}

/// The rows first, then the description, which makes the pin count.
fn write(storage: &Storage, name: &str, rows: Vec<u8>, info: &PinInfo) -> Result<(), PinError> {
    if storage.create(&rows_of(name), rows.clone())? == CreateOutcome::Exists
        && storage.get(&rows_of(name))?.is_none_or(|b| *b != *rows)
    {
        return Err(PinError::Unfinished(name.to_owned()));
    }
    let json = serde_json::to_vec(info).unwrap_or_default();
    match storage.create(&json_of(name), json)? {
        CreateOutcome::Created => Ok(()),
        CreateOutcome::Exists => Err(PinError::Exists(name.to_owned())),
    }
}

/// Removes a pin. A job that runs keeps it until it starts again.
///
/// # Errors
/// When there is none of this name, or the output fails.
pub fn unpin(storage: &Storage, name: &str) -> Result<(), PinError> {
    let pin = BaselineName::pin(name);
    let name = pin.pin_name().unwrap_or(name);
    check_name(name)?;
    let (json, rows) = (json_of(name), rows_of(name));
    if storage.get(&json)?.is_none() && storage.get(&rows)?.is_none() {
        return Err(unknown(name, &pins(storage)?, None));
    }
    storage.delete(&json)?;
    storage.delete(&rows)?;
    Ok(())
}

/// No such baseline among the pins, and among the configured ones where these are given.
fn unknown(name: &str, pins: &[(String, PinInfo)], config: Option<&Baselines>) -> PinError {
    let configured = config.into_iter().flat_map(BaselineName::configured).map(|n| n.to_string());
    let all: Vec<String> = configured.chain(pins.iter().map(|p| p.0.clone())).collect();
    let valid: Vec<&str> = all.iter().map(String::as_str).collect();
    PinError::Unknown { name: name.to_owned(), known: near(name, "baselines", &valid) }
}

/// One segment's feature in a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineFeature {
    /// The segment.
    pub segment: Segment,
    /// Index of the feature.
    pub feature: usize,
    /// Days with data.
    pub days: u16,
    /// Hours covered, for volumes.
    pub hours: f64,
    /// The sum.
    pub sketch: Sketch,
}

/// End of the newest day that a job has closed: rolling baselines of the windows that start on that
/// day end here.
///
/// # Errors
/// When the output fails.
pub fn newest_day(job: &Job) -> Result<Option<i64>, PinError> {
    let files = job.storage.list(&job.days_folder())?;
    let end = |path: &String| path.rsplit('/').next()?.split('-').nth(1)?.parse::<i64>().ok();
    Ok(files.iter().filter_map(end).max().map(|t| floor(t, DAY)))
}

/// The baselines of windows that start on a day, made of the job's days in `stretch`; without pins.
///
/// # Errors
/// When they can't be read.
pub fn baseline_set(job: &Job, day: i64, stretch: BaselineDays) -> Result<BaselineSet, PinError> {
    let settings = &job.settings;
    let names = &settings.names;
    let all = excluded(&exclusions(&job.storage, names)?);
    let excluded = accepted(&all, &accepts(&job.storage)?, day, &names.features);
    let mut history = Days::new(job.storage.clone(), job.days_folder(), names.clone());
    let days = history.days(stretch.from(), stretch.until())?;
    let recipe = BaselineRecipe {
        config: settings.config.baselines.clone(),
        features: settings.features.clone().into(),
        groupings: Arc::clone(&settings.groupings),
        pins: Arc::new([]),
        shown: names.shown.clone(),
    };
    Ok(BaselineSet::new(recipe, day, excluded, HeldBaselines::default(), days))
}

/// Of a baseline's days those that have data, of any segment.
///
/// # Errors
/// When they can't be read.
pub fn days_with_data(set: &BaselineSet, days: BaselineDays) -> Result<BTreeSet<i64>, PinError> {
    Ok(set.days_with_data(days).map_err(EvaluationError::History)?)
}

/// What a baseline holds: a configured one for windows that start on the newest closed day's end,
/// or a pin, with or without its prefix. `wanted` picks segments and features.
///
/// # Errors
/// When there is no such baseline, or it can't be read.
pub fn baseline_features(
    job: &Job,
    name: &str,
    wanted: &dyn Fn(&Segment, usize) -> bool,
) -> Result<Vec<BaselineFeature>, PinError> {
    let asked = BaselineName::asked_for(name)?;
    match asked.pin_name() {
        Some(pin) => features_of_pin(job, name, pin, wanted),
        None => features_of_days(job, &asked, wanted),
    }
}

fn features_of_days(
    job: &Job,
    name: &BaselineName,
    wanted: &dyn Fn(&Segment, usize) -> bool,
) -> Result<Vec<BaselineFeature>, PinError> {
    let config = &job.settings.config.baselines;
    if !BaselineName::configured(config).any(|own| own == *name) {
        return Err(unknown(&name.to_string(), &pins(&job.storage)?, Some(config)));
    }
    let Some(day) = newest_day(job)? else { return Ok(Vec::new()) };
    let stretch = BaselineDays::of(name, day).unwrap_or_else(|| BaselineDays::of_longest(config, day));
    let set = baseline_set(job, day, stretch)?;
    let Some(days) = set.days_of(name) else { return Ok(Vec::new()) };
    let features = job.settings.features.len();
    let mut out = Vec::new();
    for segment in set.segments() {
        if !(0..features).any(|f| wanted(&segment, f)) {
            continue;
        }
        let sum = set.sum(days, &segment).map_err(EvaluationError::History)?;
        for (feature, (sketch, days)) in sum.contents.sketches.into_iter().zip(&sum.days).enumerate() {
            let Some(sketch) = sketch.filter(|_| wanted(&segment, feature)) else { continue };
            let (days, hours) = (days.len() as u16, days.len() as f64 * 24.0);
            out.push(BaselineFeature { segment: segment.clone(), feature, days, hours, sketch: *sketch });
        }
    }
    Ok(out)
}

/// `asked` is the name as it was asked for.
fn features_of_pin(
    job: &Job,
    asked: &str,
    pin: &str,
    wanted: &dyn Fn(&Segment, usize) -> bool,
) -> Result<Vec<BaselineFeature>, PinError> {
    let all = pins(&job.storage)?;
    let Some((_, info)) = all.iter().find(|p| p.0 == pin) else {
        return Err(unknown(asked, &all, Some(&job.settings.config.baselines)));
    };
    let mut sums: BTreeMap<(Segment, usize), Sketch> = BTreeMap::new();
    for row in read_rows(&job.storage, &rows_of(pin), &job.settings.names)? {
        for (f, sketch) in row.contents.sketches.into_iter().enumerate() {
            let Some(sketch) = sketch.filter(|_| wanted(&row.segment, f)) else { continue };
            match sums.entry((row.segment.clone(), f)) {
                Entry::Occupied(mut e) => e.get_mut().merge(&sketch).map_err(EvaluationError::from)?,
                Entry::Vacant(e) => {
                    e.insert(*sketch);
                }
            }
        }
    }
    let hours = f64::from(info.hours);
    let of_feature =
        |((segment, feature), sketch)| BaselineFeature { segment, feature, days: info.days, hours, sketch };
    Ok(sums.into_iter().map(of_feature).collect())
}

/// End of the newest hour that is committed: the event time that "now" is.
///
/// # Errors
/// When the output fails.
pub fn newest_hour(job: &Job) -> Result<Option<i64>, PinError> {
    let files = pane_files(&job.storage)?;
    let Some((newest, _)) = files.last() else { return Ok(None) };
    let mut end = None;
    for (_, path) in files.iter().filter(|f| f.0 == *newest) {
        let rows = read_rows(&job.storage, path, &job.settings.names)?;
        end = end.max(rows.iter().map(|r| r.start + HOUR).max());
    }
    Ok(end)
}

/// Days back in which a segment counts as seen.
const SEEN_DAYS: i64 = 28;

/// The segments that this output has: in its newest day of panes, in the days of its baselines,
/// among the exclusions.
///
/// # Errors
/// When they can't be read.
pub fn segments_seen(job: &Job) -> Result<BTreeSet<Segment>, PinError> {
    let mut seen: BTreeSet<Segment> = BTreeSet::new();
    if let Some(day) = newest_day(job)? {
        let names = job.settings.names.clone();
        let mut history = Days::new(job.storage.clone(), job.days_folder(), names);
        for table in history.days(day - SEEN_DAYS * DAY, i64::MAX)? {
            seen.extend(table.segments().iter().cloned());
        }
    }
    let files = pane_files(&job.storage)?;
    let newest = files.last().map(|f| f.0.clone()).unwrap_or_default();
    for (_, path) in files.iter().filter(|f| f.0 == newest) {
        let rows = read_rows(&job.storage, path, &job.settings.names)?;
        seen.extend(rows.into_iter().map(|r| r.segment));
    }
    let excluded = excluded(&exclusions(&job.storage, &job.settings.names)?);
    seen.extend(excluded.into_keys().map(|(segment, _)| segment));
    Ok(seen)
}

/// Records an accept; the same one twice is one. Returns how many excluded days count again because
/// of it.
///
/// # Errors
/// When the output fails.
pub fn accept(job: &Job, accept: &Accept) -> Result<usize, PinError> {
    let names = &job.settings.names;
    let all = excluded(&exclusions(&job.storage, names)?);
    let days = |e: &Excluded| e.values().map(Vec::len).sum::<usize>();
    let mut known = accepts(&job.storage)?;
    let before = days(&accepted(&all, &known, i64::MAX, &names.features));
    known.push(accept.clone());
    let after = days(&accepted(&all, &known, i64::MAX, &names.features));
    let json = serde_json::to_vec(accept).unwrap_or_default();
    let name = format!("{ACCEPTS}/{:020}-{}.json", accept.at, &blake3::hash(&json).to_hex()[..16]);
    job.storage.create(&name, json)?;
    Ok(before - after)
}
