import BackupEngine
import Storage
import StorageTesting
import Synchronization
import Testing
import Workers

@Suite("Leases between hosts", .timeLimit(.minutes(1)))
struct FleetLeaseTests {
    private func leases(_ bench: EngineBench) throws -> FleetLeases { try FleetLeases(bench.engine, at: bench.backend) }

    @Test func `a lease is one host's until it is given back`() throws {
        let bench = try EngineBench()
        let (ours, theirs) = (try leases(bench), try leases(bench))
        let lease = try #require(try ours.take("disk/acme/web/disk", seconds: 600))
        #expect(try theirs.take("disk/acme/web/disk", seconds: 600) == nil)
        #expect(try theirs.take("disk/acme/web/data", seconds: 600) != nil)
        lease.end()
        #expect(try theirs.take("disk/acme/web/disk", seconds: 600) != nil)
    }

    @Test func `one host has a lease once, too`() throws {
        let bench = try EngineBench()
        let ours = try leases(bench)
        let lease = try #require(try ours.take("place/local/0", seconds: 600))
        #expect(try ours.take("place/local/0", seconds: 600) == nil)
        let other = try #require(try ours.take("place/local/1", seconds: 600))
        lease.end()
        // Ended twice it is nobody else's.
        let again = try #require(try ours.take("place/local/0", seconds: 600))
        lease.end()
        #expect(try ours.take("place/local/0", seconds: 600) == nil && again.isHeld && other.isHeld)
        // One that came to nothing can be tried again.
        bench.memory.setAvailable(false)
        #expect(bench.code { _ = try ours.take("x", seconds: 600) } != nil)
        bench.memory.setAvailable(true)
        #expect(try ours.take("x", seconds: 600) != nil)
    }

    @Test func `a lease whose host is gone is anybody's once it has expired, and clocks may differ`() throws {
        let bench = try EngineBench()
        let (ours, theirs) = (try leases(bench), try leases(bench))
        let lease = try #require(try ours.take("x", seconds: 600))
        bench.clock.advance(599)
        #expect(lease.isHeld)
        bench.clock.advance(1)
        #expect(!lease.isHeld)
        #expect(bench.code { try lease.renew(seconds: 600) } == .cancelled)
        bench.clock.advance(FleetLeases.skewSeconds - 1)
        #expect(try theirs.take("x", seconds: 600) == nil)
        bench.clock.advance(1)
        #expect(try theirs.take("x", seconds: 600) != nil)
        // What had expired is gone.
        #expect(bench.memory.keys.count == 1)
    }

    @Test func `a lease that is renewed goes on`() throws {
        let bench = try EngineBench()
        let (ours, theirs) = (try leases(bench), try leases(bench))
        let lease = try #require(try ours.take("x", seconds: 600))
        for _ in 0..<10 {
            bench.clock.advance(500)
            try lease.renew(seconds: 600)
            #expect(lease.isHeld && bench.memory.keys.count == 1)
            #expect(try theirs.take("x", seconds: 600) == nil)
        }
        lease.end()
        #expect(bench.memory.keys.isEmpty)
    }

    @Test func `of many who come at once at most one has it`() throws {
        for round in 0..<20 {
            let bench = try EngineBench()
            let won = Mutex(0)
            let all = try (0..<8).map { _ in try leases(bench) }
            forEachInParallel(all, threadCount: 8) { leases in
                if let lease = try? leases.take("x", seconds: 600), lease.isHeld { won.withLock { $0 += 1 } }
            }
            #expect(won.withLock { $0 } <= 1, "round \(round)")
        }
    }

    /// The second look is what keeps two who came at the same moment apart.
    @Test func `who comes between the first look and the claim is seen by the second look`() throws {
        let bench = try EngineBench()
        let (ours, theirs) = (try leases(bench), try leases(bench))
        let their = Mutex<FleetLease?>(nil)
        bench.store.afterOperation(0, of: .list) {
            let lease = try? theirs.take("x", seconds: 600)
            their.withLock { $0 = lease }
        }
        #expect(try ours.take("x", seconds: 600) == nil)
        #expect(their.withLock { $0 != nil })
        #expect(bench.memory.keys.count == 1)
    }

    @Test(arguments: [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `a store that fails gives no lease, and leaves nobody locked out for longer than one lasts`(
        moment: FaultInjectingStore.Moment
    ) throws {
        for operation in 0..<4 {
            let bench = try EngineBench()
            bench.store.failOperation(operation, .forGood, moment)
            let taken = bench.code { _ = try leases(bench).take("x", seconds: 600) }
            #expect((taken != nil) == (operation <= 2), "\(operation)")
            bench.store.heal()
            bench.clock.advance(600 + FleetLeases.skewSeconds)
            #expect(try leases(bench).take("x", seconds: 600) != nil)
        }
    }

    @Test func `claims that nobody can have made count for nothing`() throws {
        let bench = try EngineBench()
        let now = bench.clock.secondsSince1970
        for name in ["\(now + 400 * 86_400).planted.1", "x.y.z", "\(now + 60)..1", "\(now + 60)", "\(now - 999).old.1"]
        {
            _ = try bench.memory.putIfAbsent(
                ObjectKey(".leases/x/\(name)"), UnsafeRawBufferPointer(start: nil, count: 0))
        }
        #expect(try leases(bench).take("x", seconds: 600) != nil)
    }
}
