//! What can run a model.

/// Which backend computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// ONNX Runtime on an NVIDIA GPU.
    Cuda,
    /// ONNX Runtime on the CPU.
    Cpu,
    /// The built-in one.
    Tract,
}

impl Backend {
    /// Its name in logs and tables, which is also the configuration's for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
            Self::Tract => "tract",
        }
    }
}
