import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    /// What was read of a bucket is on the disk: after a restart, without the store, and whatever becomes of that disk.
    @Suite("The disk cache, over S3", .serialized)
    struct Caches {
        private static let settings = """
            connect_seconds = 1
            stall_seconds = 1
            patience_seconds = 2
            """
        /// What lies from slot to slot in the cache's file, see RangeCache.md.
        private static let slotByteCount = 266_240

        /// A bench with a backup of 24 MiB, all of which is in the disk cache; not mounted.
        private func withWarmCache(_ body: (MountBench, LabProxy) throws -> Void) throws {
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: 5)
            defer { lab.stop() }
            let bench = try MountBench(
                on: .ceph, through: lab, bucketSettings: Self.settings,
                config: "[cache]\ndisk = \"64MiB\"\nmin_free = 0")
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw' && cmp a.raw '\(bench.latest)/disk.raw'")
            try bench.unmount()
            try settle(bench, lab)
            try body(bench, lab)
        }

        /// Mounts and counts: what the body asks the store for, and the blocks that were found bad meanwhile.
        private func mounted(
            _ bench: MountBench, _ lab: LabProxy, _ body: () throws -> Void
        ) throws -> (gets: Int, badBlocks: Int) {
            try bench.startMount()
            try lab.resetCounters()
            try body()
            let gets = try lab.counters().requests(.get)
            let bad = try bench.run("jq .cache.bad_blocks mnt/status.json")
            return (gets, try #require(Int(bad)))
        }

        /// Reads all through fresh mounts until one needs no store. On a busy machine the cache lets a write go by rather than
        /// hold a reader up, and what it left out comes with the next reading.
        private func settle(
            _ bench: MountBench, _ lab: LabProxy, _ location: SourceLocation = #_sourceLocation
        ) throws {
            var gets: [Int] = []
            while gets.last != 0, gets.count < 6 {
                let seen = try mounted(bench, lab) { try bench.run("cmp a.raw '\(bench.latest)/disk.raw'") }
                try bench.unmount()
                #expect(seen.badBlocks == 0, sourceLocation: location)
                gets.append(seen.gets)
            }
            #expect(gets.last == 0, "\(gets)", sourceLocation: location)
        }

        private func flip(_ bench: MountBench, _ file: String, at offset: Int) throws {
            try bench.run(
                """
                python3 -c "
                f=open('state/cache/v1/\(file)','r+b'); f.seek(\(offset)); b=f.read(1)[0]; f.seek(\(offset)); f.write(bytes([b^16]))
                "
                """)
        }

        @Test(.timeLimit(.minutes(2)))
        func `what was read once is read again without the store, after a restart and after SIGKILL`() throws {
            try withWarmCache { bench, lab in
                for network in [LabProxy.Network.working, .dead, .refusing] {
                    try lab.setNetwork(network)
                    let seen = try mounted(bench, lab) { try bench.run("cmp a.raw '\(bench.latest)/disk.raw'") }
                    #expect(seen == (0, 0), "\(network)")
                    if network == .dead { try bench.killDaemon() } else { try bench.unmount() }
                }
                // What was not written yet when the daemon was killed is fetched, and no more than that.
                try lab.setNetwork(.working)
                try bench.run("rm -r state/cache")
                try bench.startMount()
                try bench.run("cmp a.raw '\(bench.latest)/disk.raw'")
                try bench.killDaemon()
                let first = try mounted(bench, lab) { try bench.run("cmp a.raw '\(bench.latest)/disk.raw'") }
                #expect(first.badBlocks <= 1, "the block that was being written")
                try bench.unmount()
                try settle(bench, lab)
            }
        }

        @Test(.timeLimit(.minutes(2)), arguments: ["data", "index"])
        func `a bit that flips on the disk is noticed, and the range fetched once more`(file: String) throws {
            try withWarmCache { bench, lab in
                let offset = file == "data" ? 5 * Self.slotByteCount + 100_000 : 4096 + 5 * 160 + 70
                try flip(bench, file, at: offset)
                // Without the store the range is an error; all others are read.
                try lab.setNetwork(.refusing)
                let without = try mounted(bench, lab) {
                    let result = try bench.python(
                        """
                        good=open('a.raw','rb').read(); f=os.open('\(bench.latest)/disk.raw',os.O_RDONLY); failed=[]
                        for o in range(0,len(good),1<<20):
                            try: got=os.pread(f,1<<20,o)
                            except OSError as e:
                                assert e.errno in (errno.EIO,errno.ETIMEDOUT), e
                                failed.append(o>>20); continue
                            if got!=good[o:o+(1<<20)]: sys.exit(f'wrong bytes at {o}')
                        # A segment may belong to two frames.
                        if not 1<=len(failed)<=2: sys.exit(f'failed: {failed}')
                        """)
                    #expect(result.status == 0, "\(result)")
                }
                #expect(without.badBlocks == (file == "data" ? 1 : 0), "an entry that is not whole is not taken in")
                try bench.unmount()
                try lab.setNetwork(.working)
                let seen = try mounted(bench, lab) { try bench.run("cmp a.raw '\(bench.latest)/disk.raw'") }
                #expect((1...2).contains(seen.gets) && seen.badBlocks == 0, "\(seen)")
                try bench.unmount()
                try settle(bench, lab)
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `a bit that flips while it is mounted is noticed as well`() throws {
            try withWarmCache { bench, lab in
                let seen = try mounted(bench, lab) {
                    try flip(bench, "data", at: 5 * Self.slotByteCount + 100_000)
                    try bench.run("cmp a.raw '\(bench.latest)/disk.raw'")
                }
                #expect((1...2).contains(seen.gets) && seen.badBlocks == 1, "\(seen)")
                try bench.unmount()
                try settle(bench, lab)
            }
        }

        /// The store gave wrong bytes: they are stored with a checksum that holds, and only the AEAD finds them out.
        @Test(.timeLimit(.minutes(2)), arguments: [true, false])
        func `wrong bytes from the store do not stay in the cache`(isTheSameMount: Bool) throws {
            try withWarmCache { bench, lab in
                try bench.run("rm -r state/cache")
                try bench.startMount()
                let rule = try lab.add(FaultRule(.flipBit(at: 70_000), on: .get, count: 1))
                #expect(try bench.shell("cmp a.raw '\(bench.latest)/disk.raw'").status != 0)
                #expect(try lab.counters().fired(rule) == 1)
                if !isTheSameMount {
                    try bench.unmount()
                    try bench.startMount()
                }
                for _ in 0..<2 { try bench.run("cmp a.raw '\(bench.latest)/disk.raw'") }
                try bench.unmount()
                try settle(bench, lab)
            }
        }
    }
}
