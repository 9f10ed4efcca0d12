//! Behaviour of whole runs: determinism, order, rates, and incidents that change what they say and
//! nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::vocabulary::{ANIME_SUBJECTS, LEADS, MODIFIERS};
use super::{Generated, GeneratedStage, Generator, GeneratorSettings, Malformed, MessageKind};

type Line = (Generated, Vec<u8>);

/// A parsed message with what the generator reported about it.
struct Event {
    said: Generated,
    json: Value,
}

impl Event {
    fn parse((said, bytes): Line) -> Self {
        Self { said, json: serde_json::from_slice(&bytes).unwrap() }
    }

    fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> Option<f64> {
        self.json.pointer(pointer).and_then(Value::as_f64)
    }

    fn flag(&self, pointer: &str) -> Option<bool> {
        self.json.pointer(pointer).and_then(Value::as_bool)
    }

    fn failed(&self) -> bool {
        self.json["error"].is_object()
    }
}

fn settings(days: i64, incidents: &[&str]) -> GeneratorSettings {
    GeneratorSettings {
        seed: 7,
        duration: Duration::days(days),
        events_per_day: 12_000.0,
        incidents: incidents.iter().map(|text| text.parse().unwrap()).collect(),
        ..GeneratorSettings::default()
    }
}

fn lines(settings: GeneratorSettings) -> Vec<Line> {
    let mut generator = Generator::new(settings).unwrap();
    let mut out = Vec::new();
    let mut lines = Vec::new();
    while let Some(said) = generator.next_into(&mut out) {
        lines.push((said, out.clone()));
    }
    assert_eq!(generator.next_into(&mut out), None, "the end is final");
    assert_eq!(generator.counts().valid() + generator.counts().malformed(), lines.len() as u64);
    lines
}

fn events(settings: GeneratorSettings) -> Vec<Event> {
    let parse =
        |(said, bytes): (Generated, Vec<u8>)| Event { said, json: serde_json::from_slice(&bytes).unwrap() };
    lines(settings).into_iter().map(parse).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for value in values {
        sum += value;
        n += 1.0;
    }
    assert!(n > 100.0, "too few values to judge: {n}");
    sum / n
}

fn share<'a>(events: impl IntoIterator<Item = &'a Event>, holds: impl Fn(&Event) -> bool) -> f64 {
    mean(events.into_iter().map(|event| f64::from(u8::from(holds(event)))))
}

#[test]
fn the_same_settings_give_the_same_bytes_and_another_seed_others() {
    let make = |seed| {
        let settings = GeneratorSettings {
            seed,
            stages: true,
            bad_share: 0.01,
            jitter: Duration::seconds(3),
            ..settings(1, &[])
        };
        lines(settings)
    };
    assert_eq!(make(7), make(7));
    assert_ne!(make(7), make(8));
}

#[test]
fn events_come_in_order_within_the_time_and_say_the_time_reported() {
    for stages in [false, true] {
        let settings = GeneratorSettings { stages, ..settings(1, &[]) };
        let (start, end) = (settings.start, settings.start + settings.duration);
        let mut last = i64::MIN;
        for event in events(settings) {
            let time: DateTime<Utc> = event.text("/timestamp").parse().unwrap();
            assert_eq!(time.timestamp_micros(), event.said.time_us);
            assert!(time >= start && time < end && event.said.time_us >= last);
            last = event.said.time_us;
        }
    }
}

#[test]
fn jitter_disorders_by_no_more_than_it_says() {
    let settings =
        GeneratorSettings { jitter: Duration::seconds(3), events_per_day: 100_000.0, ..settings(1, &[]) };
    let (mut newest, mut disordered) = (i64::MIN, 0);
    for (said, _) in lines(settings) {
        assert!(newest.saturating_sub(said.time_us) <= 3_001_000);
        disordered += usize::from(said.time_us < newest);
        newest = newest.max(said.time_us);
    }
    assert!(disordered > 1_000, "{disordered}");
}

#[test]
fn volume_and_rates_are_near_what_was_set() {
    let settings = GeneratorSettings { opt_out_share: 0.05, events_per_day: 8_000.0, ..settings(7, &[]) };
    let expected = Generator::new(settings.clone()).unwrap().expected_total() as f64;
    assert!((expected / 56_000.0 - 1.0).abs() < 0.001, "{expected}");
    let all = events(settings);
    assert!((all.len() as f64 / expected - 1.0).abs() < 0.03, "{} of {expected}", all.len());
    let near = |name: &str, got: f64, want: f64, by: f64| assert!((got - want).abs() < by, "{name}: {got}");
    near("errors", share(&all, Event::failed), 0.015, 0.002);
    near("accepted", share(&all, |e| e.flag("/outcome/accepted") == Some(true)), 0.41, 0.02);
    near("nsfw", share(&all, |e| e.flag("/quality/nsfw_flag") == Some(true)), 0.02, 0.003);
    near("opt-out", share(&all, |e| e.flag("/consent/opt_out") == Some(true)), 0.05, 0.02);
    near("english", share(&all, |e| e.text("/prompt/language") == "en"), 0.905, 0.02);
    near("sdxl-1.0", share(&all, |e| e.text("/model/version") == "sdxl-1.0"), 0.40, 0.02);
    let tenants: HashSet<&str> = all.iter().map(|e| e.text("/tenant")).collect();
    assert_eq!(tenants, HashSet::from(["aurora", "birch", "cobalt", "dune", "ember", "fjord"]));
}

#[test]
fn failed_requests_have_no_image_and_are_not_accepted() {
    let all = events(settings(2, &[]));
    let mut codes = HashSet::new();
    for event in all.iter().filter(|event| event.failed()) {
        assert!(event.json["quality"].is_null() && event.json["artifacts"].is_null());
        assert_eq!(event.flag("/outcome/accepted"), Some(false));
        codes.insert(event.text("/error/code"));
    }
    assert_eq!(codes, HashSet::from(["oom", "timeout", "safety_block", "invalid_config"]));
}

#[test]
fn with_stages_a_request_says_each_thing_once() {
    let mut requests: HashMap<String, Vec<Event>> = HashMap::new();
    for event in events(GeneratorSettings { stages: true, ..settings(1, &[]) }) {
        requests.entry(event.text("/request_id").to_owned()).or_default().push(event);
    }
    let whole: Vec<_> = requests.values().filter(|stages| stages.len() == 3).collect();
    assert!(whole.len() * 100 > requests.len() * 98, "only requests at the very end are cut");
    for stages in whole {
        let names: Vec<&str> = stages.iter().map(|e| e.text("/pipeline_stage")).collect();
        assert_eq!(names, ["ingest", "generate", "deliver"]);
        let has = |field: &str| stages.iter().map(|e| e.json.get(field).is_some()).collect::<Vec<_>>();
        assert_eq!(has("prompt"), [false, true, false]);
        assert_eq!(has("outcome"), [false, false, true]);
        assert!(stages.iter().all(|e| e.said.session == stages[0].said.session));
    }
}

#[test]
fn prompts_with_quotes_and_other_scripts_come_through() {
    let all = events(settings(1, &[]));
    let mut languages = HashSet::new();
    let mut quoted = 0;
    for event in &all {
        let text = event.text("/prompt/text");
        assert_eq!(event.number("/prompt/length"), Some(text.chars().count() as f64));
        quoted += usize::from(text.contains('"'));
        languages.insert(event.text("/prompt/language"));
        if event.text("/prompt/language") == "ja" {
            assert!(!text.is_ascii(), "{text}");
        }
    }
    assert!(quoted > 100, "{quoted}");
    assert_eq!(languages, HashSet::from(["en", "de", "es", "fr", "ja"]));
}

#[test]
fn malformed_messages_are_malformed_as_they_are_counted() {
    let settings = GeneratorSettings { bad_share: 0.1, ..settings(1, &[]) };
    let mut counts: HashMap<Malformed, f64> = HashMap::new();
    let all = lines(settings);
    for (said, bytes) in &all {
        let parsed = serde_json::from_slice::<Value>(bytes);
        let MessageKind::Malformed(fault) = said.kind else {
            assert!(parsed.is_ok());
            continue;
        };
        *counts.entry(fault).or_default() += 1.0;
        match fault {
            Malformed::NotJson => assert!(parsed.is_err()),
            Malformed::MissingRequestId => assert!(parsed.unwrap().get("request_id").is_none()),
            Malformed::MistypedTimestamp => assert!(parsed.unwrap()["timestamp"].is_number()),
            Malformed::ImpossibleTime => {
                let value = parsed.unwrap();
                let time = value["timestamp"].as_str().unwrap().parse::<DateTime<Utc>>();
                assert!(time.is_err() || time.unwrap().timestamp() < 946_684_800);
            }
        }
    }
    for fault in Malformed::ALL {
        let share = counts[&fault] / all.len() as f64;
        assert!((share - 0.025).abs() < 0.006, "{fault:?}: {share}");
    }
}

const START: &str = "2026-01-06T00:00:00Z";
const END: &str = "2026-01-08T00:00:00Z";

/// The four days without any incident.
fn calm() -> &'static [Line] {
    static CALM: OnceLock<Vec<Line>> = OnceLock::new();
    CALM.get_or_init(|| lines(settings(4, &[])))
}

/// Runs with one incident (`{}` is replaced by its time) and without; checks that no event outside
/// its segment and time differs in a single byte; returns the events inside, with and without. The
/// segment is recognized by its value's text.
fn around(incident: &str, value: &str) -> (Vec<Event>, Vec<Event>) {
    let incident = incident.replace("{}", &format!("{START}..{END}"));
    let time_us = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
    let (start_us, end_us) = (time_us(START), time_us(END));
    // Sessions of the segment that last beyond the end may continue with another prompt than they
    // would have had.
    let settled_us = end_us + 2 * 3_600_000_000;
    let quoted = format!("\":\"{value}\"");
    let is_hit = |(_, bytes): &Line| std::str::from_utf8(bytes).unwrap().contains(&quoted);
    let is_inside = |line: &Line| (start_us..end_us).contains(&line.0.time_us) && is_hit(line);
    let is_outside = |line: &Line| line.0.time_us < start_us || line.0.time_us >= settled_us || !is_hit(line);

    let all = lines(settings(4, &[&incident]));
    let others: Vec<&Line> = all.iter().filter(|line| is_outside(line)).collect();
    let calm_others: Vec<&Line> = calm().iter().filter(|line| is_outside(line)).collect();
    assert!(others == calm_others, "{incident} changed events outside its segment or time");
    assert!(others.len() > 10_000);
    let inside =
        |lines: &[Line]| lines.iter().filter(|line| is_inside(line)).cloned().map(Event::parse).collect();
    (inside(&all), inside(calm()))
}

#[test]
fn a_prompt_shift_turns_its_share_of_sessions_to_anime() {
    let (with, without) = around("prompt-shift:tenant=birch:{}", "birch");
    let anime = |e: &Event| e.text("/style/collection") == "anime";
    let (now, before) = (share(&with, anime), share(&without, anime));
    assert!((now - (0.6 + 0.4 * before)).abs() < 0.05, "{before} to {now}");
    let words = LEADS[3].iter().chain(MODIFIERS[3]).chain(ANIME_SUBJECTS);
    let speaks = |e: &Event| words.clone().any(|word| e.text("/prompt/text").contains(word));
    let (now, before) = (share(&with, speaks), share(&without, speaks));
    assert!(now > 0.5 && before < 0.1, "{before} to {now}");
    let same = with.iter().zip(&without).all(|(a, b)| a.json["quality"] == b.json["quality"]);
    assert!(same && with.len() == without.len(), "only prompt and style change");
}

#[test]
fn an_aesthetic_drop_is_a_release_with_lower_scores() {
    let (with, without) = around("aesthetic-drop:model_version=sdxl-1.1:{}", "sdxl-1.1");
    for (pointer, drop) in [("/quality/aesthetic", 0.6), ("/quality/clip_i", 0.03)] {
        let mut fell = mean(without.iter().filter_map(|e| e.number(pointer)));
        fell -= mean(with.iter().filter_map(|e| e.number(pointer)));
        assert!((fell - drop).abs() < drop / 100.0 + 1e-4, "{pointer} fell by {fell}");
    }
    let checkpoints = |events: &[Event]| {
        events.iter().map(|e| e.text("/model/checkpoint_hash").to_owned()).collect::<HashSet<_>>()
    };
    assert_eq!((checkpoints(&with).len(), checkpoints(&without).len()), (1, 1));
    assert!(checkpoints(&with).is_disjoint(&checkpoints(&without)));
}

#[test]
fn latency_and_errors_rise_together() {
    let (with, without) = around("latency-and-errors:region=ap-south:{}", "ap-south");
    let ratios: Vec<f64> = with
        .iter()
        .zip(&without)
        .filter(|(a, b)| !a.failed() && !b.failed())
        .filter_map(|(a, b)| Some(a.number("/metrics/latency_ms")? / b.number("/metrics/latency_ms")?))
        .collect();
    assert!(ratios.iter().all(|ratio| (ratio - 1.6).abs() < 0.001));
    let timeouts = |e: &Event| e.text("/error/code") == "timeout";
    let more = share(&with, timeouts) - share(&without, timeouts);
    assert!((more - 0.08).abs() < 0.012, "{more}");
}

#[test]
fn rates_and_costs_move_by_their_factor() {
    for (spec, pointer, factor, tolerance) in [
        ("nsfw-rise", "/quality/nsfw_flag", 4.0, 0.9),
        ("acceptance-drop", "/outcome/accepted", 0.6, 0.04),
        ("cost-rise", "/metrics/cost_usd", 1.5, 0.001),
    ] {
        let (with, without) = around(&format!("{spec}:tenant=aurora:{{}}"), "aurora");
        let level = |events: &[Event]| {
            let value = |e: &Event| match e.json.pointer(pointer)? {
                Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
                other => other.as_f64(),
            };
            mean(events.iter().filter_map(value))
        };
        let ratio = level(&with) / level(&without);
        assert!((ratio - factor).abs() < tolerance, "{spec}: {ratio}");
    }
}

#[test]
fn a_language_shift_takes_its_share_of_sessions() {
    let (with, without) = around("language-shift:traffic_source=api:{}:share=0.5,to=de", "api");
    let german = |e: &Event| e.text("/prompt/language") == "de";
    assert!(share(&without, german) < 0.08);
    let now = share(&with, german);
    assert!((now - 0.52).abs() < 0.05, "{now}");
}

#[test]
fn a_volume_drop_takes_sessions_away_and_is_expected() {
    let (with, without) = around("volume-drop:region=eu-west:{}", "eu-west");
    let ratio = with.len() as f64 / without.len() as f64;
    assert!((ratio - 0.3).abs() < 0.03, "{ratio}");
    let dropped = settings(4, &[&format!("volume-drop:region=eu-west:{START}..{END}")]);
    let expected = |settings: GeneratorSettings| Generator::new(settings).unwrap().expected_total() as f64;
    let less = expected(settings(4, &[])) - expected(dropped);
    assert!((less / (without.len() - with.len()) as f64 - 1.0).abs() < 0.08, "{less}");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let refuse = |settings: GeneratorSettings| Generator::new(settings).unwrap_err().to_string();
    assert!(
        refuse(GeneratorSettings { tenants: 0, ..settings(1, &[]) })
            .contains("tenants is 0: expected 1 to 50,000")
    );
    assert!(
        refuse(GeneratorSettings { events_per_day: f64::NAN, ..settings(1, &[]) })
            .contains("events per day is NaN")
    );
    assert!(refuse(GeneratorSettings { bad_share: 1.5, ..settings(1, &[]) }).contains("bad share is 1.5"));
    assert!(
        refuse(GeneratorSettings { duration: Duration::zero(), ..settings(1, &[]) }).contains("duration")
    );
    let typo = refuse(settings(1, &["prompt-shift:tenant=brich:2026-01-06"]));
    assert_eq!(
        typo,
        "no generated event has tenant=brich: the values are aurora, birch, cobalt, dune, ember, fjord"
    );
}

#[test]
fn kinds_of_messages_are_counted_apart() {
    let mut generator = Generator::new(GeneratorSettings { bad_share: 0.2, ..settings(1, &[]) }).unwrap();
    let mut out = Vec::new();
    let mut valid = 0;
    while let Some(said) = generator.next_into(&mut out) {
        valid += u64::from(said.kind == MessageKind::Event(GeneratedStage::Generate));
    }
    assert_eq!(generator.counts().of(MessageKind::Event(GeneratedStage::Generate)), valid);
    assert_eq!(generator.counts().of(MessageKind::Event(GeneratedStage::Ingest)), 0);
    assert!(generator.counts().malformed() > 0);
}
