import Foundation
import FuseBridge
import Glibc
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

        func startReaders(_ count: Int, from first: Int = 0) throws -> Readers {
            try Readers(first..<first + count, of: disk)
        }
    }

    /// Processes that each read 4 KiB at another place, all at once; none of them is cached.
    private final class Readers {
        private var process = pid_t()
        private var control: (read: Int32, write: Int32) = (-1, -1)

        init(_ places: Range<Int>, of path: String) throws {
            let program = """
                import os,signal,sys
                signal.pthread_sigmask(signal.SIG_SETMASK,[]); signal.signal(signal.SIGINT,signal.SIG_DFL)
                children=[]
                for i in range(\(places.lowerBound),\(places.upperBound)):
                    p=os.fork()
                    if p==0:
                        try: os.pread(os.open(sys.argv[1],os.O_RDONLY),4096,1000000+i*65536)
                        except OSError: os._exit(1)
                        os._exit(0)
                    children.append(p)
                os.read(0,1)
                for p in children: os.kill(p,signal.SIGINT)
                sys.exit(sum(os.waitpid(p,0)[1]==signal.SIGINT for p in children))
                """
            var pipe: [Int32] = [0, 0]
            try #require(Glibc.pipe(&pipe) == 0)
            control = (pipe[0], pipe[1])
            for end in pipe { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, pipe[0], 0)
            var arguments: [UnsafeMutablePointer<CChar>?] = ["python3", "-c", program, path].map { (text: String) in
                strdup(text)
            }
            arguments.append(nil)
            defer { for argument in arguments { free(argument) } }
            try #require(posix_spawn(&process, "/usr/bin/python3", &actions, nil, &arguments, environ) == 0)
        }

        deinit {
            close(control.read)
            close(control.write)
        }

        /// Interrupts those that still wait; gives how many a signal has ended.
        func interrupt() -> Int {
            write(control.write, "x", 1)
            var status: Int32 = 0
            waitpid(process, &status, 0)
            return Int(status >> 8)
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
        #expect(try FileManager.default.contentsOfDirectory(atPath: bench.mountpoint).count == 5)
        #expect(try FileManager.default.attributesOfItem(atPath: bench.disk)[.size] as? Int == bench.image.count)
        #expect(readers.interrupt() == 100)
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
        // They have their answer, an error, and have ended with it.
        usleep(300_000)
        #expect(readers.interrupt() == 0)
    }

    @Test func `readers that are interrupted again and again are all answered once`() throws {
        let bench = try Bench()
        for round in 0..<5 {
            bench.store.hang()
            let readers = try bench.startReaders(20, from: 20 * round)
            if round % 2 == 0 { waitUntil { bench.waitingCount == 20 } } else { usleep(20_000) }
            bench.store.release()
            _ = readers.interrupt()
        }
        waitUntil { bench.waitingCount == 0 }
        #expect(try FileManager.default.contentsOfDirectory(atPath: bench.mountpoint).count == 5)
    }
}
