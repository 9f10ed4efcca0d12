//! The `driftglass` command: hands the arguments to the library and turns what comes back into an exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mimalloc.h`, which its crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds that free memory is kept before the system gets it back. At the default of 10 a tenth of a replay's time went into
/// clearing pages that had just been given back.
const KEEP_FREE_MS: std::ffi::c_long = 2_000;

fn main() -> std::process::ExitCode {
    // SAFETY: sets one of mimalloc's options, an integer in a static array; an index out of its bounds is ignored, no pointer is passed
    // and no other thread runs yet. An environment variable (MIMALLOC_PURGE_DELAY) still wins, as `default` says.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEEP_FREE_MS) };
    small_pages();
    driftglass::cli::main()
}

/// Has this process' memory in small pages. mimalloc asks for huge ones, and the kernel then goes on for hours making them of pages that are
/// hardly used: a job's memory grew by a quarter within an hour, to save a few per cent of time. Where the kernel can't, memory is as it was.
fn small_pages() {
    // SAFETY: sets a flag of this process; all arguments are integers, as the manual asks for, and no memory is touched.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(
            libc::PR_SET_THP_DISABLE,
            1 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        );
    }
}
