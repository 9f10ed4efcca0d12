//! The `driftglass` command: sets up memory and runs the command line.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the crate doesn't export.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds before free memory returns to the system. With the default of 10, a replay spent a
/// tenth of its time clearing pages that had just been returned.
const KEEP_FREE_MS: std::ffi::c_long = 2_000;

fn main() -> std::process::ExitCode {
    // SAFETY: sets an integer in a static array of options; mimalloc ignores an index out of
    // bounds, no pointer is passed and no other thread runs yet. MIMALLOC_PURGE_DELAY still takes
    // precedence.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEEP_FREE_MS) };
    disable_huge_pages();
    driftglass::cli::main()
}

/// Disables huge pages for this process. mimalloc requests them, and the kernel then keeps building
/// them from sparsely used pages: a job's memory grew by a quarter within an hour, and saved a few
/// percent of time. No effect if the kernel doesn't support it.
fn disable_huge_pages() {
    // SAFETY: sets a flag of this process; all arguments are integers as documented, and no memory
    // is accessed.
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
