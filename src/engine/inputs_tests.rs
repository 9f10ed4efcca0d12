use super::*;
use crate::event::time::{DAY, HOUR};
use crate::source::input::{FileLocation, InputFormat};

const T: i64 = 20_000 * DAY;

fn given(name: &str, content: &str, hours: (i64, i64)) -> GivenInput {
    let size = Some(content.len() as u64);
    let file = InputFile::new(name.to_owned(), FileLocation::Local(name.into()), size, InputFormat::Jsonl);
    let (first, last) = (Some(T + hours.0 * HOUR), Some(T + hours.1 * HOUR));
    let surveyed = Surveyed { file, content: Some(content.to_owned()), first, last, lines: Some(100) };
    GivenInput { surveyed, offsets: BTreeMap::new() }
}

fn days(n: i64) -> Vec<GivenInput> {
    (1..=n).map(|d| given(&format!("day{d}"), &format!("content {d}"), (24 * d, 24 * d + 23))).collect()
}

fn plan_jsonl(
    memory: Option<InputMemory>,
    given: Vec<GivenInput>,
    state: &OutputState,
) -> Result<InputPlan, InputsError> {
    plan(memory, InputKind::Jsonl, TimeRange::ALL, given, state)
}

/// As after reading lanes to these offsets; those that ended say so in their newest commit.
fn read(lanes: &[(i64, bool)], evaluated_to: Option<i64>) -> OutputState {
    let stands = |(next_offset, ended)| ChainPosition { head: 9, committed: Some(9), next_offset, ended };
    let partitions = lanes.iter().enumerate().map(|(i, l)| (i as i32, stands(*l))).collect();
    OutputState { dir: "out".into(), evaluated_to, partitions, filled: true }
}

/// A lane: its number, its files with the offsets that they begin at, whether it is over.
type Shown<'a> = (i32, Vec<(&'a str, Option<i64>)>, bool);

fn lanes_of(plan: &InputPlan) -> Vec<Shown<'_>> {
    plan.lanes
        .iter()
        .map(|l| {
            let files = l.files.iter().map(|f| (f.file.name.as_str(), f.start)).collect();
            (l.partition.0, files, l.finished)
        })
        .collect()
}

fn refused(done: Result<InputPlan, InputsError>) -> String {
    let error = done.unwrap_err().to_string();
    assert!(error.contains("--overwrite") && !error.contains('\n'), "{error}");
    error
}

#[test]
fn files_are_read_in_their_order_whatever_they_are_called() {
    let mut shuffled = days(3);
    shuffled.swap(0, 2);
    shuffled.push(given("host", "another host", (24, 71)));
    let plan = plan_jsonl(None, shuffled, &OutputState::default()).unwrap();
    let first = vec![("day1", Some(0)), ("day2", Some(100)), ("day3", Some(200))];
    assert_eq!(lanes_of(&plan), [(0, first, false), (1, vec![("host", Some(0))], false)]);
    assert!(plan.memory.is_some() && plan.resuming.is_none());
}

#[test]
fn the_same_inputs_again_are_known_and_add_nothing() {
    let memory = plan_jsonl(None, days(2), &OutputState::default()).unwrap().memory;
    let over = read(&[(200, true)], Some(T + 72 * HOUR));
    let mut renamed = days(2);
    renamed[0].surveyed.file.name = "another name".into();
    renamed[0].surveyed.file.canonical = "another name".into();
    for given in [days(2), renamed, days(2)[1..].to_vec(), days(1)] {
        let plan = plan_jsonl(memory.clone(), given, &over).unwrap();
        assert!(plan.lanes[0].finished && plan.memory.is_none() && plan.resuming.is_none(), "{plan:?}");
    }
}

#[test]
fn later_files_continue_the_job_with_and_without_those_before() {
    let memory = plan_jsonl(None, days(2), &OutputState::default()).unwrap().memory;
    let over = read(&[(200, true)], Some(T + 72 * HOUR));
    let with = plan_jsonl(memory.clone(), days(3), &over).unwrap();
    assert_eq!(with.resuming.as_deref(), Some("continuing: 2 files are read, 1 new"));
    let without = plan_jsonl(memory, days(3)[2..].to_vec(), &over).unwrap();
    assert_eq!(with.memory, without.memory);
    assert_eq!(lanes_of(&without), [(0, vec![("day3", Some(200))], false)]);
    // Until the partition says so again, its input is not over.
    let again = plan_jsonl(with.memory.clone(), days(3)[2..].to_vec(), &over).unwrap();
    assert!(!again.lanes[0].finished);
    let mut ended = over;
    ended
        .partitions
        .insert(0, ChainPosition { head: 11, committed: Some(11), next_offset: 300, ended: true });
    assert!(plan_jsonl(with.memory, days(3)[2..].to_vec(), &ended).unwrap().lanes[0].finished);
}

#[test]
fn where_lines_were_not_counted_the_next_file_goes_on_at_what_was_committed() {
    let mut first = days(1);
    first[0].surveyed.lines = None;
    let memory = plan_jsonl(None, first, &OutputState::default()).unwrap().memory;
    let over = read(&[(77, true)], Some(T + 48 * HOUR));
    let plan = plan_jsonl(memory, days(3)[1..].to_vec(), &over).unwrap();
    assert_eq!(lanes_of(&plan), [(0, vec![("day2", Some(77)), ("day3", Some(177))], false)]);
}

#[test]
fn an_interrupted_job_goes_on_and_says_where() {
    let memory = plan_jsonl(None, days(3), &OutputState::default()).unwrap().memory;
    let midway = read(&[(140, false)], Some(T + 30 * HOUR));
    let plan = plan_jsonl(memory.clone(), days(3), &midway).unwrap();
    assert_eq!(plan.resuming.as_deref(), Some("resuming: 1 of 3 files are read, continuing in day2 line 41"));
    let plan = plan_jsonl(memory.clone(), days(3)[1..].to_vec(), &midway).unwrap();
    assert_eq!(lanes_of(&plan), [(0, vec![("day2", Some(100)), ("day3", Some(200))], false)]);
    let error = refused(plan_jsonl(memory, days(1), &midway));
    assert!(error.contains("before it had read all of day2 (and 1 more): give it again"), "{error}");
}

#[test]
fn what_can_not_continue_is_refused_by_name() {
    let memory = plan_jsonl(None, days(2), &OutputState::default()).unwrap().memory;
    let over = read(&[(200, true)], Some(T + 72 * HOUR));
    let changed = |content: &str| {
        let given = vec![days(1).remove(0), given("day2", content, (48, 71))];
        refused(plan_jsonl(memory.clone(), given, &over))
    };
    assert!(changed("content").contains("day2 has changed") && changed("content").contains("shorter"));
    assert!(changed("content 2 and more").contains("longer: it had 9 bytes and has 18"));
    assert!(changed("content X").contains("as long, with other bytes"));
    let error = refused(plan_jsonl(memory.clone(), vec![given("early", "e", (71, 99))], &over));
    assert!(error.contains("early begins at") && error.contains("evaluated to"), "{error}");
    let range = TimeRange { from: T, to: i64::MAX };
    let error = refused(plan(memory.clone(), InputKind::Jsonl, range, days(2), &over));
    assert!(error.contains("no --from and --to") && error.contains("--from 2024"), "{error}");
    let error = refused(plan(memory, InputKind::Archive, TimeRange::ALL, days(1), &over));
    assert!(error.contains("JSON lines, and day1 is of another kind"), "{error}");
    let error = refused(plan_jsonl(None, days(1), &over));
    assert!(error.contains("no record of the files"), "{error}");
}

#[test]
fn a_rotated_name_is_another_file() {
    let memory = plan_jsonl(None, days(1), &OutputState::default()).unwrap().memory;
    let over = read(&[(100, true)], Some(T + 48 * HOUR));
    let mut old = days(1).remove(0);
    old.surveyed.file.canonical = "day1.old".into();
    let plan = plan_jsonl(memory, vec![given("day1", "new", (48, 60)), old], &over).unwrap();
    assert_eq!(lanes_of(&plan), [(0, vec![("day1", Some(0)), ("day1", Some(100))], false)]);
}

#[test]
fn archives_continue_behind_what_was_read() {
    let archive = |name: &str, hours, first: i64| {
        let mut g = given(name, name, hours);
        g.offsets = [(3, first)].into();
        g
    };
    let given = |g: GivenInput, memory: Option<InputMemory>, state: &OutputState| {
        plan(memory, InputKind::Archive, TimeRange::ALL, vec![g], state)
    };
    let memory = given(archive("a", (0, 20), 0), None, &OutputState::default()).unwrap().memory;
    let stands = ChainPosition { head: 4, committed: Some(4), next_offset: 50, ended: true };
    let partitions = [(3, stands)].into();
    let over = OutputState { dir: "out".into(), evaluated_to: Some(T + 24 * HOUR), partitions, filled: true };
    let plan = given(archive("b", (24, 30), 50), memory.clone(), &over).unwrap();
    assert_eq!(plan.partitions, [3].into());
    let error = refused(given(archive("b", (24, 30), 49), memory.clone(), &over));
    assert!(error.contains("b holds offsets of partition 3 from 49 on"), "{error}");
    refused(given(archive("b", (23, 30), 50), memory, &over));
}

#[test]
fn a_version_is_remembered_once() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
    assert_eq!(recall(&storage, "job").unwrap(), (0, None));
    for (after, n) in [(0, 1), (1, 2), (2, 3)] {
        let memory = plan_jsonl(None, days(n), &OutputState::default()).unwrap().memory.unwrap();
        remember(&storage, "job", after, &memory).unwrap();
        assert_eq!(recall(&storage, "job").unwrap(), (after + 1, Some(memory.clone())));
        assert!(matches!(remember(&storage, "job", after, &memory), Err(InputsError::Taken { .. })));
    }
    assert_eq!(storage.list(FOLDER).unwrap().len(), 2);
    storage.put("_inputs/job/version=000009.json", b"{".to_vec()).unwrap();
    assert!(recall(&storage, "job").unwrap_err().to_string().contains("version=000009.json is damaged"));
}
