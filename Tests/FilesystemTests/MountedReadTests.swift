import Foundation
import FuseBridge
import StorageTesting
import Testing
import Workers

@testable import Filesystem

/// A mount in this process, over a store that can hang; read by other processes.
@Suite(
    "A mount whose backend hangs", .serialized, .timeLimit(.minutes(2)),
    .enabled(if: getuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0, "a real mount needs root and /dev/fuse"))
struct MountedReadTests {
    private final class Bench {
        let tree: TreeBench
        let store: HangingStore
        let session: FuseSession
        let mountpoint: String
        let image = ReadLinkTests.image(mebibytes: 8)
        private let isFinished = Monitor(false)

        init() throws {
            var hanging: HangingStore?
            tree = try TreeBench { store in
                let made = HangingStore(store)
                hanging = made
                return made
            }
            store = try #require(hanging)
            tree.filesystem.release(try tree.openBackup(of: image))
            mountpoint = NSTemporaryDirectory() + "holdfast-hang-\(UUID().uuidString.prefix(8))"
            try FileManager.default.createDirectory(atPath: mountpoint, withIntermediateDirectories: true)
            session = try FuseSession(
                tree.filesystem, at: mountpoint, appearance: MountAppearance(userID: 0, groupID: 0, umask: 0),
                options: [])
            session.start()
        }

        deinit {
            store.release()
            finish()
            rmdir(mountpoint)
        }

        /// As the daemon ends.
        func finish() {
            guard
                isFinished.withLock({ isFinished in
                    defer { isFinished = true }; return !isFinished
                })
            else { return }
            session.stop()
            tree.filesystem.close()
            session.finish()
        }

        /// Reads that are not answered.
        var waitingCount: Int { tree.filesystem.readPath.pending.count }

        var disk: String { mountpoint + "/memory/acme/web/latest/disk.raw" }

        /// Starts a reader of 4 KiB at each of many places, all at once; none of them is cached.
        func startReaders(_ count: Int) throws -> Process {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
            // Each in a process of its own, with the signals a shell would give it.
            process.arguments = [
                "-c",
                """
                import os,signal,sys,time
                signal.pthread_sigmask(signal.SIG_SETMASK,[]); signal.signal(signal.SIGINT,signal.SIG_DFL)
                children=[]
                for i in range(\(count)):
                    p=os.fork()
                    if p==0:
                        fd=os.open(sys.argv[1],os.O_RDONLY)
                        os.pread(fd,4096,1000000+i*65536)
                        os._exit(0)
                    children.append(p)
                sys.stdin.read(1)
                for p in children: os.kill(p,signal.SIGINT)
                interrupted=sum(os.waitpid(p,0)[1]==signal.SIGINT for p in children)
                sys.exit(0 if interrupted==\(count) else 1)
                """, disk,
            ]
            process.standardInput = Pipe()
            try process.run()
            return process
        }
    }

    private func waitUntil(_ condition: () -> Bool) {
        while !condition() { usleep(2000) }
    }

    @Test func `a hundred readers are blocked and everything else is fast; an interrupt frees them at once`() throws {
        let bench = try Bench()
        bench.store.hang()
        let readers = try bench.startReaders(100)
        waitUntil { bench.waitingCount == 100 }
        let start = ContinuousClock.now
        #expect(try FileManager.default.contentsOfDirectory(atPath: bench.mountpoint).count == 4)
        #expect(try FileManager.default.attributesOfItem(atPath: bench.disk)[.size] as? Int == bench.image.count)
        (readers.standardInput as? Pipe)?.fileHandleForWriting.write(Data("x".utf8))
        readers.waitUntilExit()
        #expect(readers.terminationStatus == 0, "a reader was not ended by its signal")
        #expect(ContinuousClock.now - start < .seconds(2))
        #expect(bench.waitingCount == 0)
        // The backend is back, and so are reads.
        bench.store.release()
        waitUntil { bench.store.hangingCount == 0 }
        let read = try FileHandle(forReadingFrom: URL(fileURLWithPath: bench.disk))
        try read.seek(toOffset: 1_000_000)
        #expect(try read.read(upToCount: 4096) == Data(bench.image[1_000_000..<1_004_096]))
        try read.close()
    }

    @Test func `the end does not wait for a store that hangs`() throws {
        let bench = try Bench()
        bench.store.hang()
        let readers = try bench.startReaders(30)
        waitUntil { bench.waitingCount == 30 }
        let start = ContinuousClock.now
        bench.finish()
        #expect(ContinuousClock.now - start < .seconds(2))
        (readers.standardInput as? Pipe)?.fileHandleForWriting.write(Data("x".utf8))
        readers.waitUntilExit()
        // They had their answer, an error, before the signal.
        #expect(readers.terminationStatus == 1)
    }

    @Test func `readers that are interrupted again and again are all answered once`() throws {
        let bench = try Bench()
        for round in 0..<10 {
            bench.store.hang()
            let readers = try bench.startReaders(20)
            if round % 2 == 0 { waitUntil { bench.waitingCount == 20 } } else { usleep(20_000) }
            (readers.standardInput as? Pipe)?.fileHandleForWriting.write(Data("x".utf8))
            bench.store.release()
            readers.waitUntilExit()
        }
        waitUntil { bench.waitingCount == 0 }
        #expect(try FileManager.default.contentsOfDirectory(atPath: bench.mountpoint).count == 4)
    }
}
