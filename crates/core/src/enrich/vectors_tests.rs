use super::*;
use crate::config::features::{builtin, of_embeddings};
use crate::enrich::Row;
use crate::event::{Stage, Text};

fn plan() -> VectorPlan {
    let style = |name: &str, centroid: [f64; 4]| Style { name: name.into(), centroid: centroid.to_vec() };
    VectorPlan {
        model: "m".into(),
        dimension: 4,
        reference: Reference::random(4),
        styles: vec![style("flat", [1.0, 0.0, 0.0, 0.0]), style("round", [0.0, 1.0, 0.0, 0.0])],
        target: Some(1),
        head: Some(Head { weights: vec![0.0, 2.0, 0.0, 0.0], bias: 5.0, scale: 2.0 }),
        rate: 1.0,
        per_minute: 60,
        takes: Takes { vector_files: true, images: true, recorded: false },
    }
}

fn features() -> Vec<Feature> {
    builtin().into_iter().chain(of_embeddings()).collect()
}

/// Sources of an event with these artifacts, with the text that was kept.
fn source(plan: &VectorPlan, artifacts: &str, request: u64) -> Option<(&'static str, String)> {
    let mut event = Event::new("r".into(), 0, Stage::Generate);
    event.artifacts = Some(artifacts.to_owned().into());
    let mut kept = String::new();
    let source = plan.source(&event, request, &mut kept)?;
    Some((source.name(), kept))
}

#[test]
fn a_vector_in_the_event_comes_before_its_file_and_that_before_the_image() {
    let plan = plan();
    let all = r#"{"image_id":"x","image_uri":"i.png","thumb_uri":"t.png","embedding_uri":"e.npy#3","embedding":[1, 2]}"#;
    assert_eq!(source(&plan, all, 0), Some(("inline", "[1, 2]".into())));
    let none = all.replace("[1, 2]", "[]");
    assert_eq!(source(&plan, &none, 0), Some(("embedding_uri", "e.npy#3".into())));
    let image = none.replace("e.npy#3", "");
    assert_eq!(source(&plan, &image, 0), Some(("image", "i.png".into())));
    assert_eq!(source(&plan, &image.replace("i.png", ""), 0), Some(("image", "t.png".into())));
    assert_eq!(source(&plan, "{}", 0), None);
    assert_eq!(source(&plan, r#"{"image_uri":7}"#, 0), Some(("unreadable", String::new())));
    let unread = r#"{"\ud83d":1e999,"image_id":"\ud83d","image_uri":"i.png"}"#;
    assert_eq!(source(&plan, unread, 0), Some(("image", "i.png".into())), "what nobody reads costs nothing");
    let cut = r#"{"image_uri":"i.png\ud83d"}"#;
    assert_eq!(source(&plan, cut, 0), Some(("unreadable", String::new())));
    let nothing = VectorPlan { takes: Takes::default(), ..plan };
    assert_eq!(source(&nothing, &none, 0), None, "what can't be followed is no candidate");
}

#[test]
fn the_share_is_picked_by_the_request_s_hash() {
    let plan = VectorPlan { rate: 0.25, ..plan() };
    let hashes = (0..4000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let taken = hashes.filter(|h| source(&plan, r#"{"image_uri":"i"}"#, *h).is_some()).count();
    assert!((900..1100).contains(&taken), "{taken}");
}

fn placed(vector: &[f32], collection: Option<&str>) -> (Result<(), &'static str>, Batch, Vec<Feature>) {
    let (features, mut batch) = (features(), Batch::default());
    let (stage, request_id) = (Stage::Generate, 0..0);
    batch.rows.push(Row {
        time_us: 0,
        stage,
        session: 1,
        user: None,
        request: 1,
        request_id,
        opt_out: false,
    });
    batch.values.resize(features.len(), Value::Missing);
    let collection = collection.map(Arc::from);
    let candidate = Candidate { row: 0, source: ImageSource::Recorded, collection };
    let done = plan().place(&features, &mut batch, &candidate, vector);
    (done, batch, features)
}

#[test]
fn a_vector_gives_the_values_that_follow_from_it() {
    let (done, batch, features) = placed(&[3.0, 4.0, 0.0, 0.0], Some("flat"));
    done.unwrap();
    let value = |name: &str| batch.values[features.iter().position(|f| f.name == name).unwrap()].clone();
    assert_eq!(value("embedding"), Value::Vector(0));
    assert_eq!(batch.vector(0).0, [0.6, 0.8, 0.0, 0.0]);
    let near = |v: Value, want: f64| matches!(v, Value::Num(x) if (x - want).abs() < 1e-7);
    assert!(near(value("style_distance"), 0.4), "the style of its collection");
    assert!(near(value("aesthetic"), 5.0 + 2.0 * 2.0 * 0.8));
    assert_eq!(value("content_mix"), Value::Missing, "a reference without clusters has none");
    let (_, batch, _) = placed(&[3.0, 4.0, 0.0, 0.0], Some("another"));
    let at = features.iter().position(|f| f.name == "style_distance").unwrap();
    assert!(near(batch.values[at].clone(), 0.2), "the target where its collection is no style");
}

#[test]
fn what_is_no_vector_is_refused_with_its_reason() {
    for (vector, reason) in [
        (&[1.0, 2.0][..], "wrong_dimension"),
        (&[0.0; 4], "zero_vector"),
        (&[1.0, f32::NAN, 0.0, 0.0], "not_finite"),
    ] {
        let (done, batch, _) = placed(vector, None);
        assert_eq!(done, Err(reason));
        assert_eq!((batch.vectors, batch.units.len(), batch.projections.len()), (0, 0, 0));
    }
    assert_eq!(inline("[1, 0.5]"), Ok(vec![1.0, 0.5]));
    assert_eq!(inline("[1, null]"), Err("not_a_vector"));
    assert_eq!(inline("[1, 1e400]"), Err("not_a_vector"));
}

#[test]
fn what_a_value_owes_to_a_model_is_part_of_its_identity() {
    let (a, b) = (plan(), VectorPlan { model: "n".into(), ..plan() });
    let fewer = VectorPlan { styles: plan().styles[..1].to_vec(), target: None, ..plan() };
    assert_ne!(a.made_by(FieldSource::Embedding), b.made_by(FieldSource::Embedding));
    assert_eq!(a.made_by(FieldSource::Embedding), fewer.made_by(FieldSource::Embedding));
    let distance = FieldSource::Num(Num::StyleDistance);
    assert_ne!(a.made_by(distance), fewer.made_by(distance));
    assert_eq!(VectorPlan { styles: vec![], ..plan() }.made_by(distance), None, "as the events carry it");
    assert_eq!(a.made_by(FieldSource::Text(Text::Sampler)), None);
}

#[test]
fn heads_say_how_their_input_is_scaled() {
    let head =
        |n: &str| Head::from_json(&format!(r#"{{"weights":[1,2,3,4],"bias":1,"normalisation":"{n}"}}"#));
    assert_eq!(head("l2").unwrap().scale, 1.0);
    assert_eq!(head("l2 then * sqrt(512)").unwrap().scale, 2.0);
    assert!(head("none").unwrap_err().contains("write \"l2\""));
    assert!(Head::from_json("{}").is_err());
}
