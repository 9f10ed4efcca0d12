//! Bursts of wrong clocks are survived, pauses of the traffic are followed, and no event is lost to
//! either.

use super::*;
use crate::event::time::{MINUTE, SECOND};
use proptest::prelude::*;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600 * SECOND;
/// 2099-06-01T00:00:00Z.
const FAR: i64 = 4_083_955_200 * SECOND;
const LIMITS: ClockLimits = ClockLimits { pane: MINUTE, lateness: 5 * MINUTE, agree: 200 };

/// What became of records, by their place among all.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Counted as events.
    events: Vec<usize>,
    refused: Vec<usize>,
    /// Behind the watermark when they arrived.
    late: usize,
    watermark: i64,
    likely: Option<i64>,
    undecided: usize,
}

fn record(i: usize, time: i64) -> SeenRecord {
    SeenRecord { offset: i as i64, time, opt_out: false, counted: false, taken: false }
}

/// Plays records; with a restart after each that `restart` picks.
fn play_with(times: &[i64], restart: impl Fn(usize) -> bool) -> Outcome {
    let mut clock = PartitionClock::new(LIMITS);
    let mut out = Outcome::default();
    let settle = |out: &mut Outcome, settled: Vec<SettledPane>| {
        for s in settled {
            let all = s.records.iter().map(|r| r.offset as usize);
            if s.kept {
                out.events.extend(all);
            } else {
                out.refused.extend(all);
            }
        }
    };
    for (i, &time) in times.iter().enumerate() {
        let mark = clock.watermark();
        if clock.see(record(i, time), false) == Placement::Open {
            out.late += usize::from(floor(time, MINUTE) + MINUTE <= mark);
            out.events.push(i);
        }
        settle(&mut out, clock.settled(time));
        if restart(i) {
            let (watermark, state) = clock.state();
            let text = serde_json::to_string(&(&watermark, &state)).unwrap();
            let (watermark, state): (WatermarkState, PartitionClockState) =
                serde_json::from_str(&text).unwrap();
            let again = PartitionClock::restore(&watermark, &state, LIMITS);
            assert_eq!(again, clock);
            clock = again;
        }
    }
    out.watermark = clock.watermark();
    let quiet = clock.quiet(Reach::Ended);
    out.undecided = clock.undecided();
    out.likely = quiet.likely;
    for (_, s) in clock.ahead.range(..=quiet.last.unwrap_or(i64::MIN)) {
        out.events.extend(s.records.iter().map(|r| r.offset as usize));
    }
    out.events.sort_unstable();
    out.refused.sort_unstable();
    out
}

fn play(times: &[i64]) -> Outcome {
    play_with(times, |_| false)
}

/// Records every ten seconds.
fn dense(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| START + i * 10 * SECOND).collect()
}

/// What is wrong with a clock.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// A wrong clock that continues from this time.
    Says(i64),
    /// A clock that is ahead by this much.
    Ahead(i64),
}

impl Wrong {
    fn of(self, time: i64) -> i64 {
        match self {
            Self::Says(at) => at + (time - START) % HOUR,
            Self::Ahead(by) => time + by,
        }
    }
}

const FAR_AHEAD: [Wrong; 4] =
    [Wrong::Says(FAR), Wrong::Ahead(2 * DAY), Wrong::Ahead(400 * DAY), Wrong::Says(START + 3 * DAY)];

fn bursts() -> impl Iterator<Item = (Wrong, usize)> {
    FAR_AHEAD.into_iter().flat_map(|w| [1, 7, 8, 14, 15, 20, 100, 199].map(|n| (w, n)))
}

#[test]
fn a_burst_of_any_size_is_refused_and_moves_nothing_wherever_it_comes() {
    let plain = play(&dense(1_500));
    assert_eq!((plain.events.len(), plain.late), (1_500, 0));
    for (wrong, n) in bursts() {
        for at in [0, 3, 12, 100, 300, 900] {
            let mut times = dense(1_500);
            times[at..at + n].iter_mut().for_each(|t| *t = wrong.of(*t));
            let got = play(&times);
            let about = format!("{wrong:?} × {n} at {at}");
            assert_eq!(got.refused, (at..at + n).collect::<Vec<_>>(), "{about}");
            assert_eq!((got.events.len(), got.late), (1_500 - n, 0), "{about}");
            assert_eq!((got.watermark, got.likely), (plain.watermark, plain.likely), "{about}");
        }
    }
}

#[test]
fn clocks_that_are_wrong_again_and_again_are_refused_every_time() {
    let plain = play(&dense(2_000));
    for wrong in FAR_AHEAD {
        for every in [2, 3, 10] {
            for from in [0, 500] {
                let mut times = dense(2_000);
                let is_wrong = |i: usize| i >= from && i.is_multiple_of(every);
                (0..2_000).filter(|i| is_wrong(*i)).for_each(|i| times[i] = wrong.of(times[i]));
                let got = play(&times);
                let about = format!("{wrong:?}, every {every} from {from}");
                assert!(got.refused.iter().all(|i| is_wrong(*i)), "{about}");
                let rest: Vec<usize> =
                    (0..2_000).filter(|i| is_wrong(*i) && !got.refused.contains(i)).collect();
                assert!(rest.iter().all(|i| *i > 1_800), "{about}: {rest:?} were not refused");
                assert!((0..2_000).filter(|i| !is_wrong(*i)).all(|i| got.events.contains(&i)), "{about}");
                assert_eq!(got.late, 0, "{about}");
                assert!(plain.watermark - got.watermark < 5 * MINUTE, "{about}");
                assert!(got.watermark <= plain.watermark, "{about}");
            }
        }
    }
}

#[test]
fn clocks_that_are_always_a_bit_ahead_move_nothing_though_the_others_come_near_to_them() {
    for apart in [10 * SECOND, 60 * SECOND, 150 * SECOND] {
        let plain: Vec<i64> = (0..2_000).map(|i| START + i * apart).collect();
        let (plain, every) = (play(&plain), plain);
        for by in [70 * MINUTE, 90 * MINUTE, 110 * MINUTE, 5 * HOUR] {
            for of in [2, 3, 10] {
                let wrong = |i: usize| if i.is_multiple_of(of) { by } else { 0 };
                let times: Vec<i64> = (0..2_000).map(|i| every[i] + wrong(i)).collect();
                let got = play(&times);
                let about = format!("{by} every {of} of {apart}");
                assert_eq!((got.events.len() + got.undecided, got.late), (2_000, 0), "{about}");
                assert!(got.undecided < 15 && got.refused.is_empty(), "{about}");
                assert!(got.watermark <= plain.watermark, "{about}");
            }
        }
    }
}

#[test]
fn several_bursts_within_each_other_are_refused() {
    let mut times = dense(2_000);
    times[600..650].iter_mut().for_each(|t| *t += 3 * DAY);
    times[620..630].iter_mut().for_each(|t| *t = FAR);
    times[640..660].iter_mut().for_each(|t| *t = FAR + DAY);
    times[1_000..1_020].iter_mut().for_each(|t| *t = FAR);
    let got = play(&times);
    let wrong: Vec<usize> = (600..660).chain(1_000..1_020).collect();
    assert_eq!((got.refused, got.late), (wrong, 0));
    assert_eq!(got.watermark, play(&dense(2_000)).watermark);
}

#[test]
fn clocks_less_than_a_day_ahead_cost_no_event_and_move_nothing() {
    let plain = play(&dense(1_500));
    for n in [1, 8, 15, 100, 199] {
        for at in [0, 12, 300, 1_500 - n] {
            let mut times = dense(1_500);
            // More than an hour ahead of everything after the burst.
            times[at..at + n].iter_mut().for_each(|t| *t += if n < 199 { 90 * MINUTE } else { 2 * HOUR });
            let got = play(&times);
            assert_eq!((got.events.len(), got.refused.len(), got.late), (1_500, 0, 0), "{n} at {at}");
            assert!(got.watermark <= plain.watermark, "{n} at {at}");
            assert!(at + n == 1_500 || got.watermark == plain.watermark, "{n} at {at}");
        }
    }
}

#[test]
fn a_burst_at_the_end_is_left_undecided() {
    for n in [1, 8, 15, 100, 199] {
        let mut times = dense(600);
        let before = play(&times[..600 - n]);
        times[600 - n..].iter_mut().for_each(|t| *t = FAR);
        let got = play(&times);
        assert_eq!((got.undecided, got.refused.len()), (n, 0));
        assert_eq!((got.events.len(), got.watermark, got.likely), (600 - n, before.watermark, before.likely));
    }
}

#[test]
fn a_pause_of_days_before_the_end_is_believed_by_fifteen() {
    for (n, believed) in [(8, false), (14, false), (15, true), (100, true)] {
        for pause in [3 * DAY, 400 * DAY] {
            let mut times = dense(600);
            times[600 - n..].iter_mut().for_each(|t| *t += pause);
            let got = play(&times);
            let undecided = if believed { 0 } else { n };
            assert_eq!((got.events.len(), got.refused.len(), got.undecided), (600 - undecided, 0, undecided));
            assert_eq!(got.likely.is_some_and(|l| l > START + pause), believed, "{n}");
            assert!(got.watermark < START + DAY);
        }
    }
}

#[test]
fn an_input_of_few_records_ends_with_the_last_that_is_no_wrong_clock() {
    let likely = |times: &[i64]| play(times).likely.map(|l| l - START);
    assert_eq!(likely(&[]), None);
    assert_eq!(likely(&[START]), Some(0));
    assert_eq!(likely(&[START, START + HOUR]), Some(HOUR));
    let mut times: Vec<i64> = (0..40).map(|i| START + i * HOUR).collect();
    assert_eq!(likely(&times), Some(39 * HOUR));
    times.extend([START + 39 * HOUR + 20 * HOUR, START + 39 * HOUR + 21 * HOUR]);
    assert_eq!(likely(&times), Some(39 * HOUR), "two clocks that are most of a day ahead");
}

#[test]
fn clocks_that_are_behind_refute_nothing() {
    for (every, behind) in [(3, 2 * DAY), (4, 2 * DAY), (4, 30 * HOUR), (5, 9_000 * DAY)] {
        let mut times = dense(3_600);
        times.iter_mut().step_by(every).for_each(|t| *t -= behind);
        let got = play(&times);
        assert_eq!((got.refused.len(), got.undecided), (0, 0), "every {every}th");
        assert!(play(&dense(3_600)).watermark - got.watermark < MINUTE, "every {every}th");
    }
    // Sparse traffic with a burst of them, and stragglers from before the night.
    let mut times: Vec<i64> = (0..1_200).map(|i| START + i * 12 * MINUTE).collect();
    times[400..450].iter_mut().for_each(|t| *t -= 2 * DAY);
    times[800..850].iter_mut().for_each(|t| *t -= 3 * HOUR);
    assert_eq!(play(&times).refused, [0; 0]);
    let mut times: Vec<i64> = Vec::new();
    for day in 0..20 {
        times.extend((0..60).map(|i| START + day * DAY + i * 12 * MINUTE));
        let stragglers = (0..12).map(|i| START + (day - 3) * DAY + (59 - i) * 12 * MINUTE);
        times.splice(times.len() - 58..times.len() - 58, stragglers);
    }
    assert_eq!(play(&times).refused, [0; 0]);
}

#[test]
fn an_input_whose_newest_records_come_first_is_evaluated_to_them() {
    let times: Vec<i64> = (0..150).rev().map(|i| START + i * 5 * MINUTE).collect();
    let got = play(&times);
    assert_eq!((got.events.len(), got.refused.len(), got.undecided), (150, 0, 0));
    assert_eq!(got.likely, Some(START + 149 * 5 * MINUTE));
}

#[test]
fn two_hundred_that_agree_are_believed() {
    let mut times = dense(300);
    times.extend((0..250).map(|i| FAR + i * SECOND));
    assert!(play(&times[..499]).watermark < START + DAY);
    let got = play(&times);
    assert_eq!((got.refused.len(), got.watermark), (0, FAR + 242 * SECOND - LIMITS.lateness));
}

#[test]
fn pauses_of_the_traffic_cost_nothing_and_are_followed() {
    for pause in [61 * MINUTE, 2 * HOUR, 3 * DAY, 400 * DAY] {
        let mut times = dense(1_500);
        times[700..].iter_mut().for_each(|t| *t += pause);
        // Some clocks and queues are minutes behind, and a burst of wrong ones comes while nothing
        // is confirmed yet.
        (705..720).for_each(|i| times[i] -= i as i64 % 7 * MINUTE);
        let plain = play(&times);
        assert_eq!((plain.events.len(), plain.refused.len(), plain.late), (1_500, 0, 0));
        assert_eq!(plain.watermark, play(&dense(1_500)).watermark + pause);
        for burst in [8, 60] {
            let mut disturbed = times.clone();
            disturbed[750..750 + burst].iter_mut().for_each(|t| *t = FAR);
            let got = play(&disturbed);
            assert_eq!(got.refused, (750..750 + burst).collect::<Vec<_>>());
            assert_eq!((got.late, got.watermark), (0, plain.watermark));
        }
    }
}

#[test]
fn stragglers_from_before_a_pause_do_not_refute_it() {
    let mut times = dense(1_500);
    times[700..].iter_mut().for_each(|t| *t += 3 * DAY);
    (700..900).filter(|i| i % 8 == 0).for_each(|i| times[i] = START + 7_000 * SECOND);
    let got = play(&times);
    assert_eq!((got.events.len(), got.refused.len()), (1_500, 0));
    assert_eq!(got.watermark, play(&dense(1_500)).watermark + 3 * DAY);
}

#[test]
fn sparse_traffic_loses_nothing() {
    for (apart, n) in [(2 * HOUR, 120), (20 * MINUTE, 2_000), (8 * MINUTE, 2_160), (7 * HOUR, 900)] {
        let times: Vec<i64> = (0..n).map(|i| START + i * apart).collect();
        let got = play(&times);
        assert_eq!((got.events.len(), got.refused.len(), got.late), (n as usize, 0, 0));
        // When it is quiet it is evaluated as far as if there were no doubt.
        assert_eq!(got.likely, Some(START + (n - 1) * apart));
    }
}

#[test]
fn a_pause_is_caught_up_with_when_the_traffic_is_there_again() {
    // Two hundred records take longer than an hour here.
    let mut times: Vec<i64> = (0..2_000).map(|i| START + i * 40 * SECOND).collect();
    let plain = play(&times).watermark;
    times[900..].iter_mut().for_each(|t| *t += 12 * HOUR);
    assert_eq!(play(&times).watermark, plain + 12 * HOUR);
}

#[test]
fn clocks_behind_are_late_and_no_more() {
    let mut times = dense(1_000);
    times[500..600].iter_mut().for_each(|t| *t = 1_000_000_000 * SECOND);
    let got = play(&times);
    assert_eq!((got.events.len(), got.refused.len(), got.late), (1_000, 0, 100));
    assert_eq!(got.watermark, play(&dense(1_000)).watermark);
}

#[test]
fn a_record_that_its_broker_vouches_for_counts_at_once() {
    let mut clock = PartitionClock::new(LIMITS);
    for (i, time) in (0..).zip(dense(15).into_iter().chain(dense(15).iter().map(|t| t + 3 * DAY))) {
        assert_eq!(clock.see(record(i, time), true), Placement::Open);
        assert!(clock.settled(time).is_empty());
    }
    assert_eq!(clock.watermark(), START + 3 * DAY + 70 * SECOND - LIMITS.lateness);
    assert_eq!(clock.latest(START), START + HOUR);
}

#[test]
fn the_first_records_of_all_are_counted_until_they_turn_out_to_be_far_ahead() {
    let mut clock = PartitionClock::new(LIMITS);
    let times = [FAR, START, START + SECOND, START + 2 * SECOND];
    let placed: Vec<_> = (0..4).map(|i| clock.see(record(i, times[i]), false)).collect();
    assert_eq!(placed, [Placement::Apart { counted: true }; 4]);
    let quiet = clock.quiet(Reach::Ended);
    let offsets = |of: &[SeenRecord]| of.iter().map(|r| r.offset).collect::<Vec<_>>();
    assert_eq!(
        (quiet.last, offsets(&quiet.counted), offsets(&quiet.uncounted)),
        (Some(START), vec![], vec![0])
    );
    assert_eq!((clock.undecided(), clock.quiet(Reach::Ended).uncounted.len()), (1, 0), "once");
}

#[test]
fn what_was_taken_out_in_silence_is_not_refused_later() {
    let mut clock = PartitionClock::new(LIMITS);
    let mut times = dense(300);
    times.extend([START + 5 * HOUR; 8]);
    for (i, time) in times.iter().enumerate() {
        clock.see(record(i, *time), false);
        clock.settled(*time);
    }
    let quiet = clock.quiet(Reach::Idle);
    let counts = (quiet.counted.len(), quiet.uncounted.len());
    assert_eq!((quiet.last, counts), (Some(START + 5 * HOUR), (0, 0)), "counted when they came");
    assert_eq!(quiet.likely, Some(START + 5 * HOUR - LIMITS.lateness));
    let after = START + 3_000 * SECOND;
    for i in 0..20 {
        clock.see(record(400 + i, after), false);
        for s in clock.settled(after) {
            assert!(s.kept && s.records.iter().all(|r| r.taken));
        }
    }
    assert!(!clock.is_open());
    clock.see(record(500, FAR), false);
    assert_eq!(clock.quiet(Reach::Idle).last, None, "not even the end of the input would be enough");
    assert_eq!((clock.quiet(Reach::Ended).last, clock.undecided()), (None, 1));
}

proptest! {
    #[test]
    fn a_restart_after_any_record_changes_nothing(
        steps in prop::collection::vec((0i64..40, 0usize..9, 0i64..3), 1..500),
        restarts in prop::collection::vec(any::<bool>(), 500),
    ) {
        let mut now = START;
        let times: Vec<i64> = steps
            .iter()
            .map(|&(step, kind, n)| {
                // A wrong clock stays wrong for a while: sometimes the next record is of the same
                // kind.
                now += if kind == 0 && step == 0 { 2 * DAY } else { step * SECOND };
                match kind {
                    1 => FAR + n * MINUTE,
                    2 => now + 90 * MINUTE,
                    3 => now + 2 * DAY,
                    4 => now - n * HOUR,
                    _ => now,
                }
            })
            .collect();
        let whole = play(&times);
        prop_assert_eq!(whole.events.len() + whole.refused.len() + whole.undecided >= times.len(), true);
        prop_assert_eq!(whole, play_with(&times, |i| restarts[i]));
    }
}
