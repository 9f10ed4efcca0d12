//! Equalities that every sketch keeps: any order and split gives the same bytes, subtraction undoes
//! addition, decoding undoes encoding.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

const KINDS: usize = 7;

/// One event as the sketches see it.
#[derive(Debug, Clone)]
struct Seen {
    session: u64,
    user: Option<u64>,
    tokens: Vec<u16>,
    category: u8,
    number: f64,
    holds: bool,
    request: u64,
}

fn seen() -> impl Strategy<Value = Seen> {
    (
        any::<u64>(),
        proptest::option::of(any::<u64>()),
        proptest::collection::vec(0u16..600, 0..12),
        0u8..6,
        prop_oneof![-1e6f64..1e6, Just(30.0), Just(0.0), 1e-6f64..1e-3],
        any::<bool>(),
        0u64..50,
    )
        .prop_map(|(session, user, tokens, category, number, holds, request)| Seen {
            session,
            user,
            tokens,
            category,
            number,
            holds,
            request,
        })
}

/// One of each kind; the last is a volume.
fn sketches() -> [Sketch; KINDS] {
    let id = SketchId(7);
    [
        Sketch { id, body: Body::Tokens(TokenSketch::default()) },
        Sketch { id, body: Body::Category(CategorySketch::default()) },
        Sketch { id, body: Body::Numeric(NumericSketch::default()) },
        Sketch { id, body: Body::Rate(RateSketch::default()) },
        Sketch { id, body: Body::Vector(VectorSketch::default()) },
        Sketch { id, body: Body::Missing(MissingSketch::default()) },
        Sketch { id, body: Body::Rate(RateSketch::default()) },
    ]
}

fn add(sketch: &mut Sketch, e: &Seen, volume: bool) {
    let b = session_bucket(e.session);
    match &mut sketch.body {
        Body::Rate(s) if volume => s.count(b, e.session, None, e.user),
        Body::Tokens(s) => s.add(&e.tokens, b, e.session, e.user),
        Body::Category(s) => s.add(&[Arc::from(format!("c{}", e.category))], b, e.session, e.user),
        Body::Numeric(s) => s.add(
            e.number,
            e.number,
            (e.number.abs() + 1000.0).ln(),
            b,
            e.session,
            e.request.is_multiple_of(2),
        ),
        Body::Rate(s) => {
            s.add(
                e.holds,
                b,
                e.session,
                (e.request.wrapping_mul(0x9e37_79b9_7f4a_7c15), &format!("r{}", e.request)),
            );
        }
        Body::Vector(s) => {
            let unit = [e.number.sin(), e.number.cos(), f64::from(e.category) / 6.0];
            let request = (e.request.wrapping_mul(0x9e37_79b9_7f4a_7c15), format!("r{}", e.request));
            s.add(&unit, &[3.0 * unit[0], -unit[1]], b, e.session, (request.0, &request.1));
        }
        // Some fields that all lack, some that vary, and one more in every other group.
        Body::Missing(s) => {
            s.add(e.category % 3, 0b1001 | ((e.request % 4) << 1) | u64::from(e.holds) << 63, b, e.session)
        }
    }
}

fn of(kind: usize, events: &[Seen]) -> Sketch {
    let mut s = sketches()[kind].clone();
    events.iter().for_each(|e| add(&mut s, e, kind == KINDS - 1));
    s
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_and_split_gives_the_same_bytes(
        events in proptest::collection::vec(seen(), 0..60),
        cuts in proptest::collection::vec(0usize..60, 0..4),
        shift in 0usize..60,
    ) {
        for kind in 0..KINDS {
            let whole = of(kind, &events);
            let mut turned = events.clone();
            turned.rotate_left(shift % events.len().max(1));
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (turned.len() + 1)).collect();
            cuts.extend([0, turned.len()]);
            cuts.sort_unstable();
            let parts: Vec<Sketch> = cuts.windows(2).map(|w| of(kind, &turned[w[0]..w[1]])).collect();
            let mut forth = parts[0].clone();
            parts[1..].iter().for_each(|p| forth.merge(p).unwrap());
            let mut back = parts[parts.len() - 1].clone();
            parts[..parts.len() - 1].iter().rev().for_each(|p| back.merge(p).unwrap());
            prop_assert_eq!(whole.encode(), forth.encode());
            prop_assert_eq!(whole.encode(), back.encode());
        }
    }

    #[test]
    fn subtraction_undoes_addition_of_sums(
        a in proptest::collection::vec(seen(), 0..40),
        b in proptest::collection::vec(seen(), 0..40),
    ) {
        for kind in 0..KINDS {
            let (before, other) = (of(kind, &a), of(kind, &b));
            let mut after = before.clone();
            after.merge(&other).unwrap();
            after.subtract(&other).unwrap();
            match (&after.body, &before.body) {
                (Body::Tokens(x), Body::Tokens(y)) => {
                    let counts = |s: &TokenSketch| {
                        let mut v: Vec<_> = s.tokens().map(|(t, c)| (t, c.count)).collect();
                        v.sort_unstable();
                        let mut p: Vec<_> = s.presence().collect();
                        p.sort_unstable();
                        (v, p)
                    };
                    prop_assert_eq!(counts(x), counts(y));
                    prop_assert_eq!(x.events(), y.events());
                }
                (Body::Category(x), Body::Category(y)) => {
                    let counts = |s: &CategorySketch| {
                        let of = |v: CategoryValue<'_>| (v.name.to_owned(), v.cells.to_vec());
                        s.values().iter().map(of).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(counts(x), counts(y));
                    prop_assert_eq!(x.events(), y.events());
                }
                (Body::Numeric(x), Body::Numeric(y)) => {
                    prop_assert_eq!(x.quantiles(), y.quantiles());
                    prop_assert_eq!(x.events(), y.events());
                    prop_assert_eq!((x.sum(), x.sd(), x.test_sq()), (y.sum(), y.sd(), y.test_sq()));
                }
                (Body::Rate(x), Body::Rate(y)) => prop_assert_eq!(x.events(), y.events()),
                (Body::Missing(x), Body::Missing(y)) => {
                    prop_assert_eq!(x.groups(), y.groups());
                    prop_assert_eq!(x.events(), y.events());
                }
                (Body::Vector(x), Body::Vector(y)) => {
                    let sums = |s: &VectorSketch| {
                        s.projected().map(|(b, n, p)| (b, n, p.collect::<Vec<_>>())).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(x.mean(), y.mean());
                    prop_assert_eq!(sums(x), sums(y));
                }
                _ => prop_assert!(false, "kinds differ"),
            }
        }
    }

    #[test]
    fn bytes_come_back(events in proptest::collection::vec(seen(), 0..60)) {
        for kind in 0..KINDS {
            let s = of(kind, &events);
            let back = Sketch::decode(&s.encode()).unwrap();
            prop_assert_eq!(&back, &s);
            prop_assert_eq!(back.encode(), s.encode());
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_sketch(
        events in proptest::collection::vec(seen(), 0..20),
        at in any::<prop::sample::Index>(),
        to: u8,
    ) {
        for kind in 0..KINDS {
            let mut bytes = of(kind, &events).encode();
            let i = at.index(bytes.len());
            bytes[i] = to;
            if let Ok(s) = Sketch::decode(&bytes) {
                let _ = s.encode();
            }
            let _ = Sketch::decode(&bytes[..i]);
        }
    }
}

#[test]
fn unlike_sketches_do_not_merge_and_say_why() {
    let [tokens, category, ..] = sketches();
    let mut a = tokens.clone();
    let other = Sketch { id: SketchId(8), ..tokens };
    assert!(a.merge(&other).unwrap_err().to_string().contains("different definitions"));
    assert!(matches!(a.merge(&category), Err(UnlikeSketches::Kind { left: "tokens", right: "category" })));
}

#[test]
fn unknown_users_never_make_a_token_look_common() {
    let mut s = TokenSketch::default();
    for i in 0..100u64 {
        s.add(&[5], 0, i, None);
    }
    assert_eq!(s.token(5).users, 0);
    s.add(&[5], 0, 1, Some(3));
    s.add(&[5], 0, 1, Some(67));
    assert_eq!(s.token(5).users.count_ones(), 1, "two users with one bit count as one");
}

#[test]
fn what_was_written_before_users_were_kept_is_read_without_them() {
    let user = Some(5);
    let (mut category, mut volume) = (CategorySketch::default(), RateSketch::default());
    category.add(&[Arc::from("c")], 1, 9, user);
    volume.count(1, 9, None, user);
    let id = SketchId(7);
    let bytes = Sketch { id, body: Body::Category(category.clone()) }.encode();
    // Behind format and id: the kind, one value, its length and its text; then the users.
    let kind = 1 + 8;
    let users = kind + 1 + 1 + 1 + 1;
    assert_eq!((bytes[kind], bytes[users]), (7, 1 << 5));
    let mut then = bytes.clone();
    then[kind] = 2;
    assert!(Sketch::decode(&then).is_err(), "never misread");
    then.remove(users);
    let Body::Category(read) = Sketch::decode(&then).unwrap().body else { panic!("a category") };
    assert_eq!((read.users("c"), read.count("c"), category.users("c")), (0, 1, 1 << 5));
    assert_eq!(read.events(), category.events());

    let bytes = Sketch { id, body: Body::Rate(volume.clone()) }.encode();
    assert_eq!(bytes[kind], 6);
    let mut then = bytes[..bytes.len() - 1].to_vec();
    then[kind] = 4;
    let Body::Rate(read) = Sketch::decode(&then).unwrap().body else { panic!("a rate") };
    assert_eq!((read.users(), read.n(), volume.users()), (0, 1, 1 << 5));
    let mut rate = RateSketch::default();
    rate.add(true, 1, 9, (1, "r"));
    assert_eq!(Sketch { id, body: Body::Rate(rate) }.encode()[kind], 4, "rates stay as small as they were");
}

#[test]
fn a_bucket_beyond_the_last_is_refused() {
    let seed = include_bytes!("../../../../fixtures/fuzz/sketch/quantile-least");
    // Behind the kind of seed and the length of the first of two sketches.
    let length = usize::from(u16::from_le_bytes([seed[1], seed[2]]));
    assert!(Sketch::decode(&seed[3..3 + length]).is_err());
}

#[test]
fn very_long_prompts_are_counted_like_short_ones() {
    let tokens: Vec<u16> = (0..3_000u32).rev().map(|t| (t * 7 % 2_000) as u16).collect();
    let mut long = TokenSketch::default();
    long.add(&[5, 1_999, 9], 3, 8, Some(2));
    long.add(&tokens, 3, 9, Some(70));
    let mut expected = std::collections::BTreeMap::<u32, u64>::new();
    for t in tokens.iter().chain(&[5, 1_999, 9]) {
        *expected.entry(u32::from(*t)).or_default() += 1;
    }
    assert!(long.tokens().map(|(t, c)| (t, c.count)).eq(expected));
    let users = |token: u32| long.tokens().find(|t| t.0 == token).unwrap().1.users;
    assert_eq!((users(5), users(6)), (1 << 2 | 1 << 6, 1 << 6));
}
