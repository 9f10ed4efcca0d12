//! Parses untrusted URIs and checks them against the operator's allow list. No I/O after the setup.

use super::error::{FetchConfigError, FetchError};
use object_store::ObjectStoreScheme;
use object_store::path::Path as ObjectPath;
use std::net::IpAddr;
use std::path::PathBuf;
use url::{Host, Position, Url};

/// Maximum length of a URI in bytes; signed URLs are far shorter.
const URI_BYTES: usize = 8192;
/// Maximum levels of nested percent-encoding; more indicate an attack.
const ENCODINGS: usize = 4;

/// What a URI refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedUri {
    /// A local file.
    Local(PathBuf),
    /// An `http` or `https` URL without userinfo or fragment.
    Http(Url),
    /// An object: the key of its store (`store_key`), and its decoded path.
    Store(String, ObjectPath),
}

/// A prefix below which everything may be fetched.
#[derive(Debug, Clone)]
enum AllowedRoot {
    /// As the operator wrote it (made absolute), and with its symlinks resolved.
    Local {
        written: PathBuf,
        canonical: PathBuf,
    },
    Http(Url),
    Store(String, ObjectPath),
}

/// The base of relative URIs.
#[derive(Debug, Clone)]
enum BaseUri {
    /// File names are taken literally.
    Folder(PathBuf),
    /// A URL without a trailing slash; the relative part is in URL syntax.
    Url(String),
}

/// The operator's base and allow list.
#[derive(Debug, Clone, Default)]
pub struct AllowedRoots {
    base: Option<BaseUri>,
    roots: Vec<AllowedRoot>,
}

impl AllowedRoots {
    /// Parses the base and the allow list. Local folders must exist, so that a later symlink can't
    /// redirect them.
    pub fn new(base: Option<&str>, allow: &[String], allow_private: bool) -> Result<Self, FetchConfigError> {
        let mut roots = Self::default();
        if let Some(text) = base {
            let root = root("embedding.base_uri", text, allow_private)?;
            roots.base = Some(match &root {
                AllowedRoot::Local { written, .. } => BaseUri::Folder(written.clone()),
                AllowedRoot::Http(url) => BaseUri::Url(url.as_str().trim_end_matches('/').to_owned()),
                AllowedRoot::Store(..) => BaseUri::Url(text.trim_end_matches('/').to_owned()),
            });
            roots.roots.push(root);
        }
        for text in allow {
            roots.roots.push(root("embedding.allow", text, allow_private)?);
        }
        Ok(roots)
    }

    /// Resolves a URI if the operator allows it. Uses neither disk nor network.
    pub fn place(&self, uri: &str) -> Result<ResolvedUri, FetchError> {
        refuse_odd_text(uri)?;
        let place = if scheme(uri)?.is_some() {
            parse(uri)?
        } else if uri.starts_with("//") {
            return Err(FetchError::BadUri);
        } else if uri.starts_with('/') {
            refuse_traversal(uri)?;
            ResolvedUri::Local(PathBuf::from(uri))
        } else {
            match self.base.as_ref().ok_or(FetchError::NotAllowed)? {
                BaseUri::Folder(folder) => {
                    refuse_traversal(uri)?;
                    ResolvedUri::Local(folder.join(uri))
                }
                BaseUri::Url(base) => parse(&format!("{base}/{uri}"))?,
            }
        };
        if self.roots.iter().any(|r| r.holds(&place)) { Ok(place) } else { Err(FetchError::NotAllowed) }
    }

    /// The local roots with their symlinks resolved.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.roots.iter().filter_map(|r| match r {
            AllowedRoot::Local { canonical, .. } => Some(canonical),
            _ => None,
        })
    }

    /// The keys of the allowed object stores.
    pub fn stores(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().filter_map(|r| match r {
            AllowedRoot::Store(key, _) => Some(key.as_str()),
            _ => None,
        })
    }
}

impl AllowedRoot {
    fn holds(&self, place: &ResolvedUri) -> bool {
        match (self, place) {
            (Self::Local { written, canonical }, ResolvedUri::Local(path)) => {
                path.starts_with(written) || path.starts_with(canonical)
            }
            (Self::Http(root), ResolvedUri::Http(url)) => {
                let prefix = root.path().trim_end_matches('/');
                root.scheme() == url.scheme()
                    && root.host() == url.host()
                    && root.port_or_known_default() == url.port_or_known_default()
                    && url.path().strip_prefix(prefix).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
            (Self::Store(root, prefix), ResolvedUri::Store(store, path)) => {
                root == store && (prefix.as_ref().is_empty() || path.prefix_matches(prefix))
            }
            _ => false,
        }
    }
}

/// The host of a URL if it is a literal address. The parser has already normalised `0x7f.1` and
/// `2130706433` to 127.0.0.1.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(a) => Some(IpAddr::V4(a)),
        Host::Ipv6(a) => Some(IpAddr::V6(a)),
        Host::Domain(_) => None,
    }
}

/// Parses one entry of the configuration. Messages don't quote it, since it may contain a password.
fn root(key: &'static str, text: &str, allow_private: bool) -> Result<AllowedRoot, FetchConfigError> {
    let wrong = |message: &str| FetchConfigError { key, message: message.to_owned() };
    const FORMS: &str =
        "write a folder, s3://bucket/path, gs://bucket/path, az://container/path or https://host/path";
    let place = match refuse_odd_text(text).and_then(|()| scheme(text)) {
        Ok(Some(_)) => parse(text),
        Ok(None) if text.starts_with("//") => Err(FetchError::BadUri),
        Ok(None) => std::path::absolute(text).map(ResolvedUri::Local).map_err(|_| FetchError::BadUri),
        Err(e) => Err(e),
    };
    match place {
        Ok(ResolvedUri::Local(written)) => {
            let canonical = written.canonicalize().map_err(|e| {
                wrong(&format!("names a folder that can't be opened ({e}); create it or fix the path"))
            })?;
            Ok(AllowedRoot::Local { written, canonical })
        }
        Ok(ResolvedUri::Http(url)) if url.query().is_some() => {
            Err(wrong("has a query; write https://host/path"))
        }
        Ok(ResolvedUri::Http(url)) => match literal_address(&url) {
            Some(a) if !allow_private && !super::address::is_public(a) => Err(wrong(
                "names a private address; write a public host or set embedding.allow_private = true",
            )),
            _ => Ok(AllowedRoot::Http(url)),
        },
        Ok(ResolvedUri::Store(store, path)) => Ok(AllowedRoot::Store(store, path)),
        Err(FetchError::Userinfo) => Err(wrong("has a user or password in it; write https://host/path")),
        Err(FetchError::NotAllowed) => Err(wrong(&format!("has an unknown scheme; {FORMS}"))),
        Err(FetchError::PathTraversal) => {
            Err(wrong("has `..` or a backslash in its path; write the path itself"))
        }
        Err(_) => Err(wrong(&format!("can't be read; {FORMS}"))),
    }
}

/// Parses an absolute URI.
fn parse(text: &str) -> Result<ResolvedUri, FetchError> {
    let (scheme, rest) = scheme(text)?.ok_or(FetchError::BadUri)?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let path = &rest[authority.len()..];
    match scheme.as_str() {
        "http" | "https" => {
            // The parser would skip extra slashes and take the next part as the host.
            if authority.contains('@') {
                return Err(FetchError::Userinfo);
            }
            refuse_traversal(&path[..path.find(['?', '#']).unwrap_or(path.len())])?;
            let mut url = Url::parse(text).map_err(|_| FetchError::BadUri)?;
            if authority.is_empty() || url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
                return Err(FetchError::BadUri);
            }
            url.set_fragment(None);
            Ok(ResolvedUri::Http(url))
        }
        "file" => {
            refuse_traversal(path)?;
            if !matches!(authority, "" | "localhost") || path.contains(['?', '#']) {
                return Err(FetchError::BadUri);
            }
            let url = Url::parse(text).map_err(|_| FetchError::BadUri)?;
            url.to_file_path().map(ResolvedUri::Local).map_err(|()| FetchError::BadUri)
        }
        "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss" => {
            // `abfss://container@account.dfs.core.windows.net/` is how Azure writes a container.
            let container = scheme.starts_with("abfs") && !authority.contains(':');
            if authority.contains('@') && !container {
                return Err(FetchError::Userinfo);
            }
            refuse_traversal(path)?;
            if authority.is_empty() || authority.contains(':') || path.contains(['?', '#']) {
                return Err(FetchError::BadUri);
            }
            let url = Url::parse(text).map_err(|_| FetchError::BadUri)?;
            let (_, path) = ObjectStoreScheme::parse(&url).map_err(|_| FetchError::BadUri)?;
            Ok(ResolvedUri::Store(store_key(&url), path))
        }
        _ => Err(FetchError::NotAllowed),
    }
}

/// Scheme and bucket, which identify a store.
fn store_key(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

/// The lower-case scheme and the part after `://`; `None` for a relative reference or a path.
fn scheme(text: &str) -> Result<Option<(String, &str)>, FetchError> {
    let Some(at) = text.find([':', '/', '?', '#']).filter(|&at| text[at..].starts_with(':')) else {
        return Ok(None);
    };
    let name = &text[..at];
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    match text[at + 1..].strip_prefix("//") {
        Some(rest) if valid => Ok(Some((name.to_ascii_lowercase(), rest))),
        _ => Err(FetchError::BadUri),
    }
}

/// Refuses text that URL parsers and file systems interpret differently.
fn refuse_odd_text(text: &str) -> Result<(), FetchError> {
    if text.contains(['\\', '\0']) {
        return Err(FetchError::PathTraversal);
    }
    // Parsers remove tabs and line breaks within a URL, and spaces around it.
    if text.is_empty() || text.len() > URI_BYTES || text.trim() != text || text.contains(char::is_control) {
        return Err(FetchError::BadUri);
    }
    Ok(())
}

/// Refuses a path that leaves its folder, at any level of percent-encoding.
fn refuse_traversal(path: &str) -> Result<(), FetchError> {
    let mut text = path.as_bytes().to_vec();
    for _ in 0..=ENCODINGS {
        if text.contains(&0) || text.contains(&b'\\') {
            return Err(FetchError::PathTraversal);
        }
        // Some servers strip `;parameters` from a segment.
        let up = |s: &[u8]| s.split(|&b| b == b';').next() == Some(b"..");
        if text.split(|&b| b == b'/').any(up) {
            return Err(FetchError::PathTraversal);
        }
        let decoded = percent_decoded(&text);
        if decoded == text {
            // Overlong forms of `.` and `/` are not valid UTF-8.
            return if std::str::from_utf8(&text).is_ok() { Ok(()) } else { Err(FetchError::BadUri) };
        }
        text = decoded;
    }
    Err(FetchError::PathTraversal)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit =
        |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
