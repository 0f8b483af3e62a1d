internal import CFuse
package import Filesystem
internal import Glibc
internal import Synchronization
internal import Workers

/// Why a mount did not come about.
package struct MountError: Error, CustomStringConvertible {
    package let detail: String
    package var description: String { detail }
}

/// A mounted file system: from `mount` until it is unmounted by anybody or `stop` is called.
///
/// Its threads read requests from the kernel and may block in them; when all are busy another one is started, so that
/// writers that wait for an upload do not keep readers from being served. A read that has to wait for a store leaves its
/// thread at once (`PendingReplies`), so that a dead backend takes none.
package final class FuseSession: Sendable {
    /// More requests than this do not wait in us at once; the kernel queues the rest.
    private static let threadLimit = 48
    /// Idle threads beyond this end.
    private static let idleLimit = 6

    private struct State {
        var threads: [pthread_t] = []
        var idle = 0
        /// The kernel's first request, which all others wait for, has been answered.
        var isServing = false
        var isStopping = false
        /// The session is destroyed: nothing may be asked of it any more.
        var isFinished = false
        /// Threads that have ended and were not waited for; they are detached.
        var running = 0
    }

    // Safe because: libfuse's session functions used here are thread-safe, and it is destroyed after all threads ended.
    private nonisolated(unsafe) let session: OpaquePointer
    private let context: FuseContext
    private let state = Monitor(State())

    /// Mounts at `mountpoint`. `options` are those of mount.fuse3(8), such as `ro` or `allow_other`.
    package init(
        _ filesystem: BackupFilesystem, at mountpoint: String, appearance: MountAppearance, options: [String]
    ) throws(MountError) {
        context = FuseContext(filesystem: filesystem, appearance: appearance)
        let all = ["fsname=holdfast", "subtype=holdfast", "default_permissions"] + options
        var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
        for argument in [
            "holdfast", "-o", (all + ["max_read=\(FuseContext.transferByteCount)"]).joined(separator: ","),
        ] {
            fuse_opt_add_arg(&arguments, argument)
        }
        defer { fuse_opt_free_args(&arguments) }
        var table = FuseOperations.table()
        let userData = Unmanaged.passUnretained(context).toOpaque()
        guard let session = fuse_session_new(&arguments, &table, MemoryLayout<fuse_lowlevel_ops>.size, userData) else {
            throw MountError(detail: "libfuse refuses the mount options: \(all.joined(separator: ","))")
        }
        guard fuse_session_mount(session, mountpoint) == 0 else {
            let reason = String(cString: strerror(errno))
            fuse_session_destroy(session)
            throw MountError(detail: "cannot mount at \"\(mountpoint)\": \(reason)")
        }
        self.session = session
    }

    /// Starts serving. Returns at once.
    package func start() {
        Self.wakeSignalIsHarmless
        startThread()
    }

    /// Waits until requests are answered, or the session is stopping.
    package func waitUntilServing() {
        state.wait { $0.isServing || $0.isStopping ? () : nil }
    }

    /// Waits until the file system is unmounted by anybody, or `stop` is called.
    package func waitUntilStopping() {
        state.wait { $0.isStopping ? () : nil }
    }

    /// Waits until every request under way is answered, and unmounts. Whatever such a request waits for must have been told
    /// to end before.
    package func finish() {
        // A thread that waits for a request is woken by a signal; one that was just about to wait is met the next time.
        while true {
            let remaining: [pthread_t]? = state.wait(milliseconds: 20) { $0.running == 0 ? [] : nil }
            if remaining != nil { break }
            state.withLockQuietly { state in
                for thread in state.threads { pthread_kill(thread, SIGUSR2) }
            }
        }
        context.pending.waitUntilEmpty()
        state.withLock { $0.isFinished = true }
        fuse_session_unmount(session)
        fuse_session_destroy(session)
    }

    /// Ends the session from any thread: no new requests are taken.
    package func stop() {
        state.withLock { state in
            if !state.isFinished { fuse_session_exit(session) }
            state.isStopping = true
        }
    }

    private func startThread() {
        state.withLock { state in
            state.running += 1
            state.idle += 1
        }
        let thread = NativeThread(name: "fuse") { [self] in serve() }
        thread.detach()
    }

    private func serve() {
        var buffer = fuse_buf()
        // A thread inherits what its creator blocks, and those of Swift's pool block all signals.
        var wakeSignal = sigset_t()
        sigemptyset(&wakeSignal)
        sigaddset(&wakeSignal, SIGUSR2)
        pthread_sigmask(SIG_UNBLOCK, &wakeSignal, nil)
        state.withLockQuietly { $0.threads.append(pthread_self()) }
        defer {
            free(buffer.mem)
            state.withLock { state in
                state.threads.removeAll { $0 == pthread_self() }
                state.running -= 1
            }
        }
        while true {
            let size = fuse_session_receive_buf(session, &buffer)
            if size == -EINTR {
                if state.withLockQuietly({ $0.isStopping }) { return }
                continue
            }
            guard size > 0 else {
                // 0: unmounted. Negative: the connection is broken (umount -f); either way it is over.
                state.withLock { $0.isStopping = true }
                return
            }
            let needsAnother = state.withLockQuietly { state in
                state.idle -= 1
                return state.idle == 0 && state.running < Self.threadLimit && !state.isStopping
            }
            if needsAnother { startThread() }
            fuse_session_process_buf(session, &buffer)
            if !state.withLockQuietly({ $0.isServing }) { state.withLock { $0.isServing = true } }
            let ends = state.withLockQuietly { state in
                if state.idle >= Self.idleLimit || state.isStopping { return true }
                state.idle += 1
                return false
            }
            if ends { return }
        }
    }

    /// SIGUSR2 only interrupts a system call: its handler does nothing, and the call is not restarted.
    private static let wakeSignalIsHarmless: Void = {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in }
        action.sa_flags = 0
        sigaction(SIGUSR2, &action, nil)
    }()
}
