import Glibc
import Synchronization
import Testing
import Workers

@Suite("Workers")
struct WorkerTests {
    @Test(.timeLimit(.minutes(1)))
    func `a lane runs its jobs one at a time and in order`() {
        let pool = WorkerPool(threadCount: 4)
        let lane = SerialLane(on: pool, priority: .ordinary)
        let seen = Shared<[Int]>([])
        let inside = Counter()
        let overlaps = Counter()
        for number in 0..<1000 {
            lane.submit {
                if inside.value.add(1, ordering: .relaxed).newValue != 1 { overlaps.value.add(1, ordering: .relaxed) }
                seen.value.withLock { $0.append(number) }
                inside.value.subtract(1, ordering: .relaxed)
            }
        }
        lane.drain()
        pool.close()
        #expect(seen.value.withLock { $0 } == Array(0..<1000))
        #expect(overlaps.value.load(ordering: .relaxed) == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `urgent jobs overtake read-ahead`() {
        let pool = WorkerPool(threadCount: 1)
        let gate = Monitor(false)
        let order = Shared<[String]>([])
        pool.submit(.ordinary) { gate.wait { $0 ? () : nil } }
        pool.submit(.readAhead) { order.value.withLock { $0.append("read-ahead") } }
        pool.submit(.ordinary) { order.value.withLock { $0.append("ordinary") } }
        pool.submit(.urgent) { order.value.withLock { $0.append("urgent") } }
        gate.withLock { $0 = true }
        pool.close()
        #expect(order.value.withLock { $0 } == ["urgent", "ordinary", "read-ahead"])
    }

    @Test(.timeLimit(.minutes(1)))
    func `closing a pool runs what is queued`() {
        let pool = WorkerPool(threadCount: 2)
        let counter = Counter()
        for _ in 0..<100 { pool.submit(.ordinary) { counter.value.add(1, ordering: .relaxed) } }
        pool.close()
        #expect(counter.value.load(ordering: .relaxed) == 100)
    }

    @Test
    func `a buffer pool keeps its cap and reuses what comes back`() {
        let pool = BufferPool(capacityByteCount: 3 << 20)
        var held: [Buffer] = []
        for _ in 0..<3 { if let buffer = pool.take(byteCount: 1 << 20) { held.append(buffer) } }
        #expect(held.count == 3)
        #expect(pool.take(byteCount: 1) == nil)
        held.removeLast()
        #expect(pool.usedByteCount == 2 << 20)
        // Another size makes room by unmapping the block at rest.
        #expect(pool.take(byteCount: 4096) != nil)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a waiting taker goes on when a buffer comes back`() {
        let pool = BufferPool(capacityByteCount: 1 << 20)
        let first = Shared(pool.take(byteCount: 1 << 20))
        let thread = NativeThread(name: "giver") {
            usleep(20_000)
            first.value.withLock { $0 = nil }
        }
        let second = pool.takeWaiting(byteCount: 1 << 20)
        #expect(second.bytes.count == 1 << 20)
        thread.join()
    }

    @Test
    func `a wait with a limit ends without a change`() {
        let monitor = Monitor(0)
        #expect(monitor.wait(milliseconds: 30) { $0 == 1 ? true : nil } == nil)
    }

    @Test(arguments: [0, 1, 63, 64, 65, 4096, 100_001])
    func `all-zero is seen, and any single bit breaks it`(count: Int) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        #expect(UnsafeRawBufferPointer(bytes).isAllZero)
        for position in Set([0, 1, count / 2, count - 2, count - 1]) where position >= 0 && position < count {
            bytes[position] = 1
            #expect(!UnsafeRawBufferPointer(bytes).isAllZero, "byte \(position) of \(count)")
            bytes[position] = 0
        }
    }

    /// A lock that closures can hold.
    final class Shared<Value: Sendable>: Sendable {
        let value: Mutex<Value>
        init(_ value: Value) { self.value = Mutex(value) }
    }

    /// A counter that closures can hold.
    final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }
}
