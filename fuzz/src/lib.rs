//! What the targets share: a meter of memory, panics that callers contain by design, and a job to decode for.

use driftglass::config::segments::Groupings;
use driftglass::config::{Config, parse};
use driftglass::enrich::reference::Reference;
use driftglass::enrich::vectors::{Head, Style, Takes, VectorPlan};
use driftglass::enrich::{IdHasher, Plan};
use driftglass::sketch::Sketch;
use driftglass::store::panes::TableNames;
use driftglass::window::{Filler, SketchSet, Times};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Once};

/// A mebibyte.
pub const MIB: usize = 1 << 20;

/// A piece of memory larger than this is refused, which ends the process, as a machine without so much would.
const LARGEST: usize = 4096 * MIB;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Counts what Rust code holds. Memory of C libraries is left to libFuzzer's own limit.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;

fn took(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    if held > MOST.load(Relaxed) {
        MOST.fetch_max(held, Relaxed);
    }
}

fn gave(bytes: usize) {
    HELD.fetch_sub(bytes, Relaxed);
}

// SAFETY: everything is handed on to the system's allocator as it came, or refused with null.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        took(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        took(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LARGEST {
            return std::ptr::null_mut();
        }
        // The larger first: between the two calls nothing is held that isn't counted.
        took(size);
        gave(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs something that may not hold more than `limit` bytes at once on top of what is held already. May be nested.
///
/// # Panics
/// When it held more.
pub fn bounded<T>(limit: usize, f: impl FnOnce() -> T) -> T {
    let before = HELD.load(Relaxed);
    let outer = MOST.swap(before, Relaxed);
    let out = f();
    let most = MOST.fetch_max(outer, Relaxed).saturating_sub(before);
    assert!(most <= limit, "{most} bytes were held where {limit} are enough");
    out
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder whose caller takes its panic for a damaged file; `None` after one.
///
/// Only panics in the sources of dependencies are let through. One of driftglass's own is a finding here as everywhere.
pub fn contained<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    // libFuzzer's hook, which ends the process at any panic, is there already when the first input comes.
    HOOK.call_once(|| {
        let strict = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let of_a_dependency = panic.location().is_some_and(|at| at.file().contains("/registry/src/"));
            if !(of_a_dependency && CONTAINED.get()) {
                strict(panic);
            }
        }));
    });
    CONTAINED.set(true);
    let out = catch_unwind(AssertUnwindSafe(f));
    CONTAINED.set(false);
    out.ok()
}

/// Components of the sample job's vectors: few, so that a mutated list often has as many.
pub const DIMENSION: usize = 4;

/// Language is among the dimensions because it comes from the prompt where the event doesn't say it.
const CONFIG: &str = r#"
[embedding]
dimension = 4
[[segments]]
by = []
[[segments]]
by = ["tenant"]
[[segments]]
by = ["model_version", "region"]
[[segments]]
by = ["prompt.language", "sampler"]
"#;

/// A job without input and output.
pub struct Sample {
    /// Its configuration.
    pub config: Config,
    /// What enriching needs, with vectors of images.
    pub plan: Arc<Plan>,
    /// What filling panes needs.
    pub filler: Arc<Filler>,
    /// Its groupings.
    pub groupings: Arc<Groupings>,
    /// Names for its files.
    pub names: TableNames,
    /// Pane length and lateness.
    pub times: Times,
}

/// The job that the targets decode for.
pub static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let config = parse(CONFIG, "sample.toml", |_| None).expect("the sample configuration reads");
    let features = config.feature_set().expect("the sample configuration has features");
    let groupings = Arc::new(config.groupings().expect("the sample configuration has groupings"));
    let vectors = VectorPlan {
        model: "sample".into(),
        dimension: DIMENSION,
        reference: Reference::random(DIMENSION),
        styles: vec![
            Style { name: "painting".into(), centroid: vec![1.0, 0.0, 0.0, 0.0] },
            Style { name: "photo".into(), centroid: vec![0.0, 1.0, 0.0, 0.0] },
        ],
        target: Some(0),
        head: Some(Head { weights: vec![0.25; DIMENSION], bias: 5.0, scale: 1.0 }),
        rate: 1.0,
        per_minute: 60,
        takes: Takes { vector_files: true, images: true, recorded: false },
    };
    let plan = Arc::new(Plan {
        features,
        dimensions: groupings.dimensions.clone(),
        hasher: IdHasher::new("a key for samples"),
        hidden: driftglass::event::NameFields::default(),
        vectors: Some(Arc::new(vectors)),
    });
    let filler = Arc::new(Filler::new(&plan, Arc::clone(&groupings)));
    let names =
        TableNames::new(Arc::clone(&groupings), &plan.features).with_definitions(filler.definitions());
    let times = Times {
        pane: config.windows.pane.0,
        lateness: config.windows.lateness.0,
        confirming_records: driftglass::window::CONFIRMING_RECORDS,
    };
    Sample { config, plan, filler, groupings, names, times }
});

/// Plain events, one a minute, to go on with where a state was read back.
pub static EVENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..32)
        .map(|i| {
            format!(
                r#"{{"request_id":"r-{i}","timestamp":"2026-01-12T06:{i:02}:00Z","pipeline_stage":"generate","session_id":"s-{}","user_id_hash":"u-{}","tenant":"t-{}","prompt":{{"text":"a red kite over the sea"}},"params":{{"sampler":"euler_a","steps":30}},"metrics":{{"latency_ms":1{i:02}0.5}}}}"#,
                i % 5,
                i % 7,
                i % 3
            )
        })
        .collect()
});

/// Whether contents are the same; a feature that no event carried may be left out at the end.
#[must_use]
pub fn same(a: &SketchSet, b: &SketchSet) -> bool {
    let features = a.sketches.len().max(b.sketches.len());
    (0..features).all(|f| sketch(a, f) == sketch(b, f))
}

fn sketch(contents: &SketchSet, feature: usize) -> Option<&Sketch> {
    contents.sketches.get(feature)?.as_deref()
}
