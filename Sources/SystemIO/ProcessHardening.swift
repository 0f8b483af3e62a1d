import Glibc

/// What keeps the memory of this process from other processes, before there is a secret in it.
package enum ProcessHardening {
    /// No core dump is written of this process, neither to a file nor to a program that collects them, and nothing without
    /// root's capabilities may trace it or read its `/proc/<pid>/{mem,environ,maps,fd}`, not even a process of the same user.
    ///
    /// Programs that it starts are dumpable again (execve(2)), but keep the limit of 0 bytes for core files.
    package static func apply() throws(Errno) {
        guard let prctl = GNUFunctions.prctl else { throw .notImplemented }
        // PR_SET_DUMPABLE is 4, SUID_DUMP_DISABLE 0: prctl(2). The limit alone does not count for collectors: core(5).
        try Errno.check { prctl(4, 0, 0, 0, 0) }
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        try Errno.check { setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none) }
    }
}
