//! What a running job tells over HTTP: metrics for Prometheus, and whether it is well. Nothing of an event's content.

mod metrics;

pub use metrics::Watched;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;
use tokio::runtime::Handle;

/// The type that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is no address, or can't be had.
    #[error(
        "can't listen on serve.listen = {address:?}: {source}; use a free address such as \"127.0.0.1:9464\""
    )]
    Listen {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves `/metrics` and `/health` until the runtime ends; returns the address, whose port the system chose where 0 was asked for.
///
/// # Errors
/// When the address can't be had.
pub fn start(address: &str, watched: Watched, runtime: &Handle) -> Result<SocketAddr, ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_owned(), source };
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let watched = Arc::new(watched);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&watched)));
    let registry = Arc::new(registry);
    let app = Router::new()
        .route("/metrics", get(move || async move { page(&registry) }))
        .route("/health", get(move || async move { watched.health() }));
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    tracing::info!(address = %bound, "serving /metrics and /health");
    Ok(bound)
}

fn page(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples::firing;
    use crate::alert::sink::{Sink, SinkError};
    use crate::alert::{AlertRow, Outbox};
    use crate::config::Config;
    use crate::engine::{Job, JobKind, Progress};
    use crate::source::PartitionId;
    use crate::store::Storage;
    use std::io::{Read, Write};

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn counters_are_told_as_metrics() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let job = Arc::new(Job::open(Config::default(), JobKind::Run, storage, false).unwrap());
        let progress = Arc::new(Progress::default());
        Progress::add(&progress.events, 7);
        progress.reasons.lock().insert("not_json", 3);
        progress.fields.lock().insert(("quality.aesthetic", "out_of_range"), 5);
        progress.evaluated_to.store(1_768_197_600_500_000, std::sync::atomic::Ordering::Relaxed);
        progress.open_panes.lock().extend([(PartitionId(0), 30), (PartitionId(4), 12)]);
        progress.evaluator_bytes.lock().hours = 9;
        let outbox = Outbox::start(vec![Box::new(Refusing) as Box<dyn Sink>]).unwrap();
        *progress.sinks.lock() = outbox.watch();
        let bound = start("127.0.0.1:0", Watched::new(job, progress), runtime.handle()).unwrap();
        let page = get(bound, "/metrics");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("application/openmetrics-text"), "{page}");
        for line in [
            "driftglass_events_total 7\n",
            "driftglass_rejected_total{reason=\"not_json\"} 3\n",
            "driftglass_fields_refused_total{field=\"quality.aesthetic\",reason=\"out_of_range\"} 5\n",
            "driftglass_evaluated_timestamp_seconds 1768197600.5\n",
            "driftglass_storage_failing 0\n",
            "driftglass_state_bytes{part=\"open_panes\"} 42\n",
            "driftglass_state_bytes{part=\"hours\"} 9\n",
            "driftglass_alerts_undelivered_total{sink=\"webhook https://x\",reason=\"refused\"} 0\n",
            "driftglass_alerts_waiting 0\n",
            "driftglass_build_info{version=\"",
            "# EOF\n",
        ] {
            assert!(page.contains(line), "{line} is missing in {page}");
        }
        let mut outbox = outbox;
        outbox.send(vec![firing()]);
        assert_eq!(outbox.finish(std::time::Duration::from_secs(60)), 1);
        let page = get(bound, "/metrics");
        let line = "driftglass_alerts_undelivered_total{sink=\"webhook https://x\",reason=\"refused\"} 1\n";
        assert!(page.contains(line), "{page}");
        assert!(get(bound, "/health").ends_with("\r\n\r\nok\n"));
        let taken = start(
            &bound.to_string(),
            Watched::new(Arc::new(other(&runtime)), Arc::default()),
            runtime.handle(),
        );
        assert!(taken.unwrap_err().to_string().contains("serve.listen"));
    }

    struct Refusing;

    impl Sink for Refusing {
        fn name(&self) -> String {
            "webhook https://x".into()
        }

        fn deliver(&mut self, _: &[AlertRow]) -> Result<(), SinkError> {
            Err(SinkError::Refused { sink: self.name(), reason: "refused", message: "no".into() })
        }
    }

    fn other(runtime: &tokio::runtime::Runtime) -> Job {
        let store = Arc::new(object_store::memory::InMemory::new());
        let storage = Storage::over(store, "memory:///", runtime.handle().clone());
        Job::open(Config::default(), JobKind::Run, storage, false).unwrap()
    }
}
