//! The `driftglass` command: hands the arguments to the library and turns what comes back into an exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    driftglass::cli::main()
}
