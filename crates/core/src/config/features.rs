//! The built-in features, each declared in one row by name, kind, source, stages and test.

use super::watched::{MISSING, Watched};
use crate::event::{Flag, Num, Stage, Stages, Text};

pub use super::feature::{Feature, feature, ranges};
pub use super::kinds::{
    FeatureKind, FieldSource, Test, Tolerance, clipped, counted, scaled, tail_step, unscaled,
};

struct Builtin(&'static str, FeatureKind, FieldSource, &'static [Stage], Option<f64>, Test, f64, f64);

const GENERATE: &[Stage] = &[Stage::Generate];
const ANY: &[Stage] = &Stage::ALL;

/// The features of the watch list.
#[must_use]
pub fn builtin() -> Vec<Feature> {
    use FeatureKind::{Categorical, Missing, Numeric, Rate, Tail, Tokens, Volume};
    use Test::{Mean, Shape};
    // name, kind, source, stages, log offset, test, tolerance (absolute, relative)
    let table = [
        Builtin("volume", Volume, FieldSource::Event, GENERATE, None, Mean, 0.0, 0.0),
        Builtin("prompt_tokens", Tokens, FieldSource::Tokens, GENERATE, None, Mean, 0.02, 0.0),
        Builtin(
            "prompt_length",
            Numeric,
            FieldSource::Num(Num::PromptLength),
            GENERATE,
            None,
            Shape,
            0.02,
            0.0,
        ),
        Builtin("language", Categorical, FieldSource::Text(Text::Language), GENERATE, None, Mean, 0.02, 0.0),
        Builtin("sampler", Categorical, FieldSource::Text(Text::Sampler), GENERATE, None, Mean, 0.02, 0.0),
        Builtin("loras", Categorical, FieldSource::Loras, GENERATE, None, Mean, 0.02, 0.0),
        Builtin(
            "style_collection",
            Categorical,
            FieldSource::Text(Text::StyleCollection),
            GENERATE,
            None,
            Mean,
            0.02,
            0.0,
        ),
        Builtin(
            "latency_ms",
            Numeric,
            FieldSource::Num(Num::Latency),
            GENERATE,
            Some(1000.0),
            Mean,
            0.14,
            0.0,
        ),
        Builtin(
            "queue_wait_ms",
            Numeric,
            FieldSource::Num(Num::QueueWait),
            ANY,
            Some(1000.0),
            Mean,
            0.14,
            0.0,
        ),
        Builtin("cost_usd", Numeric, FieldSource::Num(Num::Cost), GENERATE, Some(0.001), Mean, 0.14, 0.0),
        Builtin("latency_tail", Tail, FieldSource::Num(Num::Latency), GENERATE, None, Mean, 0.01, 0.5),
        Builtin("queue_wait_tail", Tail, FieldSource::Num(Num::QueueWait), ANY, None, Mean, 0.01, 0.5),
        Builtin("cost_tail", Tail, FieldSource::Num(Num::Cost), GENERATE, None, Mean, 0.01, 0.5),
        Builtin("steps", Numeric, FieldSource::Num(Num::Steps), GENERATE, None, Mean, 0.0, 0.1),
        Builtin("cfg", Numeric, FieldSource::Num(Num::Cfg), GENERATE, None, Mean, 0.0, 0.1),
        Builtin("clip_i", Numeric, FieldSource::Num(Num::ClipI), ANY, None, Mean, 0.005, 0.02),
        Builtin("aesthetic", Numeric, FieldSource::Num(Num::Aesthetic), ANY, None, Mean, 0.1, 0.0),
        Builtin("style_distance", Numeric, FieldSource::Num(Num::StyleDistance), ANY, None, Mean, 0.02, 0.0),
        Builtin("error", Rate, FieldSource::Failed, GENERATE, None, Mean, 0.005, 0.25),
        Builtin(
            "error_code",
            Categorical,
            FieldSource::Text(Text::ErrorCode),
            GENERATE,
            None,
            Mean,
            0.02,
            0.0,
        ),
        Builtin("nsfw", Rate, FieldSource::Flag(Flag::Nsfw), ANY, None, Mean, 0.005, 0.25),
        Builtin("face_ok", Rate, FieldSource::Flag(Flag::FaceOk), ANY, None, Mean, 0.03, 0.0),
        Builtin("accepted", Rate, FieldSource::Flag(Flag::Accepted), ANY, None, Mean, 0.03, 0.0),
        Builtin("edited", Rate, FieldSource::Flag(Flag::Edited), ANY, None, Mean, 0.03, 0.0),
        Builtin("rerolls", Numeric, FieldSource::Num(Num::Rerolls), ANY, None, Mean, 0.1, 0.1),
    ];
    let mut out: Vec<Feature> = table.into_iter().map(|b| from_row(b, None)).collect();
    // Latency and errors of the other stages are features of their own: mixed, a change of mix
    // would look like drift.
    for stage in Stage::ALL.into_iter().filter(|s| *s != Stage::Generate) {
        let own = stage_of(stage);
        out.push(from_row(
            Builtin(
                "latency_ms",
                Numeric,
                FieldSource::Num(Num::Latency),
                own,
                Some(1000.0),
                Mean,
                0.14,
                0.0,
            ),
            Some(stage),
        ));
        out.push(from_row(
            Builtin("latency_tail", Tail, FieldSource::Num(Num::Latency), own, None, Mean, 0.01, 0.5),
            Some(stage),
        ));
        out.push(from_row(
            Builtin("error", Rate, FieldSource::Failed, own, None, Mean, 0.005, 0.25),
            Some(stage),
        ));
    }
    for f in &mut out {
        if f.log.is_some() || f.kind == FeatureKind::Tail {
            f.stratify = Some(Text::ModelVersion);
        }
    }
    out.push(from_row(Builtin(MISSING, Missing, FieldSource::Missing, ANY, None, Mean, 0.05, 0.0), None));
    watch(&mut out);
    out
}

/// The features of images, watched where `[embedding]` is configured.
#[must_use]
pub fn of_embeddings() -> Vec<Feature> {
    let mean = Test::Mean;
    [
        Builtin("embedding", FeatureKind::Embedding, FieldSource::Embedding, ANY, None, mean, 1e-4, 0.0),
        Builtin("content_mix", FeatureKind::Categorical, FieldSource::Content, ANY, None, mean, 0.02, 0.0),
        Builtin("style_mix", FeatureKind::Categorical, FieldSource::Style, ANY, None, mean, 0.02, 0.0),
    ]
    .into_iter()
    .map(|b| from_row(b, None))
    .collect()
}

fn stage_of(stage: Stage) -> &'static [Stage] {
    let i = Stage::ALL.iter().position(|s| *s == stage).unwrap_or(0);
    static STAGES: [Stage; 6] = Stage::ALL;
    &STAGES[i..=i]
}

fn from_row(row: Builtin, prefix: Option<Stage>) -> Feature {
    let Builtin(name, kind, from, stages, log, test, absolute, relative) = row;
    let name = prefix.map_or_else(|| name.to_owned(), |s| format!("{}_{name}", s.name()));
    feature(name, kind, from, stages, log, test, Tolerance { absolute, relative })
}

/// The fields that these features read at these stages.
fn watched_fields(features: &[Feature], stages: Stages) -> Watched {
    let mut out = Watched::default();
    for stage in Stage::ALL.into_iter().filter(|s| stages.contains(*s)) {
        for feature in features.iter().filter(|f| f.stages.contains(stage)) {
            out.add(stage, feature.from);
            if let Some(dimension) = feature.stratify {
                out.add(stage, FieldSource::Text(dimension));
            }
        }
    }
    out
}

/// Gives each feature of this kind its fields, once all features are known.
pub fn watch(features: &mut [Feature]) {
    for i in 0..features.len() {
        if features[i].kind == FeatureKind::Missing {
            let watched = watched_fields(features, features[i].stages);
            // A definition that was completed before is completed again.
            let own = features[i].definition.split("|fields:").next().unwrap_or_default().to_owned();
            features[i].definition = format!("{own}|fields:{}", watched.definition());
            features[i].watched = Some(watched.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::watched::group;
    use crate::event::Bounds;

    #[test]
    fn builtin_sources_fit_their_kinds_and_names_are_unique() {
        let all = builtin();
        for f in &all {
            assert!(f.from.fits(f.kind), "{}", f.name);
        }
        let mut names: Vec<_> = all.iter().map(|f| &f.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_definition_names_bounds_only_where_there_are_any() {
        let all = builtin();
        let of = |name: &str| all.iter().find(|f| f.name == name).unwrap().clone();
        // As before there were any: their history continues.
        assert_eq!(
            of("aesthetic").definition,
            "aesthetic|Numeric|Num(Aesthetic)|ingest+preprocess+generate+upscale+postprocess+deliver|None|Mean"
        );
        assert_eq!(
            of("prompt_length").definition,
            "prompt_length|Numeric|Num(PromptLength)|generate|None|Shape"
        );
        assert_eq!(of("accepted").clip, None);
        assert_eq!(of("steps").definition, "steps|Numeric|Num(Steps)|generate|None|Mean|clip 0.0 300.0");
        let wide = Some(Bounds { low: 0.0, high: 100.0 });
        assert!(of("aesthetic").bounded(wide, None).definition.ends_with("|Mean|range 0.0 100.0"));
        assert_eq!(of("prompt_length").bounded(None, wide).clip, None, "its shape is judged, not its mean");
    }

    #[test]
    fn every_path_leads_to_a_source() {
        assert!(FieldSource::paths().all(|p| FieldSource::from_path(p).is_some()));
        assert_eq!(FieldSource::from_path("prompt"), None);
    }

    #[test]
    fn fields_are_listed_once_a_stage_and_nothing_that_is_no_field() {
        let features = builtin();
        let missing = features.iter().find(|f| f.name == MISSING).unwrap();
        let watched = missing.watched.as_ref().unwrap();
        let generate = watched.at(Stage::Generate);
        for from in [
            FieldSource::Tokens,
            FieldSource::Loras,
            FieldSource::Num(Num::Aesthetic),
            FieldSource::Text(Text::ModelVersion),
        ] {
            assert_eq!(generate.iter().filter(|f| **f == from).count(), 1, "{from:?}");
        }
        assert!(
            !generate
                .iter()
                .any(|f| matches!(f, FieldSource::Event | FieldSource::Failed | FieldSource::Missing))
        );
        assert!(!watched.at(Stage::Deliver).contains(&FieldSource::Tokens), "read from generate alone");
        assert!(watched.at(Stage::Deliver).contains(&FieldSource::Num(Num::Latency)));
        let place = generate.iter().position(|f| *f == FieldSource::Num(Num::Aesthetic)).unwrap() as u8;
        let name = |failed| watched.name(group(Stage::Generate, failed), place).unwrap();
        assert_eq!(name(false), "generate quality.aesthetic");
        assert_eq!(name(true), "failed generate quality.aesthetic");
        assert_eq!(watched.name(group(Stage::Generate, false), 63), None);
        assert_eq!(watched.name(200, 0), None);
    }

    #[test]
    fn the_definition_names_the_fields_and_is_completed_once() {
        let mut features = builtin();
        let of = |all: &[Feature]| all.iter().find(|f| f.name == MISSING).unwrap().definition.clone();
        let before = of(&features);
        let upscale = before.split(';').find(|s| s.starts_with("upscale:")).unwrap();
        assert!(upscale.contains("metrics.latency_ms") && !upscale.contains("prompt"), "{before}");
        watch(&mut features);
        assert_eq!(of(&features), before);
        features.retain(|f| f.name != "aesthetic");
        watch(&mut features);
        assert!(!of(&features).contains("quality.aesthetic"), "what nobody reads is not missed");
    }
}
