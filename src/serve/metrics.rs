//! A running job's counters as metrics. Their names and texts are in the table of counters
//! (`engine/progress.rs`); this file only encodes them.

use crate::engine::{COUNTERS, Job, LABELLED_METRICS, LabelledMetric, MetricKind, Progress};
use axum::http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The metrics and the health of a job.
pub struct JobMetrics {
    job: Arc<Job>,
    progress: Arc<Progress>,
}

impl fmt::Debug for JobMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobMetrics").field("job", &self.job.name).finish_non_exhaustive()
    }
}

impl JobMetrics {
    /// The metrics of a job with these counters.
    #[must_use]
    pub fn new(job: Arc<Job>, progress: Arc<Progress>) -> Self {
        Self { job, progress }
    }

    /// Whether the job makes progress: not while its store fails.
    pub(super) fn health(&self) -> (StatusCode, &'static str) {
        if self.job.storage.is_failing() {
            let text = "the output can't be written or read; retrying until it can\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        } else {
            (StatusCode::OK, "ok\n")
        }
    }

    fn encode_counters(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for counter in COUNTERS {
            if let Some(name) = counter.metric {
                let value = MetricValue::new(counter.kind, (counter.read)(&self.progress));
                encode_one(to, name, counter.help, &value)?;
            }
        }
        LABELLED_METRICS.iter().try_for_each(|metric| self.encode_labelled(to, metric))
    }

    fn encode_labelled(
        &self,
        to: &mut DescriptorEncoder<'_>,
        metric: &LabelledMetric<Progress>,
    ) -> fmt::Result {
        let kind = metric_type(metric.kind);
        let mut encoder = to.encode_descriptor(metric.metric, metric.help, None, kind)?;
        for (texts, value) in (metric.read)(&self.progress) {
            let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(texts).collect();
            MetricValue::new(metric.kind, value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// The storage counts its own failures.
    fn encode_storage(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let storage = &self.job.storage;
        let help = "Operations on the output that failed, retries included";
        let failures = MetricValue::new(MetricKind::Counter, storage.failures());
        encode_one(to, "driftglass_storage_failures", help, &failures)?;
        let help = "Whether an operation on the output is being retried: 1, else 0";
        let failing = MetricValue::new(MetricKind::Gauge, storage.is_failing().into());
        encode_one(to, "driftglass_storage_failing", help, &failing)
    }

    /// A time in seconds, with a fraction; absent before the first evaluation.
    fn encode_evaluated_to(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let at = self.progress.evaluated_to.load(Relaxed);
        if at == 0 {
            return Ok(());
        }
        let help = "Event time up to which windows are judged";
        let seconds = ConstGauge::new(at as f64 / 1e6);
        encode_one(to, "driftglass_evaluated_timestamp_seconds", help, &seconds)
    }

    fn encode_infos(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encode_info(to, "driftglass_build", "The program", &version)?;
        match self.job.embedder.as_ref().and_then(|e| e.runs()) {
            Some((provider, model)) => {
                let labels = [("provider", provider), ("model", model)];
                encode_info(to, "driftglass_embedding", "The runtime and model of images", &labels)
            }
            None => Ok(()),
        }
    }
}

impl Collector for JobMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_infos(&mut encoder)?;
        self.encode_counters(&mut encoder)?;
        self.encode_storage(&mut encoder)?;
        self.encode_evaluated_to(&mut encoder)
    }
}

/// The value of a metric by its kind.
enum MetricValue {
    Counter(ConstCounter<u64>),
    Gauge(ConstGauge<i64>),
}

impl MetricValue {
    fn new(kind: MetricKind, value: u64) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(ConstCounter::new(value)),
            MetricKind::Gauge => Self::Gauge(ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))),
        }
    }
}

impl EncodeMetric for MetricValue {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(value) => value.encode(encoder),
            Self::Gauge(value) => value.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(value) => value.metric_type(),
            Self::Gauge(value) => value.metric_type(),
        }
    }
}

fn metric_type(kind: MetricKind) -> MetricType {
    match kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
    }
}

fn encode_one(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeMetric,
) -> fmt::Result {
    let encoder = to.encode_descriptor(name, help, None, value.metric_type())?;
    value.encode(encoder)
}

fn encode_info(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
) -> fmt::Result {
    let mut encoder: MetricEncoder<'_> = to.encode_descriptor(name, help, None, MetricType::Info)?;
    encoder.encode_info(&labels)
}
