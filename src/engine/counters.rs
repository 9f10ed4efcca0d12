//! How a job's counters are declared: one row of a table per counter. From the table come the field
//! that threads add to, the field of the summary (`--json`, the progress line) and the metric.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number of a job, read from its shared state `P`.
#[derive(Debug)]
pub struct CounterInfo<P> {
    /// Its field; also its key in the summary.
    pub name: &'static str,
    /// Whether the summary has it.
    pub in_summary: bool,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// The metric's name without suffix, if it is a metric.
    pub metric: Option<&'static str>,
    /// What it counts.
    pub help: &'static str,
    /// Its current value.
    pub read: fn(&P) -> u64,
}

/// A value of a [`LabelledMetric`] with the texts of its labels.
pub type LabelledValue = (Vec<String>, u64);

/// A metric with a value for each combination of labels.
#[derive(Debug)]
pub struct LabelledMetric<P> {
    /// The metric's name without suffix.
    pub metric: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its current values, with a text for each label.
    pub read: fn(&P) -> Vec<LabelledValue>,
}

/// Declares the counters of a job, one row each:
///
/// ```text
/// WHERE   KIND    FIELD             METRIC                HELP
/// summary Counter messages,         "driftglass_messages", "Messages read";
/// hidden  Gauge   waiting = EXPR,   _,                     "Computed instead of counted";
/// summary         reasons: TYPE = EXPR,                    "No number, in the summary only";
/// ```
///
/// `summary` rows are in the struct of the summary, in the order of the table; `hidden` rows are
/// not. A field without `=` is an atomic counter of the struct; its name is its key in the summary.
/// `_` means no metric. EXPR may use the name after `as`; it must not keep a lock after its own
/// call, since a summary evaluates all of them in one expression.
macro_rules! declare_counters {
    (
        $(#[$attribute:meta])* pub struct $progress:ident as $this:ident { $($other:tt)* }
        $(#[$summary_attribute:meta])* pub struct $summary:ident;
        $($rows:tt)*
    ) => {
        declare_counters! { @row
            { $(#[$attribute])* $progress $this { $($other)* } }
            { $(#[$summary_attribute])* $summary }
            [] [] [] $this; $($rows)*
        }
    };
    (@row $p:tt $s:tt [$($fields:tt)*] [$($in_summary:tt)*] [$($info:tt)*] $this:ident;
        summary $kind:ident $name:ident, $metric:tt, $help:literal; $($rows:tt)*
    ) => {
        declare_counters! { @row $p $s
            [$($fields)* ($name $help)]
            [$($in_summary)* ($name $help (u64) ($this.$name.load(Ordering::Relaxed)))]
            [$($info)* ($name true $kind $metric $help ($this.$name.load(Ordering::Relaxed)))]
            $this; $($rows)*
        }
    };
    (@row $p:tt $s:tt [$($fields:tt)*] [$($in_summary:tt)*] [$($info:tt)*] $this:ident;
        hidden $kind:ident $name:ident, $metric:tt, $help:literal; $($rows:tt)*
    ) => {
        declare_counters! { @row $p $s
            [$($fields)* ($name $help)]
            [$($in_summary)*]
            [$($info)* ($name false $kind $metric $help ($this.$name.load(Ordering::Relaxed)))]
            $this; $($rows)*
        }
    };
    (@row $p:tt $s:tt [$($fields:tt)*] [$($in_summary:tt)*] [$($info:tt)*] $this:ident;
        summary $kind:ident $name:ident = $value:expr, $metric:tt, $help:literal; $($rows:tt)*
    ) => {
        declare_counters! { @row $p $s
            [$($fields)*]
            [$($in_summary)* ($name $help (u64) ($value))]
            [$($info)* ($name true $kind $metric $help ($value))]
            $this; $($rows)*
        }
    };
    (@row $p:tt $s:tt [$($fields:tt)*] [$($in_summary:tt)*] [$($info:tt)*] $this:ident;
        hidden $kind:ident $name:ident = $value:expr, $metric:tt, $help:literal; $($rows:tt)*
    ) => {
        declare_counters! { @row $p $s
            [$($fields)*]
            [$($in_summary)*]
            [$($info)* ($name false $kind $metric $help ($value))]
            $this; $($rows)*
        }
    };
    (@row $p:tt $s:tt [$($fields:tt)*] [$($in_summary:tt)*] [$($info:tt)*] $this:ident;
        summary $name:ident: $type:ty = $value:expr, $help:literal; $($rows:tt)*
    ) => {
        declare_counters! { @row $p $s
            [$($fields)*]
            [$($in_summary)* ($name $help ($type) ($value))]
            [$($info)*]
            $this; $($rows)*
        }
    };
    (@row
        { $(#[$attribute:meta])* $progress:ident $self_name:ident { $($other:tt)* } }
        { $(#[$summary_attribute:meta])* $summary:ident }
        [$(($field:ident $field_help:literal))*]
        [$(($key:ident $key_help:literal ($type:ty) ($value:expr)))*]
        [$(($name:ident $in_summary:literal $kind:ident $metric:tt $help:literal ($read:expr)))*]
        $this:ident;
    ) => {
        $(#[$attribute])*
        pub struct $progress {
            $(#[doc = $field_help] pub $field: AtomicU64,)*
            $($other)*
        }

        $(#[$summary_attribute])*
        pub struct $summary {
            $(#[doc = $key_help] pub $key: $type,)*
        }

        impl $progress {
            /// Copies the counters that the summary has.
            #[must_use]
            pub fn counts(&self) -> $summary {
                let $this = self;
                $summary { $($key: $value,)* }
            }
        }

        /// The numbers of a job, in the order of their declaration.
        pub static COUNTERS: &[CounterInfo<$progress>] = &[$(CounterInfo {
            name: stringify!($name),
            in_summary: $in_summary,
            kind: MetricKind::$kind,
            metric: declare_counters!(@metric $metric),
            help: $help,
            read: |$this| $read,
        },)*];
    };
    (@metric _) => { None };
    (@metric $metric:literal) => { Some($metric) };
}

pub(super) use declare_counters;
