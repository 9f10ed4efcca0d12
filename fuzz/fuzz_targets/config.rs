//! The configuration: text to settings, without a file or the environment.
//!
//! Checked is that a mistake is told with its line, and that settings that were taken can be used: features, groupings, windows,
//! a few events under them, and the rules, where there are so few that planning them is cheap.
#![no_main]

use driftglass::config::units::Span;
use driftglass::config::{Config, ConfigError, parse};
use driftglass::engine::compile_rules;
use driftglass::enrich::{Batch, Enricher, IdHasher, Plan};
use driftglass::event::decode;
use driftglass::store::panes::TableNames;
use driftglass::window::{Filler, Origins, Partition, Reach, Times};
use driftglass_fuzz::{EVENTS, MIB, bounded};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// Rules that are planned; each takes about a millisecond.
const MAX_RULES: usize = 4;
/// Events that are put through the settings.
const FEW: usize = 4;

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    // A file that is no UTF-8 is refused when it is read.
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(256 * MIB, || match parse(text, "job.toml", variable) {
        Ok(config) => used(&config),
        Err(mistake) => told(&mistake, text),
    });
}

/// Stands for the environment. Values are what a secret may hold, without line breaks, so that lines keep their numbers.
fn variable(name: &str) -> Option<String> {
    match name {
        "KEY" => Some(r#"se"cret\u0000 # '''"#.to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn told(mistake: &ConfigError, text: &str) {
    assert!(!mistake.to_string().is_empty());
    let lines = text.matches('\n').count() + 1;
    match mistake {
        ConfigError::Syntax { line, message, .. } => {
            assert!((1..=lines).contains(line), "a line that the text does not have");
            assert!(!message.is_empty() && !message.contains('\n'));
        }
        ConfigError::Variable { line, .. } => assert!((1..=lines).contains(line)),
        ConfigError::Value { place, key, message } => {
            assert!(place.starts_with("job.toml:") && !key.is_empty() && !message.is_empty());
        }
        ConfigError::Read { .. } | ConfigError::NoConfig { .. } => panic!("text was read as a file"),
    }
}

fn used(config: &Config) {
    let features = config.feature_set().expect("features were checked");
    let groupings = Arc::new(config.groupings().expect("groupings were checked"));
    for rolling in &config.windows.rolling {
        let length = Span(rolling.length());
        assert!(length.to_string().parse::<Span>() == Ok(length), "a window's name is not its length");
        assert!(rolling.slide() > 0);
    }
    let names = TableNames::new(Arc::clone(&groupings), &features);
    if (1..=MAX_RULES).contains(&config.rules.len())
        && let Err(mistake) = compile_rules(config, &names, None)
    {
        assert!(!mistake.to_string().is_empty());
    }
    let hasher = IdHasher::new(&config.privacy.key);
    let dimensions = groupings.dimensions.clone();
    let plan = Arc::new(Plan {
        features,
        dimensions,
        hasher,
        hidden: driftglass::event::NameFields::default(),
        vectors: None,
    });
    let times = Times {
        pane: config.windows.pane.0,
        lateness: config.windows.lateness.0,
        confirming_records: driftglass::window::CONFIRMING_RECORDS,
    };
    let mut partition = Partition::new(Arc::new(Filler::new(&plan, groupings)), times);
    let (mut enricher, mut batch) = (Enricher::new(plan), Batch::default());
    for event in &EVENTS[..FEW] {
        let event = decode(event.as_bytes(), &mut Vec::new()).expect("a plain event decodes");
        enricher.push(&event, &mut batch);
    }
    let offsets: Vec<i64> = (0..).take(batch.rows.len()).collect();
    let origins = Origins { offsets: &offsets, appended: &[] };
    partition
        .ingest(&batch, origins, |_, _, _| panic!("a plain event was refused"))
        .expect("panes that were filled here are sound");
    assert!(!partition.flush(Reach::Ended).0.is_empty());
}
