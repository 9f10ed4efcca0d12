//! Fetches over HTTP(S) from public addresses, without redirects or proxies, and without trusting
//! the server's headers.

use super::address::is_public;
use super::error::FetchError;
use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, redirect};
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error as ThisError;
use url::Url;

/// Resolves a host name; may block.
pub(super) type HostLookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The system's own lookup.
pub(super) fn system_lookup() -> HostLookup {
    Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|a| a.ip()).collect()))
}

/// A host has an address that is not public.
#[derive(Debug, ThisError)]
#[error("the host's address is not a public one")]
struct PrivateAddressError;

/// Resolves host names and refuses those with an address that is not public. The client connects
/// only to the returned addresses, so a name can't change between the check and the connection.
struct PublicResolver {
    lookup: HostLookup,
    allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow_private) = (Arc::clone(&self.lookup), self.allow_private);
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || lookup(name.as_str())).await??;
            // Refuses mixed results too: attackers use them to pass the check once and then reach
            // inside.
            if !allow_private && found.iter().any(|&a| !is_public(a)) {
                return Err(PrivateAddressError.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|a| SocketAddr::new(a, 0)));
            Ok(addresses)
        })
    }
}

/// A client that connects only to addresses from [`PublicResolver`]. The caller checks hosts that
/// are literal addresses, since those need no resolver.
pub(super) struct HttpFetcher(Client);

impl HttpFetcher {
    pub fn new(allow_private: bool, lookup: HostLookup) -> reqwest::Result<Self> {
        let client = Client::builder()
            .dns_resolver(Arc::new(PublicResolver { lookup, allow_private }))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // Other parts of the program may enable these features. Limits and ranges need
            // uncompressed bytes.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .user_agent(concat!("driftglass/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    /// A body, or a range of it. The caller limits the time.
    pub async fn get(&self, url: &Url, range: Option<Range<u64>>, limit: u64) -> Result<Bytes, FetchError> {
        let mut request = self.0.get(url.clone());
        if let Some(r) = &range {
            request = request.header(RANGE, format!("bytes={}-{}", r.start, r.end - 1));
        }
        let mut response = request.send().await.map_err(|e| reason(&e))?;
        let whole = accept(&response, range.as_ref())?;
        match range {
            None if response.content_length().is_some_and(|n| n > limit) => Err(FetchError::TooLarge),
            None => body(&mut response, 0, limit, true).await,
            // The server ignored the range: the bytes before it must be read too.
            Some(r) if whole && r.end > limit => Err(FetchError::TooLarge),
            Some(r) => {
                let skip = if whole { r.start } else { 0 };
                match body(&mut response, skip, r.end - r.start, false).await {
                    Ok(bytes) if bytes.is_empty() => Err(FetchError::BadRange),
                    done => done,
                }
            }
        }
    }
}

/// Reads a body without its first `skip` bytes. More than `most` bytes are an error if `strict`,
/// otherwise reading stops there.
async fn body(response: &mut Response, mut skip: u64, most: u64, strict: bool) -> Result<Bytes, FetchError> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut out = BytesMut::new();
    while let Some(mut part) = response.chunk().await.map_err(|e| reason(&e))? {
        let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(part.len());
        skip -= dropped as u64;
        let _ = part.split_to(dropped);
        let room = most - out.len();
        if part.len() > room && strict {
            return Err(FetchError::TooLarge);
        }
        out.extend_from_slice(&part[..part.len().min(room)]);
        if out.len() == most && !strict {
            break;
        }
    }
    Ok(out.freeze())
}

/// Whether a response has the whole body (`true`) or the requested range.
fn accept(response: &Response, range: Option<&Range<u64>>) -> Result<bool, FetchError> {
    match response.status() {
        StatusCode::OK => Ok(true),
        StatusCode::PARTIAL_CONTENT => {
            let start = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            let start = start.and_then(|v| v.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
            if range.is_some_and(|r| start == Some(r.start)) {
                Ok(false)
            } else {
                Err(FetchError::BadResponse)
            }
        }
        s if s.is_redirection() => Err(FetchError::Redirect),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::NotFound),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchError::Forbidden),
        StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => Err(FetchError::BadRange),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(FetchError::Unavailable),
        s if s.is_server_error() => Err(FetchError::Unavailable),
        _ => Err(FetchError::BadResponse),
    }
}

/// Converts an error; the resolver's refusal is among its causes.
fn reason(e: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn Error + 'static)> = e.source();
    while let Some(c) = cause {
        if c.is::<PrivateAddressError>() {
            return FetchError::PrivateAddress;
        }
        cause = c.source();
    }
    if e.is_timeout() { FetchError::Timeout } else { FetchError::Unreachable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A name that is public when it is asked for first and private from then on.
    #[tokio::test]
    async fn judges_every_lookup_anew() {
        let asked = AtomicUsize::new(0);
        let lookup: HostLookup = Arc::new(move |_| {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            Ok(vec![if first { [93, 184, 216, 34].into() } else { [127, 0, 0, 1].into() }])
        });
        let guard = PublicResolver { lookup, allow_private: false };
        let found = guard.resolve("a.example".parse().unwrap()).await.unwrap();
        assert_eq!(found.collect::<Vec<_>>(), [SocketAddr::from(([93, 184, 216, 34], 0))]);
        let refused = guard.resolve("a.example".parse().unwrap()).await.err().unwrap();
        assert!(refused.is::<PrivateAddressError>());
    }
}
