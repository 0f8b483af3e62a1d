package import BackupEngine
internal import Filesystem
internal import FuseBridge
internal import Glibc
internal import Logging
internal import Workers

/// The life of a mount: mounted → serving → ending (umount, SIGTERM, SIGINT, SIGHUP) → ended.
///
/// On the way out the order is: no new requests; staged writers get an error and their uploads are aborted; requests under
/// way are answered; the file system is unmounted; the threads end.
package enum MountDaemon {
    /// Mounts, calls `ready` once reads are answered, and returns when the mount has ended.
    package static func run(
        _ engine: Engine, at mountpoint: String, options: MountOptions, ready: () -> Void
    ) throws {
        // Before any thread starts, so that all inherit it: these signals come to the one thread that waits for them.
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)

        try engine.cleanUpAfterCrash()
        let filesystem = BackupFilesystem(engine: engine)
        let session = try FuseSession(
            filesystem, at: mountpoint, appearance: options.appearance, options: options.kernelOptions)
        session.start()
        let log = engine.log
        let waiter = NativeThread(name: "signals") { [signals] in
            var awaited = signals
            var received: Int32 = 0
            sigwait(&awaited, &received)
            log.info("signal \(received): ending")
            session.stop()
        }
        waiter.detach()
        // The kernel has been answered once this returns: the mount serves.
        var status = stat()
        _ = stat(mountpoint + "/status.json", &status)
        ready()
        session.waitUntilStopping()
        filesystem.close()
        session.finish()
        log.info("unmounted \(mountpoint)")
        engine.close()
    }
}
