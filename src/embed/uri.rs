//! What a URI names, and whether the operator allows it: the part of the fetcher that touches nothing.

use super::error::{FetchConfigError, FetchError};
use object_store::ObjectStoreScheme;
use object_store::path::Path as ObjectPath;
use std::net::IpAddr;
use std::path::PathBuf;
use url::{Host, Position, Url};

/// Longer URIs are refused; signed ones stay well below it.
const URI_BYTES: usize = 8192;
/// How often a text may be percent-encoded on top of itself. More is no accident.
const ENCODINGS: usize = 4;

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A local file.
    Local(PathBuf),
    /// An `http` or `https` URL without userinfo or fragment.
    Http(Url),
    /// An object: its store's key (`store_key`), and its decoded path.
    Store(String, ObjectPath),
}

/// One place below which everything may be fetched.
#[derive(Debug, Clone)]
enum Root {
    /// As the operator wrote it (made absolute), and with its symlinks resolved.
    Local {
        written: PathBuf,
        canonical: PathBuf,
    },
    Http(Url),
    Store(String, ObjectPath),
}

/// What a relative URI is appended to.
#[derive(Debug, Clone)]
enum Base {
    /// File names are taken literally.
    Folder(PathBuf),
    /// A URL without a slash at its end; what follows is URL syntax.
    Url(String),
}

/// The operator's base and allow list.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    base: Option<Base>,
    roots: Vec<Root>,
}

impl Roots {
    /// Reads the base and the allow list; local ones must exist, so that a symlink set later can't move them.
    pub fn new(base: Option<&str>, allow: &[String], allow_private: bool) -> Result<Self, FetchConfigError> {
        let mut roots = Self::default();
        if let Some(text) = base {
            let root = root("embedding.base_uri", text, allow_private)?;
            roots.base = Some(match &root {
                Root::Local { written, .. } => Base::Folder(written.clone()),
                Root::Http(url) => Base::Url(url.as_str().trim_end_matches('/').to_owned()),
                Root::Store(..) => Base::Url(text.trim_end_matches('/').to_owned()),
            });
            roots.roots.push(root);
        }
        for text in allow {
            roots.roots.push(root("embedding.allow", text, allow_private)?);
        }
        Ok(roots)
    }

    /// What a URI names, once it is certain that the operator allows it. Touches neither disk nor network.
    pub fn place(&self, uri: &str) -> Result<Place, FetchError> {
        refuse_odd_text(uri)?;
        let place = if scheme(uri)?.is_some() {
            parse(uri)?
        } else if uri.starts_with("//") {
            return Err(FetchError::BadUri);
        } else if uri.starts_with('/') {
            refuse_traversal(uri)?;
            Place::Local(PathBuf::from(uri))
        } else {
            match self.base.as_ref().ok_or(FetchError::NotAllowed)? {
                Base::Folder(folder) => {
                    refuse_traversal(uri)?;
                    Place::Local(folder.join(uri))
                }
                Base::Url(base) => parse(&format!("{base}/{uri}"))?,
            }
        };
        if self.roots.iter().any(|r| r.holds(&place)) { Ok(place) } else { Err(FetchError::NotAllowed) }
    }

    /// The local roots with their symlinks resolved.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.roots.iter().filter_map(|r| match r {
            Root::Local { canonical, .. } => Some(canonical),
            _ => None,
        })
    }

    /// The keys of the object stores that URIs may name.
    pub fn stores(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().filter_map(|r| match r {
            Root::Store(key, _) => Some(key.as_str()),
            _ => None,
        })
    }
}

impl Root {
    fn holds(&self, place: &Place) -> bool {
        match (self, place) {
            (Self::Local { written, canonical }, Place::Local(path)) => {
                path.starts_with(written) || path.starts_with(canonical)
            }
            (Self::Http(root), Place::Http(url)) => {
                let prefix = root.path().trim_end_matches('/');
                root.scheme() == url.scheme()
                    && root.host() == url.host()
                    && root.port_or_known_default() == url.port_or_known_default()
                    && url.path().strip_prefix(prefix).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
            (Self::Store(root, prefix), Place::Store(store, path)) => {
                root == store && (prefix.as_ref().is_empty() || path.prefix_matches(prefix))
            }
            _ => false,
        }
    }
}

/// The address in a URL's host, where it is one. The parser has already turned `0x7f.1` and `2130706433` into 127.0.0.1.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(a) => Some(IpAddr::V4(a)),
        Host::Ipv6(a) => Some(IpAddr::V6(a)),
        Host::Domain(_) => None,
    }
}

/// One entry of the configuration. Messages leave the text out: it may hold a password, which is then what is wrong with it.
fn root(key: &'static str, text: &str, allow_private: bool) -> Result<Root, FetchConfigError> {
    let wrong = |message: &str| FetchConfigError { key, message: message.to_owned() };
    const FORMS: &str =
        "write a folder, s3://bucket/path, gs://bucket/path, az://container/path or https://host/path";
    let place = match refuse_odd_text(text).and_then(|()| scheme(text)) {
        Ok(Some(_)) => parse(text),
        Ok(None) if text.starts_with("//") => Err(FetchError::BadUri),
        Ok(None) => std::path::absolute(text).map(Place::Local).map_err(|_| FetchError::BadUri),
        Err(e) => Err(e),
    };
    match place {
        Ok(Place::Local(written)) => {
            let canonical = written.canonicalize().map_err(|e| {
                wrong(&format!("names a folder that can't be opened ({e}); make it or correct the path"))
            })?;
            Ok(Root::Local { written, canonical })
        }
        Ok(Place::Http(url)) if url.query().is_some() => Err(wrong("has a query; write https://host/path")),
        Ok(Place::Http(url)) => match literal_address(&url) {
            Some(a) if !allow_private && !super::address::is_public(a) => Err(wrong(
                "names a private address; write a public host or set embedding.allow_private = true",
            )),
            _ => Ok(Root::Http(url)),
        },
        Ok(Place::Store(store, path)) => Ok(Root::Store(store, path)),
        Err(FetchError::Userinfo) => Err(wrong("has a user or password in it; write https://host/path")),
        Err(FetchError::NotAllowed) => Err(wrong(&format!("is of no known scheme; {FORMS}"))),
        Err(FetchError::PathTraversal) => {
            Err(wrong("has `..` or a backslash in its path; write the path itself"))
        }
        Err(_) => Err(wrong(&format!("can't be read; {FORMS}"))),
    }
}

/// An absolute URI of a known scheme.
fn parse(text: &str) -> Result<Place, FetchError> {
    let (scheme, rest) = scheme(text)?.ok_or(FetchError::BadUri)?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let path = &rest[authority.len()..];
    match scheme.as_str() {
        "http" | "https" => {
            // The parser would skip further slashes and find a host behind them.
            if authority.contains('@') {
                return Err(FetchError::Userinfo);
            }
            refuse_traversal(&path[..path.find(['?', '#']).unwrap_or(path.len())])?;
            let mut url = Url::parse(text).map_err(|_| FetchError::BadUri)?;
            if authority.is_empty() || url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
                return Err(FetchError::BadUri);
            }
            url.set_fragment(None);
            Ok(Place::Http(url))
        }
        "file" => {
            refuse_traversal(path)?;
            if !matches!(authority, "" | "localhost") || path.contains(['?', '#']) {
                return Err(FetchError::BadUri);
            }
            let url = Url::parse(text).map_err(|_| FetchError::BadUri)?;
            url.to_file_path().map(Place::Local).map_err(|()| FetchError::BadUri)
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
            Ok(Place::Store(store_key(&url), path))
        }
        _ => Err(FetchError::NotAllowed),
    }
}

/// Scheme and bucket, which are one store.
fn store_key(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

/// The scheme in lower case and what follows `://`; `None` for a relative reference or a path.
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

/// Refuses what URL parsers and file systems are known to read differently from one another.
fn refuse_odd_text(text: &str) -> Result<(), FetchError> {
    if text.contains(['\\', '\0']) {
        return Err(FetchError::PathTraversal);
    }
    // Parsers drop tabs and line breaks from within a URL and spaces from around it.
    if text.is_empty() || text.len() > URI_BYTES || text.trim() != text || text.contains(char::is_control) {
        return Err(FetchError::BadUri);
    }
    Ok(())
}

/// Refuses a path that leaves its folder in any reading, percent-decoded or not.
fn refuse_traversal(path: &str) -> Result<(), FetchError> {
    let mut text = path.as_bytes().to_vec();
    for _ in 0..=ENCODINGS {
        if text.contains(&0) || text.contains(&b'\\') {
            return Err(FetchError::PathTraversal);
        }
        // Some servers cut `;parameters` off a segment before they look at it.
        let up = |s: &[u8]| s.split(|&b| b == b';').next() == Some(b"..");
        if text.split(|&b| b == b'/').any(up) {
            return Err(FetchError::PathTraversal);
        }
        let decoded = percent_decoded(&text);
        if decoded == text {
            // Overlong forms of `.` and `/` are no UTF-8.
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
