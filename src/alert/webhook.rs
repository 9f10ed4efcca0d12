//! Alerts posted to a URL as JSON.

use super::row::AlertRow;
use super::sink::{Sink, SinkError};
use reqwest::{Client, StatusCode, Url, redirect};
use serde_json::json;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts `{"alerts": […]}` with an `Idempotency-Key` that is the same for the same rows.
pub struct Webhook {
    url: Url,
    /// Scheme and host: the rest of a webhook's URL is often its password.
    name: String,
    timeout: Duration,
    /// Made at the first delivery, on the thread that delivers: a runtime can't be dropped inside another.
    client: Option<(Runtime, Client)>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Webhook {
    /// A webhook at an `http` or `https` URL; nothing is sent yet.
    ///
    /// # Errors
    /// [`SinkError::Config`] when it is no such URL; the message leaves the URL out.
    pub fn new(url: &str) -> Result<Self, SinkError> {
        let wrong = |message: String| SinkError::Config { key: "webhook", message };
        let url = Url::parse(url).map_err(|e| wrong(format!("is no URL ({e}); write https://host/path")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("{}: can't be posted to; write https://host/path", url.scheme())));
        }
        let port = url.port().map_or_else(String::new, |p| format!(":{p}"));
        let name = format!("webhook {}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
        Ok(Self { url, name, timeout: TIMEOUT, client: None })
    }

    fn client(&mut self) -> Result<&(Runtime, Client), String> {
        if self.client.is_none() {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
            // A redirect would turn the POST into a GET and lose the alert without a word.
            let client = Client::builder()
                .timeout(self.timeout)
                .redirect(redirect::Policy::none())
                .user_agent(concat!("driftglass/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| causes(&e.without_url()))?;
            self.client = Some((runtime, client));
        }
        self.client.as_ref().ok_or_else(|| "no client".to_owned())
    }

    fn post(&mut self, rows: &[AlertRow]) -> Result<StatusCode, String> {
        let (url, key) = (self.url.clone(), idempotency_key(rows));
        let body = json!({ "alerts": rows.iter().map(AlertRow::json).collect::<Vec<_>>() });
        let (runtime, client) = self.client()?;
        let request = client.post(url).header("Idempotency-Key", key).json(&body);
        runtime.block_on(async {
            request.send().await.map(|r| r.status()).map_err(|e| causes(&e.without_url()))
        })
    }
}

/// An error with its causes on one line: reqwest's own text stops at "error sending request".
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        text = format!("{text}: {e}");
        next = e.source();
    }
    text
}

/// Hash of the transitions in a post.
fn idempotency_key(rows: &[AlertRow]) -> String {
    let mut h = blake3::Hasher::new();
    for r in rows {
        h.update(r.id.as_bytes()).update(r.state.name().as_bytes()).update(&r.at.to_le_bytes());
    }
    h.finalize().to_hex()[..32].to_owned()
}

impl Sink for Webhook {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError> {
        let sink = self.name.clone();
        match self.post(rows) {
            Ok(status) if status.is_success() => Ok(()),
            // The receiver is in trouble or busy; anything else is its answer to what was sent.
            Ok(s)
                if s.is_server_error()
                    || matches!(s, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) =>
            {
                Err(SinkError::Retry { sink, message: format!("answered {s}") })
            }
            Ok(s) => Err(SinkError::Refused { sink, message: format!("answered {s}") }),
            Err(message) => Err(SinkError::Retry { sink, message }),
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
