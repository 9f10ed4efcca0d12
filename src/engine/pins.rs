//! Baselines as people handle them: pinning a range of committed hours, looking at what a baseline
//! holds, accepting the present.

use super::error::{EvaluationError, PinError, RESERVED_PREFIXES};
use super::evaluate::history::{Days, excluded, exclusions, read_rows};
use super::evaluate::types::History;
use super::job::Job;
use super::pin_files::{ACCEPTS, PINS};
pub use super::pin_files::{PinInfo, accepts, names, pins};
use crate::baseline::{Accept, Excluded, accepted, leaves};
use crate::config::near::near;
use crate::config::plain_name;
use crate::event::time::{DAY, HOUR, date, floor, text};
use crate::sketch::{MAX_STRETCH_VALUES, Sketch};
use crate::store::panes::{self, TableNames};
use crate::store::{CreateOutcome, Storage};
use crate::window::{PaneRow, Segment, SketchSet};
use std::collections::{BTreeMap, BTreeSet};

fn json_of(name: &str) -> String {
    format!("{PINS}/{name}.json")
}

fn rows_of(name: &str) -> String {
    format!("{PINS}/{name}.parquet")
}

/// TableNames of pins are parts of paths on every store.
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
/// When the name is taken or none, the range holds no data, or the output fails.
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
    let mut segments: BTreeMap<Segment, SketchSet> = BTreeMap::new();
    let (mut hours, mut days) = (BTreeSet::new(), BTreeSet::new());
    for (_, path) in files.iter().filter(|(d, _)| *d >= first && *d <= last) {
        for row in read_rows(storage, path, names)? {
            if row.start < from || row.start >= to {
                continue;
            }
            hours.insert(row.start);
            days.insert(floor(row.start, DAY));
            let merged = segments.entry(row.segment).or_default();
            merged.merge(&row.contents).map_err(EvaluationError::from)?;
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
    let folded = |(segment, mut contents): (Segment, SketchSet)| {
        contents.fold(MAX_STRETCH_VALUES);
        PaneRow { start: from, close_at: to, segment, contents }
    };
    let rows: Vec<PaneRow> = segments.into_iter().map(folded).collect();
    let info = PinInfo { from, to, hours: hours.len() as u32, days: days.len() as u16 };
    write(storage, name, panes::encode(&rows, to - from, names)?, &info)?;
    Ok(Pinned { info, segments: rows.len() })
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
    let name = name.strip_prefix("pinned:").unwrap_or(name);
    check_name(name)?;
    let (json, rows) = (json_of(name), rows_of(name));
    if storage.get(&json)?.is_none() && storage.get(&rows)?.is_none() {
        return Err(unknown(name, &pins(storage)?, &[]));
    }
    storage.delete(&json)?;
    storage.delete(&rows)?;
    Ok(())
}

fn unknown(name: &str, pins: &[(String, PinInfo)], rolling: &[u16]) -> PinError {
    let mut all: Vec<String> = rolling.iter().map(|d| format!("rolling_{d}d")).collect();
    all.extend(pins.iter().map(|p| p.0.clone()));
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

/// The exclusions that hold for the baselines of a day, accepts heeded.
///
/// # Errors
/// When they can't be read.
pub fn excluded_on(job: &Job, day: i64) -> Result<Excluded, PinError> {
    let names = &job.settings.names;
    let all = excluded(&exclusions(&job.storage, names)?);
    Ok(accepted(&all, &accepts(&job.storage)?, day, &names.features))
}

/// Days of the rolling baseline of `days` days before `day` that have data.
///
/// # Errors
/// When they can't be read.
pub fn rolling_days(job: &Job, day: i64, days: u16) -> Result<BTreeSet<i64>, PinError> {
    let mut out = BTreeSet::new();
    each_day(job, day, days, |row| {
        out.insert(row.start);
        Ok(())
    })?;
    Ok(out)
}

fn each_day(
    job: &Job,
    day: i64,
    days: u16,
    mut f: impl FnMut(&PaneRow) -> Result<(), EvaluationError>,
) -> Result<(), PinError> {
    let from = day - i64::from(days) * DAY;
    let mut history = Days::new(job.storage.clone(), job.days_folder(), job.settings.names.clone());
    for table in history.days(from, day)? {
        for segment in table.segments() {
            for row in table.rows_of(&segment).map_err(EvaluationError::History)? {
                if row.start >= from && row.start < day && row.close_at <= day {
                    f(&row)?;
                }
            }
        }
    }
    Ok(())
}

/// What a baseline holds: `rolling_Nd` for windows that start on the newest closed day's end, or a
/// pin (`pinned:NAME` or NAME). `wanted` picks segments and features.
///
/// # Errors
/// When there is no such baseline, or it can't be read.
pub fn baseline_features(
    job: &Job,
    name: &str,
    wanted: &dyn Fn(&Segment, usize) -> bool,
) -> Result<Vec<BaselineFeature>, PinError> {
    let rolling =
        name.strip_prefix("rolling_").and_then(|r| r.strip_suffix('d')).and_then(|d| d.parse().ok());
    let mut sums: BTreeMap<(Segment, usize), (Sketch, BTreeSet<i64>)> = BTreeMap::new();
    let mut add = |row: &PaneRow, leave: &dyn Fn(usize) -> bool| -> Result<(), EvaluationError> {
        for (f, sketch) in row.contents.sketches.iter().enumerate() {
            let Some(sketch) = sketch.as_deref().filter(|_| wanted(&row.segment, f) && !leave(f)) else {
                continue;
            };
            match sums.entry((row.segment.clone(), f)) {
                std::collections::btree_map::Entry::Occupied(mut e) => {
                    e.get_mut().0.merge(sketch)?;
                    e.get_mut().1.insert(row.start);
                }
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert((sketch.clone(), BTreeSet::from([row.start])));
                }
            }
        }
        Ok(())
    };
    let pinned = match rolling {
        Some(days) => {
            if !job.settings.config.baselines.rolling_days.contains(&days) {
                let known = pins(&job.storage)?;
                return Err(unknown(name, &known, &job.settings.config.baselines.rolling_days));
            }
            let Some(day) = newest_day(job)? else { return Ok(Vec::new()) };
            let excluded = excluded_on(job, day)?;
            each_day(job, day, days, |row| {
                let known_as = job.settings.names.identity(&row.segment);
                add(row, &|f| leaves(excluded.get(&(known_as.clone(), f)), day, days, row.start))
            })?;
            None
        }
        None => {
            let own = name.strip_prefix("pinned:").unwrap_or(name);
            let all = pins(&job.storage)?;
            let Some((_, info)) = all.iter().find(|p| p.0 == own) else {
                return Err(unknown(name, &all, &job.settings.config.baselines.rolling_days));
            };
            for row in read_rows(&job.storage, &rows_of(own), &job.settings.names)? {
                add(&row, &|_| false)?;
            }
            Some(info.clone())
        }
    };
    let of_feature = |((segment, feature), (sketch, days)): ((Segment, usize), (Sketch, BTreeSet<i64>))| {
        let (days, hours) = match &pinned {
            Some(info) => (info.days, f64::from(info.hours)),
            None => (days.len() as u16, days.len() as f64 * 24.0),
        };
        BaselineFeature { segment, feature, days, hours, sketch }
    };
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

/// The segments that this output has: in its newest day of panes, in the days behind
/// its baselines, among what was excluded.
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
