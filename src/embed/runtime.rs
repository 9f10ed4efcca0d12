//! Chooses and loads what computes embeddings: ONNX Runtime on a GPU or the CPU, or the built-in tract.

pub use super::backend::Backend;
pub use super::error::RuntimeError;
use super::library;
use crate::config::Provider;
use ort::LoadDynamicError;
use ort::environment::{Environment, EnvironmentBuilder};
use ort::ep::CUDA;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use parking_lot::Mutex;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is configured about the backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeOptions {
    /// Which one.
    pub provider: Provider,
    /// ONNX Runtime's shared library; otherwise `ORT_DYLIB_PATH` or an installed Python package gives it.
    pub library: Option<PathBuf>,
    /// The GPU's number.
    pub device: i32,
    /// Threads for one inference on the CPU; 0 takes all cores. Tract always takes one.
    pub threads: usize,
}

/// A backend that runs. Copies share it.
#[derive(Debug, Clone)]
pub struct Runtime {
    engine: Engine,
    backend: Backend,
    device: i32,
    threads: usize,
    notes: Vec<String>,
}

/// What the whole process shares: `ort` takes one implementation of its interface and one environment, for good.
#[derive(Debug, Clone)]
struct Engine {
    /// ONNX Runtime's; absent for tract.
    library: Option<PathBuf>,
    environment: Environment,
    /// Why it is not the one that would have been preferred.
    note: Option<String>,
}

/// What was begun in this process.
#[derive(Debug)]
struct Shared {
    engine: Option<Engine>,
    /// The library that could not be loaded, and why. After a failure `ort` takes its place for a loaded library as
    /// filled and hands out what was never written to it, so there is only this one try.
    failed: Option<(PathBuf, String)>,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared { engine: None, failed: None });

/// The smallest model there is (`fixtures/embed/probe.onnx`): that a provider could be registered does not say that its
/// GPU is there, and a session that has run does.
pub(crate) const PROBE: &[u8] = b"\x08\x08:2\n\x0b\n\x01x\x12\x01y\"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\
      \x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r";

/// Starts the configured backend. A process may call it again, for the same library.
///
/// # Errors
/// When the backend asked for is not available, when a library that was configured (in the options or in
/// `ORT_DYLIB_PATH`) can't be loaded, and when another one runs already.
pub fn start(options: &RuntimeOptions) -> Result<Runtime, RuntimeError> {
    let mut shared = SHARED.lock();
    let engine = match &shared.engine {
        Some(engine) => {
            fits(engine, options)?;
            engine.clone()
        }
        None => {
            let engine = open(options, &mut shared.failed)?;
            shared.engine.insert(engine).clone()
        }
    };
    let mut notes: Vec<String> = engine.note.iter().cloned().collect();
    let backend = match (&engine.library, options.provider) {
        (None, _) => Backend::Tract,
        (Some(_), Provider::Cpu) => Backend::Cpu,
        (Some(path), _) => match try_cuda(&engine.environment, options.device) {
            Ok(()) => Backend::Cuda,
            Err(message) if options.provider == Provider::Cuda => {
                return Err(RuntimeError::NoCuda { path: path.clone(), message });
            }
            Err(message) => {
                notes.push(format!("no CUDA: {message}"));
                Backend::Cpu
            }
        },
    };
    Ok(Runtime { engine, backend, device: options.device, threads: options.threads, notes })
}

impl Runtime {
    /// What computes.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// ONNX Runtime's library, unless the backend is built in.
    #[must_use]
    pub fn library(&self) -> Option<&Path> {
        self.engine.library.as_deref()
    }

    /// Why a faster backend was passed over, where `auto` did so.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What a model's session is made from.
    pub(crate) fn session(&self) -> ort::Result<SessionBuilder> {
        // Tract optimises only when it is asked to; ONNX Runtime does so anyway.
        let builder = Session::builder(&self.engine.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?;
        Ok(match self.backend {
            Backend::Tract => builder,
            // Threads that spin while they wait would take the cores from the events' path.
            Backend::Cpu => builder.with_intra_threads(self.threads)?.with_intra_op_spinning(false)?,
            Backend::Cuda => with_cuda(builder, self.device)?
                .with_intra_threads(self.threads)?
                .with_intra_op_spinning(false)?,
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.library() {
            Some(path) => write!(f, "{} (ONNX Runtime, {})", self.backend.name(), path.display()),
            None => f.write_str(self.backend.name()),
        }
    }
}

/// Whether options can be served by the engine that runs.
fn fits(engine: &Engine, options: &RuntimeOptions) -> Result<(), RuntimeError> {
    let wanted = match (options.provider, &options.library) {
        (Provider::Tract, _) if engine.library.is_some() => "tract".to_owned(),
        (Provider::Cpu | Provider::Cuda, None) if engine.library.is_none() => "ONNX Runtime".to_owned(),
        (Provider::Auto | Provider::Cpu | Provider::Cuda, Some(path)) => {
            let path = resolve(path)?;
            if engine.library.as_ref() == Some(&path) {
                return Ok(());
            }
            path.display().to_string()
        }
        _ => return Ok(()),
    };
    let running = engine.library.as_ref().map_or_else(|| "tract".to_owned(), |p| p.display().to_string());
    Err(RuntimeError::Started { running, wanted })
}

fn open(options: &RuntimeOptions, failed: &mut Option<(PathBuf, String)>) -> Result<Engine, RuntimeError> {
    if options.provider == Provider::Tract {
        // A path that leads nowhere is a mistake even where nothing would be loaded from it.
        if let Some(path) = &options.library {
            load(&resolve(path)?, failed)?;
        }
        return tract(None);
    }
    if let Some(path) = options.library.clone().or_else(library::from_environment) {
        return onnx_runtime(&resolve(&path)?, failed);
    }
    match library::installed() {
        // Nobody named this one: one that is too old must not keep `auto` from running.
        Some(path) => onnx_runtime(&path, failed).or_else(|error| match options.provider {
            Provider::Auto => tract(Some(error.to_string())).map_err(|_| error),
            _ => Err(error),
        }),
        None if options.provider == Provider::Auto => tract(Some("no ONNX Runtime library was found".into())),
        None => Err(RuntimeError::NoLibrary { provider: options.provider }),
    }
}

/// The library's full path. A bare file name that is not in the current folder is left to the loader's search.
fn resolve(path: &Path) -> Result<PathBuf, RuntimeError> {
    match path.canonicalize() {
        Ok(full) => Ok(full),
        Err(_) if path.components().count() == 1 => Ok(path.to_owned()),
        Err(error) => Err(RuntimeError::Load { path: path.to_owned(), message: error.to_string() }),
    }
}

/// Loads the library; its version is checked before anything in it is used.
fn load(path: &Path, failed: &mut Option<(PathBuf, String)>) -> Result<EnvironmentBuilder, RuntimeError> {
    if let Some((first, message)) = failed {
        let message = if first == path {
            message.clone()
        } else {
            format!("{} was tried before, and a process has one try", first.display())
        };
        return Err(RuntimeError::Load { path: path.to_owned(), message });
    }
    let loaded = guarded(|| {
        ort::init_from(path).map_err(|error| match error {
            LoadDynamicError::Dlopen { error, .. } => error.to_string(),
            LoadDynamicError::MissingApi { .. } => "it is not ONNX Runtime's library".to_owned(),
            LoadDynamicError::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, and 1.{}.0 or newer is needed", ort::MINOR_VERSION)
            }
            other @ LoadDynamicError::InvalidVersionString => other.to_string(),
        })
    });
    loaded.map_err(|message| {
        *failed = Some((path.to_owned(), message.clone()));
        RuntimeError::Load { path: path.to_owned(), message }
    })
}

fn onnx_runtime(path: &Path, failed: &mut Option<(PathBuf, String)>) -> Result<Engine, RuntimeError> {
    let builder = load(path, failed)?;
    let environment = guarded(|| {
        let environment =
            builder.with_name("driftglass").with_telemetry(false).with_logger(logger()).build()?;
        // The logger is installed at the chattiest level.
        environment.set_log_level(LogLevel::Warning);
        Ok::<_, ort::Error>(environment)
    });
    let environment = environment.map_err(|message| RuntimeError::Load { path: path.to_owned(), message })?;
    Ok(Engine { library: Some(path.to_owned()), environment, note: None })
}

fn tract(note: Option<String>) -> Result<Engine, RuntimeError> {
    let environment = guarded(|| {
        if !ort::set_api(ort_tract::api()) {
            return Err("another backend was begun in this process".to_owned());
        }
        ort::init().with_name("driftglass").build().map_err(|e| e.to_string())
    });
    Ok(Engine { library: None, environment: environment.map_err(RuntimeError::Tract)?, note })
}

fn with_cuda(builder: SessionBuilder, device: i32) -> ort::Result<SessionBuilder> {
    // Without `error_on_failure` the session would compute on the CPU and say nothing.
    Ok(builder
        .with_execution_providers([CUDA::default().with_device_id(device).build().error_on_failure()])?)
}

/// Makes and runs a session on the GPU.
fn try_cuda(environment: &Environment, device: i32) -> Result<(), String> {
    guarded(|| {
        let mut session = with_cuda(Session::builder(environment)?, device)?.commit_from_memory(PROBE)?;
        let one = ort::value::TensorRef::from_array_view(([1usize], &[1.0f32][..]))?;
        session.run(ort::inputs![one]).map(drop)
    })
}

/// What ONNX Runtime reports besides the errors it returns, which carry their own text.
fn logger() -> ort::logging::LoggerFunction {
    Arc::new(|level, category, _, location, message| {
        tracing::debug!(target: "onnxruntime", ?level, category, location, "{message}");
    })
}

/// Makes an error of a panic: `ort` panics where a library breaks its contract, for instance when it has no interface
/// of the version that its name promises.
pub(crate) fn guarded<T, E: fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| one_line(&e.to_string())),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "it panicked".to_owned())),
    }
}

/// A message without line breaks and without a full stop: it stands within a sentence of ours.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(['.', ' ']).to_owned()
}
