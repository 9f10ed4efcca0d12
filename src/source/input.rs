//! Resolves INPUT arguments (paths, folders, globs and URLs) to files of one kind, sorted by name,
//! without duplicates.

use super::error::SourceError;
pub use super::input_file::{FileLocation, InputFile, InputFormat, Inputs};
use super::survey::heads;
use crate::store::file_path;
use futures::TryStreamExt;
use globset::{GlobBuilder, GlobMatcher};
use object_store::http::HttpBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use url::Url;

/// Supported suffixes, for messages.
const SUFFIXES: &str = ".jsonl, .json or .ndjson, also with .gz or .zst, or .parquet";
/// Prefixes of the environment variables that configure object stores.
const STORE_VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// How long requests to a web server are retried.
const SERVER_RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves INPUT arguments; `-` is standard input. Arguments keep their order. Files of a folder
/// or glob are sorted by name; those whose name starts with `_` or `.` or has an unknown suffix are
/// skipped. A file that is given twice is read once. The first bytes of each are read: they decide
/// the format, not the name. `handle` is the runtime that reads object stores.
///
/// # Errors
/// When an argument matches nothing, can't be read or is not a file of events, or when JSONL and
/// archives are mixed.
pub fn resolve(arguments: &[String], handle: &Handle) -> Result<Inputs, SourceError> {
    let mut files = Vec::new();
    for argument in arguments {
        let from = files.len();
        if argument == "-" {
            files.push(InputFile::new(
                "standard input".into(),
                FileLocation::Stdin,
                None,
                InputFormat::Jsonl,
            ));
        } else if let Some(path) = file_path(argument) {
            local(argument, &path, &mut files)?;
        } else if argument.contains("://") {
            remote(argument, handle, &mut files)?;
        } else {
            local(argument, Path::new(argument), &mut files)?;
        }
        files[from..].sort_by(|a, b| a.name.cmp(&b.name));
        if files.len() == from {
            return Err(nothing(argument, &format!("no file there ends in {SUFFIXES}")));
        }
    }
    let mut seen: HashMap<String, String> = HashMap::new();
    files.retain(|f| match seen.get(&f.canonical) {
        Some(first) => {
            tracing::warn!(name = %f.name, same_as = %first, "input is given twice and read once");
            false
        }
        None => {
            seen.insert(f.canonical.clone(), f.name.clone());
            true
        }
    });
    heads(&mut files, handle)?;
    let Some(first) = files.first() else {
        return Err(nothing("(none)", "name a file, a folder, a glob or a URL"));
    };
    let is_archive = |f: &InputFile| f.format == InputFormat::Archive;
    let archive = is_archive(first);
    if let Some(other) = files.iter().find(|f| is_archive(f) != archive) {
        let (a, j) = if archive { (first, other) } else { (other, first) };
        return Err(SourceError::MixedInputs { jsonl: j.name.clone(), archive: a.name.clone() });
    }
    Ok(if archive { Inputs::Archive(files) } else { Inputs::Jsonl(files) })
}

fn nothing(pattern: &str, hint: &str) -> SourceError {
    SourceError::NoInput { pattern: pattern.to_owned(), hint: hint.to_owned() }
}

fn bad(input: &str, message: impl Into<String>) -> SourceError {
    SourceError::BadInput { input: input.to_owned(), message: message.into() }
}

/// Splits a glob before the first component with a wildcard: the folder to search, and the whole
/// pattern.
fn split_glob(pattern: &str, signs: &[char]) -> Option<(String, String)> {
    let at = pattern.find(signs)?;
    let folder = pattern[..at].rfind('/').map_or("", |slash| &pattern[..=slash]);
    Some((folder.to_owned(), pattern.to_owned()))
}

fn matcher(argument: &str, pattern: &str) -> Result<GlobMatcher, SourceError> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    Ok(glob.map_err(|e| bad(argument, e.kind().to_string()))?.compile_matcher())
}

/// Whether a name below a folder is internal to jobs.
fn hidden(relative: &str) -> bool {
    relative.split('/').any(|part| part.starts_with('_') || part.starts_with('.'))
}

fn local(argument: &str, path: &Path, files: &mut Vec<InputFile>) -> Result<(), SourceError> {
    let read = |p: &Path, source| SourceError::Read { name: p.display().to_string(), source };
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => walk(path, &mut |p, relative| {
            if !hidden(relative) {
                push_local(p, files);
            }
        })
        .map_err(|e| read(path, e)),
        Ok(_) => {
            if !push_local(path, files) {
                return Err(bad(argument, format!("its name must end in {SUFFIXES}")));
            }
            Ok(())
        }
        Err(e) => {
            let Some((folder, pattern)) = split_glob(&path.to_string_lossy(), &['*', '?', '[', '{']) else {
                return Err(if e.kind() == std::io::ErrorKind::NotFound {
                    nothing(argument, "no such file or folder")
                } else {
                    read(path, e)
                });
            };
            let matcher = matcher(argument, &pattern)?;
            let start = if folder.is_empty() { "." } else { folder.as_str() };
            let walked = walk(Path::new(start), &mut |_, relative| {
                let name = format!("{folder}{relative}");
                if !hidden(relative) && matcher.is_match(&name) {
                    push_local(Path::new(&name), files);
                }
            });
            match walked {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    Err(nothing(argument, &format!("no folder {start}")))
                }
                other => other.map_err(|e| read(Path::new(start), e)),
            }
        }
    }
}

/// Visits every file below a folder with its path and its path relative to the folder.
fn walk(root: &Path, visit: &mut impl FnMut(&Path, &str)) -> std::io::Result<()> {
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let relative = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            // Follows links to files but not to folders, which may form a loop.
            if entry.file_type()?.is_dir() {
                folders.push((path, relative + "/"));
            } else if path.is_file() {
                visit(&path, &relative);
            }
        }
    }
    Ok(())
}

fn push_local(path: &Path, files: &mut Vec<InputFile>) -> bool {
    let name = path.display().to_string();
    let Some(format) = InputFormat::of(&name) else { return false };
    let size = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    files.push(InputFile::new(name, FileLocation::Local(path.to_owned()), size, format));
    true
}

/// The environment's settings of object stores. Only variables with their prefixes: an unrelated
/// `TOKEN` or `REGION` must not get into a request.
fn store_settings() -> impl Iterator<Item = (String, String)> {
    std::env::vars()
        .filter(|(k, _)| STORE_VARIABLES.iter().any(|p| k.starts_with(p)))
        .map(|(k, v)| (k.to_ascii_lowercase(), v))
}

fn remote(argument: &str, handle: &Handle, files: &mut Vec<InputFile>) -> Result<(), SourceError> {
    let http = argument.starts_with("http://") || argument.starts_with("https://");
    if http && argument.contains('?') {
        return Err(bad(
            argument,
            "URLs with a query are not supported; download the file or use the store's own URL (s3://, gs://, az://)",
        ));
    }
    let authority = argument.find("://").map_or(0, |i| i + 3);
    let glob = split_glob(&argument[authority..], &['*', '?', '[', '{']);
    if http && (glob.is_some() || InputFormat::of(argument).is_none()) {
        return Err(bad(
            argument,
            format!("a web server can't be listed; name one file that ends in {SUFFIXES}"),
        ));
    }
    let prefix = glob
        .as_ref()
        .map_or(argument.to_owned(), |(folder, _)| format!("{}{folder}", &argument[..authority]));
    let url = Url::parse(&prefix).map_err(|e| bad(argument, e.to_string()))?;
    let (store, base) = if http { server(&url) } else { store(&url) }
        .map_err(|source| SourceError::stored(argument, source))?;
    let listing = Listing { argument, store, base, glob };
    files.extend(listing.files(handle)?);
    Ok(())
}

/// An object store, configured as its own tools are.
fn store(url: &Url) -> object_store::Result<(Arc<dyn ObjectStore>, ObjectPath)> {
    let (store, base) = object_store::parse_url_opts(url, store_settings())?;
    Ok((Arc::from(store), base))
}

/// A web server, also over plain HTTP. Few retries, so that an unresponsive one fails soon.
fn server(url: &Url) -> object_store::Result<(Arc<dyn ObjectStore>, ObjectPath)> {
    let retry = RetryConfig { max_retries: 2, retry_timeout: SERVER_RETRY_TIMEOUT, ..RetryConfig::default() };
    let store = HttpBuilder::new()
        .with_url(&url[..url::Position::BeforePath])
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(retry)
        .build()?;
    Ok((Arc::new(store), ObjectPath::from_url_path(url.path())?))
}

/// The files that an argument names within an object store.
struct Listing<'a> {
    argument: &'a str,
    store: Arc<dyn ObjectStore>,
    /// The object, or the folder to search.
    base: ObjectPath,
    /// Folder and whole pattern, if the argument is a glob.
    glob: Option<(String, String)>,
}

impl Listing<'_> {
    fn file(&self, meta: ObjectMeta) -> Option<InputFile> {
        // Scheme and bucket of the argument.
        let bucket = self.argument.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let name = format!("{bucket}/{}", meta.location);
        let format = InputFormat::of(&name)?;
        let version = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
        let place = FileLocation::Object { store: Arc::clone(&self.store), path: meta.location };
        let file = InputFile::new(name, place, Some(meta.size), format);
        Some(InputFile { version: Some(version), ..file })
    }

    fn files(&self, handle: &Handle) -> Result<Vec<InputFile>, SourceError> {
        let failed = |source| SourceError::stored(self.argument, source);
        if self.glob.is_none() && InputFormat::of(self.argument).is_some() {
            return match handle.block_on(self.store.head(&self.base)) {
                Ok(meta) => {
                    let meta = ObjectMeta { location: self.base.clone(), ..meta };
                    Ok(self.file(meta).into_iter().collect())
                }
                Err(object_store::Error::NotFound { .. }) => Err(nothing(self.argument, "no such object")),
                Err(e) => Err(failed(e)),
            };
        }
        let matcher = match &self.glob {
            Some((folder, pattern)) => Some(matcher(self.argument, &pattern[folder.len()..])?),
            None => None,
        };
        let listed: Vec<_> =
            handle.block_on(self.store.list(Some(&self.base)).try_collect()).map_err(failed)?;
        let wanted = listed.into_iter().filter(|meta| {
            let path = meta.location.as_ref();
            let relative = path.strip_prefix(self.base.as_ref()).unwrap_or(path).trim_start_matches('/');
            !hidden(relative) && matcher.as_ref().is_none_or(|m| m.is_match(relative))
        });
        Ok(wanted.filter_map(|meta| self.file(meta)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn names(arguments: &[String]) -> Result<Vec<String>, SourceError> {
        let (Inputs::Jsonl(files) | Inputs::Archive(files)) = resolve(arguments, runtime().handle())?;
        Ok(files.into_iter().map(|f| f.name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn folder() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("date=1/_tmp")).unwrap();
        for f in [
            "b.jsonl.gz",
            "a.ndjson",
            "date=1/c.json.zst",
            "date=1/_tmp/x.jsonl",
            "README.md",
            ".hidden.jsonl",
        ] {
            std::fs::write(dir.path().join(f), "{}").unwrap();
        }
        let path = dir.path().display().to_string();
        (dir, path)
    }

    #[test]
    fn folders_globs_and_urls_find_files_sorted_by_name() {
        let (_dir, path) = folder();
        let all = ["a.ndjson", "b.jsonl.gz", "c.json.zst"];
        assert_eq!(names(std::slice::from_ref(&path)).unwrap(), all);
        assert_eq!(names(&[format!("file://{path}")]).unwrap(), all);
        assert_eq!(names(&[format!("{path}/*.{{ndjson,gz}}")]).unwrap(), all[..2]);
        assert_eq!(names(&[format!("{path}/**/*.zst")]).unwrap(), all[2..]);
        assert!(names(&[format!("{path}/date=*")]).unwrap_err().to_string().contains("ends in"));
        let given = [format!("{path}/b.jsonl.gz"), format!("{path}/a.ndjson"), format!("{path}/a.ndjson")];
        assert_eq!(
            names(&given).unwrap(),
            ["b.jsonl.gz", "a.ndjson"],
            "arguments keep their order and repeat nothing"
        );
    }

    #[test]
    fn a_file_counts_once_whatever_it_is_called() {
        let (dir, path) = folder();
        std::os::unix::fs::symlink(dir.path().join("a.ndjson"), dir.path().join("link.jsonl")).unwrap();
        std::fs::write(dir.path().join("with space.jsonl"), "{}").unwrap();
        let given =
            ["a.ndjson", "./a.ndjson", "date=1/../a.ndjson", "link.jsonl"].map(|n| format!("{path}/{n}"));
        assert_eq!(names(&given).unwrap(), ["a.ndjson"]);
        for url in ["file://", "file://localhost"] {
            assert_eq!(names(&[format!("{url}{path}/with%20space.jsonl")]).unwrap(), ["with space.jsonl"]);
        }
    }

    #[test]
    fn content_tells_the_format_and_what_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            dir.path().join(name).display().to_string()
        };
        let lines = b"{\"a\":1}\n{\"a\":2}\n";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, lines).unwrap();
        let (gz, zst) = (gz.finish().unwrap(), zstd::encode_all(&lines[..], 1).unwrap());
        let given = [
            write("a.jsonl", &gz),
            write("b.jsonl.gz", lines),
            write("c.jsonl.gz", &zst),
            write("d.json.zst", &gz),
            write("e.parquet", lines),
            write("f.jsonl", b""),
        ];
        let runtime = runtime();
        let Ok(Inputs::Jsonl(files)) = resolve(&given, runtime.handle()) else { panic!() };
        let formats: Vec<InputFormat> = files.iter().map(|f| f.format).collect();
        let (plain, gzip) = (InputFormat::Jsonl, InputFormat::JsonlGzip);
        assert_eq!(formats, [gzip, plain, InputFormat::JsonlZstd, gzip, plain, plain]);
        let parquet = [write("g.jsonl", b"PAR1 and so on")];
        assert!(matches!(resolve(&parquet, runtime.handle()), Ok(Inputs::Archive(_))));
        let bad = [write("h.jsonl", b"[{\"a\":1},\n{\"a\":2}]"), write("i.jsonl.gz", b"PK\x03\x04")];
        let error = names(&[&given[..], &bad[..]].concat()).unwrap_err().to_string();
        assert!(error.contains("h.jsonl looks like one JSON array") && error.contains("1 more"), "{error}");
    }

    #[test]
    fn a_web_server_that_does_not_answer_is_said_in_plain_words() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/a.jsonl");
        let error = resolve(std::slice::from_ref(&url), runtime.handle()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("can't read {url}: ")) && !error.contains("builder"), "{error}");
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }

    #[test]
    fn what_is_missing_mixed_or_unknown_is_said() {
        let (dir, path) = folder();
        let error = |a: &str| names(&[a.to_owned()]).unwrap_err().to_string();
        assert!(error(&format!("{path}/none.jsonl")).contains("no such file or folder"));
        assert!(error(&format!("{path}/README.md")).contains("must end in"));
        assert!(error(&format!("{path}/*.parquet")).starts_with("no input matches"));
        assert!(error("https://example.org/folder/").contains("can't be listed"));
        std::fs::write(dir.path().join("z.parquet"), "").unwrap();
        let mixed = error(&path);
        assert!(mixed.contains("two kinds") && mixed.contains("z.parquet"), "{mixed}");
        assert!(
            matches!(resolve(&["-".into()], runtime().handle()), Ok(Inputs::Jsonl(f)) if matches!(f[0].place, FileLocation::Stdin))
        );
    }

    #[test]
    fn object_stores_are_searched_like_folders() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = runtime();
        for path in ["a/x.jsonl", "a/date=1/y.jsonl.gz", "a/_tmp/z.jsonl", "a/README.md", "b/w.jsonl"] {
            runtime.block_on(store.put(&path.into(), "{}".into())).unwrap();
        }
        let found = |argument: &str, base: &str, glob: Option<&str>| {
            let glob = glob.map(|g| split_glob(g, &['*']).unwrap());
            let listing = Listing { argument, store: Arc::clone(&store), base: base.into(), glob };
            let mut names: Vec<_> = listing.files(runtime.handle())?.into_iter().map(|f| f.name).collect();
            names.sort();
            Ok::<_, SourceError>(names)
        };
        let (x, y) = ("s3://bucket/a/x.jsonl", "s3://bucket/a/date=1/y.jsonl.gz");
        assert_eq!(found("s3://bucket/a/", "a", None).unwrap(), [y, x]);
        assert_eq!(found("s3://bucket", "", None).unwrap(), [y, x, "s3://bucket/b/w.jsonl"]);
        assert_eq!(found("s3://bucket/a/**/*.gz", "a", Some("bucket/a/**/*.gz")).unwrap(), [y]);
        assert_eq!(found(x, "a/x.jsonl", None).unwrap(), [x]);
        assert!(
            found("s3://bucket/no.jsonl", "no.jsonl", None)
                .unwrap_err()
                .to_string()
                .contains("no such object")
        );
    }

    #[test]
    fn suffixes_decide_the_format() {
        assert_eq!(InputFormat::of("a/B.JSONL.GZ"), Some(InputFormat::JsonlGzip));
        assert_eq!(InputFormat::of("x.json"), Some(InputFormat::Jsonl));
        assert_eq!(InputFormat::of("x.ndjson.zst"), Some(InputFormat::JsonlZstd));
        assert_eq!(InputFormat::of("x.parquet"), Some(InputFormat::Archive));
        assert_eq!(InputFormat::of("x.csv.gz"), None);
        assert_eq!(InputFormat::of("x"), None);
    }
}
