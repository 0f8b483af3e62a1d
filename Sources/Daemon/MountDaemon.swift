package import BackupEngine
internal import Filesystem
internal import FuseBridge
internal import Glibc
internal import Logging
internal import RangeCache
internal import ReadTrace
package import Snapshots
internal import Storage
internal import Workers

/// The life of a mount: mounted → serving → ending (umount, SIGTERM, SIGINT, SIGHUP) → ended.
///
/// On the way out the order is: no new requests; reads that wait and staged writers get an error, uploads are aborted, and a
/// store that takes long over it is interrupted; requests under way are answered; the file system is unmounted; the threads end,
/// or are left to the end of the process when a store holds them.
package enum MountDaemon {
    /// Mounts, calls `ready` once reads are answered, and returns when the mount has ended.
    package static func run(
        _ engine: Engine, _ snapshots: Snapshots, at mountpoint: String, options: MountOptions, signals: EndingSignals,
        ready: () -> Void
    ) throws {
        let trace = try options.tracePath.map { path throws(ReadTraceError) in try TraceRecorder(path: path) }
        cleanUp(engine, snapshots)
        let filesystem = BackupFilesystem(engine: engine, snapshots: snapshots, trace: trace)
        let session = try FuseSession(
            filesystem, at: mountpoint, appearance: options.appearance, options: options.kernelOptions)
        session.start()
        let log = engine.log
        signals.setHandler { received in
            log.info("signal \(received): ending")
            session.stop()
        }
        // Not found out by a look into the mount: a process that is killed while it waits for itself hangs for good.
        session.waitUntilServing()
        // What is on the disk can be read from the first moment on, also of a store that is away.
        if engine.rangeCache?.waitUntilOpened(milliseconds: openingMilliseconds) == false {
            log.warning("the disk cache is slow to open: until it is there its backends are read")
        }
        ready()
        greetBackends(engine)
        let care = CatalogCare(engine)
        care.start()
        session.waitUntilStopping()
        let isEnded = Monitor(false)
        NativeThread(name: "ending") {
            let inTime: Void? = isEnded.wait(milliseconds: endingMilliseconds) { $0 ? () : nil }
            if inTime == nil { engine.interruptStores() }
        }.detach()
        filesystem.close()
        session.finish()
        isEnded.withLock { $0 = true }
        do {
            try trace?.close()
        } catch {
            log.error("the trace is not complete: \(error)")
        }
        log.info("unmounted \(mountpoint)")
        care.stop(waitingMilliseconds: careMilliseconds)
        let isClosed = Monitor(false)
        NativeThread(name: "closing") {
            engine.close()
            isClosed.withLock { $0 = true }
        }.detach()
        // What a store that hangs might still bring is of no use to anybody.
        let inTime: Void? = isClosed.wait(milliseconds: closingMilliseconds) { $0 ? () : nil }
        if inTime == nil { log.warning("a backend does not answer: its reads are given up") }
    }

    /// What an earlier run left is removed before the mount serves; for a backend that is slow or away this goes on beside it.
    private static func cleanUp(_ engine: Engine, _ snapshots: Snapshots) {
        let isDone = Monitor(false)
        NativeThread(name: "clean-up") {
            do {
                try engine.cleanUpAfterCrash()
            } catch {
                engine.log.error("what an earlier run left is not cleaned up: \(error)")
            }
            snapshots.cleanUpAfterCrash()
            isDone.withLock { $0 = true }
        }.detach()
        _ = isDone.wait(milliseconds: cleanUpMilliseconds) { $0 ? () : nil }
    }

    /// Opens a connection to each remote backend, so that the first read need not; and knows early who is away.
    private static func greetBackends(_ engine: Engine) {
        for backend in engine.backends.values where backend.isRemote {
            NativeThread(name: "greeting") {
                do {
                    try backend.store.check()
                } catch {
                    engine.log.warning("backend \(backend.name) cannot be used now: \(error)")
                }
            }.detach()
        }
    }

    private static let cleanUpMilliseconds = 2000
    private static let openingMilliseconds = 2000
    /// For uploads to be aborted at their stores. What a store that is away still has, the next start removes.
    private static let endingMilliseconds = 2000
    private static let closingMilliseconds = 2000
    private static let careMilliseconds = 5000
}
