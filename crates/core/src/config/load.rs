//! Reading the configuration: environment variables, TOML, and errors that say where and what to
//! do.

use super::check::check;
use super::expand::expand;
use super::explain::explain;
use super::features::watch;
use super::features::{self, Feature, FeatureKind, FieldSource, Test, Tolerance};
use super::origin::{Map, Origin};
use super::{Config, near};
use crate::event::{Bounds, NameField, NameFields, Num, Stage};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::de::DeTable;

/// A longer file is not a configuration.
const LONGEST_FILE: u64 = 16 << 20;

/// Why a configuration can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read configuration {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What is there is not a configuration.
    #[error("{path}: {message}; write a TOML file (driftglass check --print-default prints one)")]
    NoConfig {
        /// The file.
        path: String,
        /// What it is instead.
        message: String,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}:{line}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what is valid.
        message: String,
    },
    /// A variable of the environment that is named and not set.
    #[error("{path}:{line}: environment variable {name} is not set; set it or remove ${{{name}}}")]
    Variable {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A value that can't be.
    #[error("{place}{key}: {message}")]
    Value {
        /// File and line, as `job.toml:12: `; empty without a file.
        place: String,
        /// Dotted key.
        key: String,
        /// What is wrong and what is valid.
        message: String,
    },
}

/// Reads a file. Relative paths in it are relative to its folder.
///
/// # Errors
/// Says which file, line and key is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let read = |source| ConfigError::Read { path: name.clone(), source };
    let other = |message: &str| ConfigError::NoConfig { path: name.clone(), message: message.to_owned() };
    if path.is_dir() {
        return Err(other("is a folder"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(LONGEST_FILE + 1).read_to_end(&mut bytes)).map_err(read)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(other("is longer than 16 MiB"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(other("is UTF-16; save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(other("is a binary file"));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        other(&format!("is not UTF-8 (line {line})"))
    })?;
    let mut config = parse(&text, &name, |v| std::env::var(v).ok())?;
    // A pipe (-c <(…)) has no folder: its paths are relative to the working directory.
    if let Some(folder) = path.parent().filter(|f| path.is_file() && !f.as_os_str().is_empty()) {
        config.below(folder);
    }
    Ok(config)
}

/// Reads a configuration's text; `path` is for messages, `env` looks variables up. Relative paths
/// stay as they are.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &str, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let expanded = expand(text, path, env)?;
    let (text, syntax) = (&expanded.text, |e: toml::de::Error, map: &Map| {
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let key = e.span().and_then(|span| map.key_at(&span));
        let message = expanded.hide(&explain(&expanded.hide(e.message()), key));
        ConfigError::Syntax { path: path.to_owned(), line, message }
    });
    let table = DeTable::parse(text).map_err(|e| syntax(e, &Map::default()))?;
    let map = Map::of(text, table.get_ref());
    let mut config: Config = toml::from_str(text).map_err(|e| syntax(e, &map))?;
    config.origin = Origin::new(path, &map);
    check(&config).map_err(|e| match e {
        ConfigError::Value { place, key, message } => {
            let place = if place.is_empty() { config.place_of(&key) } else { place };
            ConfigError::Value { place, key, message: expanded.hide(&message) }
        }
        e => e,
    })?;
    Ok(config)
}

/// An error at a key; its line is added where the text is known.
fn wrong(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { place: String::new(), key: key.to_owned(), message: message.into() }
}

impl Config {
    /// The fields whose names are always written as their keyed hash.
    ///
    /// # Errors
    /// When an entry is not a field that has names.
    pub fn hidden_fields(&self) -> Result<NameFields, ConfigError> {
        let field = |name: &String| {
            NameField::from_name(name).ok_or_else(|| {
                let near = NameField::all()
                    .map(NameField::path)
                    .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
                let near = near.unwrap_or_default();
                wrong(
                    "privacy.hash_fields",
                    format!("{name:?} is no field that holds names; did you mean {near:?}?"),
                )
            })
        };
        self.privacy.hash_fields.iter().map(field).collect()
    }

    /// The features: the built-in ones with the configuration's changes and additions.
    ///
    /// # Errors
    /// When an entry names no field of the event or a kind that the field doesn't fit.
    pub fn feature_set(&self) -> Result<Vec<Feature>, ConfigError> {
        let mut all = features::builtin();
        if self.embedding.is_some() {
            all.extend(features::of_embeddings());
        }
        let mut ranges: BTreeMap<Num, Bounds> = BTreeMap::new();
        for e in &self.features {
            let key = format!("features.{}", e.name);
            let old = all.iter().position(|f| f.name == e.name);
            if !e.enabled {
                let Some(i) = old else {
                    let known: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
                    let near = near::near(&e.name, "features", &known);
                    return Err(wrong(&key, format!("there is no such feature to switch off; {near}")));
                };
                all.remove(i);
                continue;
            }
            let from = match (&e.from, old) {
                (Some(path), _) => FieldSource::from_path(path).ok_or_else(|| {
                    let near = FieldSource::paths().max_by(|a, b| {
                        strsim::jaro_winkler(path, a).total_cmp(&strsim::jaro_winkler(path, b))
                    });
                    wrong(
                        &key,
                        format!("{path:?} is no field of the event; did you mean {:?}?", near.unwrap_or("")),
                    )
                })?,
                (None, Some(i)) => all[i].from,
                (None, None) => {
                    let known: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
                    let meant = near::nearest(&e.name, known).map_or_else(String::new, |n| {
                        format!("; to change a built-in one, did you mean {n:?}?")
                    });
                    let message = format!("a new feature needs `from`, the dotted path of a field{meant}");
                    return Err(wrong(&key, message));
                }
            };
            let kind = e
                .kind
                .or(old.map(|i| all[i].kind))
                .or_else(|| natural_kind(from))
                .ok_or_else(|| wrong(&key, "needs `kind`"))?;
            if !from.fits(kind) {
                return Err(wrong(&key, format!("a {} feature can't be read from that field", kind.name())));
            }
            if !super::plain_name(&e.name.replace('/', "-")) {
                return Err(wrong(&key, "a name has 1 to 64 letters, digits and . _ : / @ + -"));
            }
            if kind != FeatureKind::Numeric && (e.log.is_some() || e.test.is_some()) {
                return Err(wrong(
                    &key,
                    format!("`log` and `test` are for numbers; this is a {} feature", kind.name()),
                ));
            }
            let stages: Vec<Stage> = match (&e.stages, old) {
                (Some(s), _) => s.iter().map(|s| s.0).collect(),
                (None, Some(i)) => Stage::ALL.into_iter().filter(|s| all[i].stages.contains(*s)).collect(),
                (None, None) => vec![Stage::Generate],
            };
            if e.log.is_some_and(|c| !c.is_finite() || c < 0.0) {
                return Err(wrong(&key, "`log` is the c of ln(x + c), a number from 0"));
            }
            let tolerances = [("tolerance", e.tolerance), ("tolerance_share", e.tolerance_share)];
            if let Some((name, _)) =
                tolerances.iter().find(|t| t.1.is_some_and(|v| !v.is_finite() || v < 0.0))
            {
                return Err(wrong(&key, format!("`{name}` is a number from 0")));
            }
            let before = old.map(|i| all[i].clone());
            let tolerance =
                before.as_ref().map_or(Tolerance { absolute: 0.0, relative: 0.0 }, |f| f.tolerance);
            let made = features::feature(
                e.name.clone(),
                kind,
                from,
                &stages,
                e.log.or(before.as_ref().and_then(|f| f.log)),
                e.test.or(before.as_ref().map(|f| f.test)).unwrap_or(Test::Mean),
                Tolerance {
                    absolute: e.tolerance.unwrap_or(tolerance.absolute),
                    relative: e.tolerance_share.unwrap_or(tolerance.relative),
                },
            );
            let (range, clip) = (bounds(&key, "range", e.range)?, bounds(&key, "clip", e.clip)?);
            if let Some(range) = range {
                let FieldSource::Num(field) = from else {
                    return Err(wrong(&key, "`range` is for numbers"));
                };
                if ranges.insert(field, range).is_some_and(|other| other != range) {
                    let field = field.path();
                    return Err(wrong(&key, format!("another feature gives {field} another `range`")));
                }
            }
            if clip.is_some() && (made.kind, made.test) != (FeatureKind::Numeric, Test::Mean) {
                return Err(wrong(&key, "`clip` is for numbers that are judged by their mean"));
            }
            // Bounds set before stay, unless the feature now reads another field.
            let before = before.filter(|f| f.from == from).and_then(|f| f.clip);
            let clip = clip.or(before).or(made.clip);
            let made = made.bounded(None, clip);
            match old {
                Some(i) => all[i] = Feature { stratify: all[i].stratify, ..made },
                None => all.push(made),
            }
        }
        // A range belongs to the field: it applies to all features that read it.
        for f in &mut all {
            let FieldSource::Num(field) = f.from else { continue };
            if let Some(range) = ranges.get(&field) {
                *f = f.clone().bounded(Some(*range), f.clip);
            }
        }
        watch(&mut all);
        Ok(all)
    }
}

fn bounds(key: &str, name: &str, given: Option<[f64; 2]>) -> Result<Option<Bounds>, ConfigError> {
    match given {
        None => Ok(None),
        Some([low, high]) if low.is_finite() && high.is_finite() && low < high => {
            Ok(Some(Bounds { low, high }))
        }
        Some(_) => Err(wrong(key, format!("`{name}` is two numbers, the lower one first"))),
    }
}

impl Config {
    /// The place of a key; that of a feature by its name.
    fn place_of(&self, key: &str) -> String {
        let feature = key.strip_prefix("features.");
        let entry = feature.and_then(|name| self.features.iter().rposition(|f| f.name == name));
        match entry {
            Some(i) => self.origin.place(&format!("features[{i}]")),
            None => self.origin.place(key),
        }
    }

    /// Makes relative paths of the file relative to this folder: the output, the file of alerts,
    /// and what `[embedding]` names.
    fn below(&mut self, folder: &Path) {
        let text = |text: &mut String| {
            if !text.contains("://") {
                *text = folder.join(&*text).display().to_string();
            }
        };
        text(&mut self.output.dir);
        if let Some(path) = self.alerts.jsonl.as_mut().filter(|p| *p != "-") {
            text(path);
        }
        let Some(e) = &mut self.embedding else { return };
        [&mut e.base_uri, &mut e.recorded].into_iter().flatten().for_each(text);
        let file = |path: &mut PathBuf| *path = folder.join(&*path);
        [&mut e.model, &mut e.reference, &mut e.head].into_iter().flatten().for_each(file);
        // The name of a library alone is looked for where the system keeps libraries.
        e.runtime.iter_mut().filter(|r| r.components().count() > 1).for_each(file);
    }
}

fn natural_kind(from: FieldSource) -> Option<FeatureKind> {
    [
        FeatureKind::Volume,
        FeatureKind::Tokens,
        FeatureKind::Categorical,
        FeatureKind::Rate,
        FeatureKind::Numeric,
        FeatureKind::Tail,
        FeatureKind::Embedding,
    ]
    .into_iter()
    .find(|k| from.fits(*k))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        parse(text, "job.toml", |v| (v == "KEY").then(|| "se\"cret".to_owned()))
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for (text, says) in [
            ("[windows]\nrolling = [{ length = \"0s\", slide = \"5m\" }]", "is not a length of a window"),
            ("[[features]]\nname = \"latency_ms\"\nlog = nan", "`log`"),
            ("[[features]]\nname = \"latency_ms\"\ntolerance = inf", "`tolerance`"),
            ("[[features]]\nname = \"latency_ms\"\ntolerance_share = -0.1", "`tolerance_share`"),
            ("[[features]]\nname = \"latency_ms\"\nclip = [1.0, 1.0]", "`clip`"),
            ("[[features]]\nname = \"latency_ms\"\nrange = [0.0, inf]", "`range`"),
            ("[[features]]\nname = \"sampler\"\nrange = [0.0, 1.0]", "is for numbers"),
            ("[[features]]\nname = \"prompt_length\"\nclip = [0.0, 1.0]", "judged by their mean"),
            (
                "[[features]]\nname = \"a\"\nfrom = \"metrics.rps\"\nrange = [0, 5]\n[[features]]\nname = \"b\"\nfrom = \"metrics.rps\"\nrange = [0, 9]",
                "another `range`",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let c = read("").unwrap();
        assert_eq!(c.windows.rolling.len(), 3);
        assert!(c.feature_set().unwrap().len() > 20);
    }

    #[test]
    fn the_contract_s_example_reads() {
        let c = read(
            r#"
            [input]
            kafka = { brokers = "localhost:9092", topic = "generation-events", group = "driftglass" }
            [output]
            dir = "file:///var/lib/driftglass"
            [[segments]]
            by = ["tenant"]
            [[segments]]
            by = ["model_version", "region", "tenant"]
            [windows]
            pane = "1m"
            rolling = ["30m", { length = "24h", slide = "30m" }]
            lateness = "5m"
            [embedding]
            base_uri = "s3://images"
            [[rules]]
            name = "prompt-drift"
            feature = "prompt_tokens"
            window = "30m"
            when = "psi > 0.25 and p_value < 0.001"
            for = "30m"
            severity = "high"
            runbook = "https://example.org/runbooks/prompt-drift"
            [privacy]
            key = "${KEY}"
            "#,
        )
        .unwrap();
        assert_eq!(c.privacy.key, "se\"cret");
        assert_eq!(c.windows.rolling[1].slide(), 30 * crate::event::time::MINUTE);
        assert_eq!(c.rules[0].hold, Some(Span::minutes(30)));
    }

    use super::super::units::Span;

    #[test]
    fn errors_name_line_key_and_neighbour() {
        let e = read("[windows]\npane = \"1m\"\nlatenes = \"5m\"\n").unwrap_err().to_string();
        assert_eq!(e, "job.toml:3: unknown key `latenes`; did you mean `lateness`?");
        let e = read("[privacy]\nkey = \"${NOPE}\"\n").unwrap_err().to_string();
        assert!(e.starts_with("job.toml:2: environment variable NOPE is not set"), "{e}");
        let e = read("[windows]\nlateness = \"soon\"\n").unwrap_err().to_string();
        assert!(e.contains("job.toml:2") && e.contains("duration"), "{e}");
        let e = read("[windows]\nrolling = [\"7m\"]\n").unwrap_err().to_string();
        assert!(e.contains("windows.rolling"), "{e}");
        let e = read("[[features]]\nname = \"x\"\nfrom = \"metrics.latency\"\n").unwrap_err().to_string();
        assert!(e.contains("metrics.latency_ms"), "{e}");
    }

    #[test]
    fn fields_to_hash_are_named_by_path_or_column() {
        let hidden = |list: &str| read(&format!("[privacy]\nhash_fields = {list}\n"));
        let c = hidden(r#"["tenant", "model_version", "params.sampler", "model.loras"]"#).unwrap();
        let paths: Vec<_> = c.hidden_fields().unwrap().paths().collect();
        assert_eq!(paths, ["tenant", "model.version", "params.sampler", "model.loras"]);
        assert!(read("").unwrap().hidden_fields().unwrap().is_empty());
        for (wrong, near) in
            [("tenat", "tenant"), ("params.samplr", "params.sampler"), ("model.lora", "model.loras")]
        {
            let e = hidden(&format!("[{wrong:?}]")).unwrap_err().to_string();
            assert!(
                e.starts_with("job.toml:2: privacy.hash_fields: ")
                    && e.contains(&format!("did you mean {near:?}")),
                "{e}"
            );
        }
        assert!(hidden(r#"["metrics.latency_ms"]"#).is_err(), "numbers are no names");
    }

    #[test]
    fn a_user_can_add_change_and_switch_off_features() {
        let c = read(
            "[[features]]\nname = \"gpu_util\"\nfrom = \"metrics.gpu_util\"\n[[features]]\nname = \"cfg\"\nenabled = false\n[[features]]\nname = \"aesthetic\"\ntolerance = 0.5\n",
        )
        .unwrap();
        let f = c.feature_set().unwrap();
        assert!(f.iter().any(|f| f.name == "gpu_util" && f.kind == FeatureKind::Numeric));
        assert!(!f.iter().any(|f| f.name == "cfg"));
        assert_eq!(f.iter().find(|f| f.name == "aesthetic").unwrap().tolerance.absolute, 0.5);
    }

    #[test]
    fn a_range_is_the_field_s_and_a_clip_the_feature_s() {
        let c = read(
            "[[features]]\nname = \"aesthetic\"\nrange = [0, 100]\n[[features]]\nname = \"mine\"\nfrom = \"quality.aesthetic\"\nclip = [1, 99]\n[[features]]\nname = \"gpu\"\nfrom = \"resources.gpu_mem_mb\"\n[[features]]\nname = \"steps\"\nfrom = \"outcome.rerolls\"\ntolerance = 0.5\n",
        )
        .unwrap();
        let all = c.feature_set().unwrap();
        let of = |name: &str| all.iter().find(|f| f.name == name).unwrap();
        let hundred = Bounds { low: 0.0, high: 100.0 };
        assert_eq!((of("aesthetic").range, of("aesthetic").clip), (Some(hundred), None));
        assert_eq!(
            (of("mine").range, of("mine").clip),
            (Some(hundred), Some(Bounds { low: 1.0, high: 99.0 }))
        );
        assert_eq!(of("gpu").clip, Num::GpuMem.clip(), "its field's");
        assert_eq!(of("steps").clip, Num::Rerolls.clip(), "no longer that of the field that it read before");
        let mut ranges = crate::event::Ranges::default();
        ranges.set(Num::Aesthetic, hundred);
        assert_eq!(features::ranges(&all), ranges);
    }
}
