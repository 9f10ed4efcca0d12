//! Chooses and loads the backend: ONNX Runtime on a GPU or the CPU, or the built-in tract.

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

/// Settings of the backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeOptions {
    /// Which one.
    pub provider: Provider,
    /// ONNX Runtime's shared library; default: from `ORT_DYLIB_PATH` or an installed Python
    /// package.
    pub library: Option<PathBuf>,
    /// The GPU's number.
    pub device: i32,
    /// Threads per inference on the CPU; 0: all cores. Tract always uses one.
    pub threads: usize,
}

/// A running backend. Clones share it.
#[derive(Debug, Clone)]
pub struct InferenceRuntime {
    engine: LoadedRuntime,
    backend: Backend,
    device: i32,
    threads: usize,
    notes: Vec<String>,
}

/// What the whole process shares: `ort` allows one implementation and one environment per process.
#[derive(Debug, Clone)]
struct LoadedRuntime {
    /// ONNX Runtime's; absent for tract.
    library: Option<PathBuf>,
    environment: Environment,
    /// Why it is not the preferred one.
    note: Option<String>,
}

/// What this process has loaded.
#[derive(Debug)]
struct ProcessRuntime {
    engine: Option<LoadedRuntime>,
    /// The library that could not be loaded, and why. `ort` is unusable after a failed load, so
    /// there is only one attempt.
    failed: Option<(PathBuf, String)>,
}

static PROCESS_RUNTIME: Mutex<ProcessRuntime> = Mutex::new(ProcessRuntime { engine: None, failed: None });

/// A minimal model (`fixtures/embed/probe.onnx`): a provider may register without a GPU, but a
/// session can't run without one.
pub(crate) const PROBE: &[u8] = b"\x08\x08:2\n\x0b\n\x01x\x12\x01y\"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\
      \x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r";

/// Starts the configured backend. May be called again for the same library.
///
/// # Errors
/// When the backend is not available, when a configured library (in the options or in
/// `ORT_DYLIB_PATH`) can't be loaded, or when another one is running.
pub fn start(options: &RuntimeOptions) -> Result<InferenceRuntime, RuntimeError> {
    let mut shared = PROCESS_RUNTIME.lock();
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
    Ok(InferenceRuntime { engine, backend, device: options.device, threads: options.threads, notes })
}

impl InferenceRuntime {
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

    /// Why `auto` skipped a faster backend.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The builder of a model's session.
    pub(crate) fn session(&self) -> ort::Result<SessionBuilder> {
        // Tract optimises only on request; ONNX Runtime always does.
        let builder = Session::builder(&self.engine.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?;
        Ok(match self.backend {
            Backend::Tract => builder,
            // Spinning threads would take cores from event processing.
            Backend::Cpu => builder.with_intra_threads(self.threads)?.with_intra_op_spinning(false)?,
            Backend::Cuda => with_cuda(builder, self.device)?
                .with_intra_threads(self.threads)?
                .with_intra_op_spinning(false)?,
        })
    }
}

impl fmt::Display for InferenceRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.library() {
            Some(path) => write!(f, "{} (ONNX Runtime, {})", self.backend.name(), path.display()),
            None => f.write_str(self.backend.name()),
        }
    }
}

/// Checks that options fit the running backend.
fn fits(engine: &LoadedRuntime, options: &RuntimeOptions) -> Result<(), RuntimeError> {
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

fn open(
    options: &RuntimeOptions,
    failed: &mut Option<(PathBuf, String)>,
) -> Result<LoadedRuntime, RuntimeError> {
    if options.provider == Provider::Tract {
        // An invalid path is an error even if it is not used.
        if let Some(path) = &options.library {
            load(&resolve(path)?, failed)?;
        }
        return tract(None);
    }
    if let Some(path) = options.library.clone().or_else(library::from_environment) {
        return onnx_runtime(&resolve(&path)?, failed);
    }
    match library::installed() {
        // Not configured, so a library that is too old must not prevent `auto`.
        Some(path) => onnx_runtime(&path, failed).or_else(|error| match options.provider {
            Provider::Auto => tract(Some(error.to_string())).map_err(|_| error),
            _ => Err(error),
        }),
        None if options.provider == Provider::Auto => tract(Some("no ONNX Runtime library was found".into())),
        None => Err(RuntimeError::NoLibrary { provider: options.provider }),
    }
}

/// The library's full path. The loader searches for a bare file name.
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
            format!("{} was tried before, and a process has one attempt", first.display())
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

fn onnx_runtime(path: &Path, failed: &mut Option<(PathBuf, String)>) -> Result<LoadedRuntime, RuntimeError> {
    let builder = load(path, failed)?;
    let environment = guarded(|| {
        let environment =
            builder.with_name("driftglass").with_telemetry(false).with_logger(logger()).build()?;
        // The logger is installed at the most verbose level.
        environment.set_log_level(LogLevel::Warning);
        Ok::<_, ort::Error>(environment)
    });
    let environment = environment.map_err(|message| RuntimeError::Load { path: path.to_owned(), message })?;
    Ok(LoadedRuntime { library: Some(path.to_owned()), environment, note: None })
}

fn tract(note: Option<String>) -> Result<LoadedRuntime, RuntimeError> {
    let environment = guarded(|| {
        if !ort::set_api(ort_tract::api()) {
            return Err("another backend was started in this process".to_owned());
        }
        ort::init().with_name("driftglass").build().map_err(|e| e.to_string())
    });
    Ok(LoadedRuntime { library: None, environment: environment.map_err(RuntimeError::Tract)?, note })
}

fn with_cuda(builder: SessionBuilder, device: i32) -> ort::Result<SessionBuilder> {
    // Without `error_on_failure`, the session would silently use the CPU.
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

/// Logs ONNX Runtime's messages besides the errors that it returns.
fn logger() -> ort::logging::LoggerFunction {
    Arc::new(|level, category, _, location, message| {
        tracing::debug!(target: "onnxruntime", ?level, category, location, "{message}");
    })
}

/// Converts a panic to an error: `ort` panics if a library breaks its contract, for example if it
/// lacks the interface of its version.
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

/// A message on one line without a full stop, to embed in a sentence.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(['.', ' ']).to_owned()
}
