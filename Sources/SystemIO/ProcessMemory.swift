import Glibc

/// How malloc behaves in a process that runs for months within a memory budget.
package enum ProcessMemory {
    /// What is freed goes back to the system, so that the process is as large as what it holds. Large blocks of ours come from
    /// pools with a cap; this is about what libraries allocate: SQLite, libcurl, zstd, TLS.
    ///
    /// glibc's own choice is up to eight arenas for each processor, each keeping its peak, and a threshold for blocks of their own
    /// that rises to 32 MiB with the first large block freed: mallopt(3). Setting the threshold keeps it where it is.
    package static func returnWhatIsFreed() {
        guard let mallopt = GNUFunctions.mallopt else { return }
        // M_ARENA_MAX is -8, M_MMAP_THRESHOLD -3, M_TRIM_THRESHOLD -1: <malloc.h>.
        _ = mallopt(-8, 4)
        _ = mallopt(-3, 256 << 10)
        _ = mallopt(-1, 1 << 20)
    }
}
