import Storage
import StorageTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct FaultInjectingStoreTests {
    let memory = InMemoryStore()

    /// A small job with every kind of change in it; undone as far as possible when a part fails.
    func job(_ store: FaultInjectingStore) throws {
        let upload = try store.upload(ObjectKey("a/archive"))
        do {
            for number in 0..<3 { try [UInt8(number), 0, 0].withUnsafeBytes { try upload.append($0) } }
            _ = try upload.complete()
        } catch {
            upload.abort()
            throw error
        }
        _ = try [7].withUnsafeBytes { try store.putIfAbsent(ObjectKey("a/manifest"), $0) }
        #expect(try store.list(prefix: "a/", after: nil, limit: 10).objects.count == 2)
    }

    @Test(arguments: [FaultInjectingStore.Persistence.once, .forGood])
    func `a job fails at each operation in turn and never leaves half an object`(
        persistence: FaultInjectingStore.Persistence
    ) throws {
        for index in 0..<20 {
            let memory = InMemoryStore()
            let store = FaultInjectingStore(memory)
            store.failOperation(index, persistence)
            do {
                try job(store)
            } catch let error as StorageError {
                #expect(error.code == .unavailable)
            }
            if let bytes = memory.bytes(of: try ObjectKey("a/archive")) { #expect(bytes.count == 9) }
            if store.faultCount == 0 {
                #expect(index == 7)
                return
            }
            // One fault is cleaned up after; when all fails from then on, abort does too.
            if persistence == .once { #expect(memory.uploadIdentifiers.isEmpty) }
        }
        Issue.record("the job never succeeded")
    }

    @Test func `only operations of the kind fail, with the code, and are counted`() throws {
        let store = FaultInjectingStore(memory)
        store.failOperation(1, of: .append, with: .noSpace)
        #expect { try job(store) } throws: { ($0 as? StorageError)?.code == .noSpace }
        #expect(store.count(of: .append) == 2)
        #expect(store.count(of: .upload) == 1)
        #expect(store.count(of: .complete) == 0)
        #expect(store.operationCount == 4)
        store.heal()
        store.resetCounts()
        try job(store)
        #expect(store.operationCount == 7)
    }

    @Test func `a lost answer leaves the effect`() throws {
        let store = FaultInjectingStore(memory)
        store.failOperation(0, of: .complete, .once, .afterEffect)
        #expect { try job(store) } throws: { ($0 as? StorageError)?.code == .unavailable }
        #expect(memory.keys.map(\.string) == ["a/archive"])
    }

    @Test func `a flipped bit is in every read that covers it`() throws {
        let store = FaultInjectingStore(memory)
        let key = try ObjectKey("a/b")
        _ = try [UInt8](repeating: 0, count: 10).withUnsafeBytes { try store.putIfAbsent(key, $0) }
        store.flipBit(3, at: 4, of: key)
        for (offset, count, expected) in [(0, 4, -1), (0, 5, 4), (4, 6, 0), (5, 5, -1)] {
            var bytes = [UInt8](repeating: 0, count: count)
            try bytes.withUnsafeMutableBytes { try store.read(key, at: UInt64(offset), into: $0) }
            #expect(bytes.firstIndex(of: 8) ?? -1 == expected)
        }
        #expect(store.readByteCount == 20)
    }

    @Test func `a delay is waited for`() throws {
        let store = FaultInjectingStore(memory)
        store.delay(.space, by: .milliseconds(30))
        let time = try ContinuousClock().measure { _ = try store.space() }
        #expect(time >= .milliseconds(30))
    }

    @Test func `a crash forgets uploads, and not what was completed`() throws {
        let key = try ObjectKey("a/b")
        _ = try memory.putIfAbsent(ObjectKey("a/done"), UnsafeRawBufferPointer(start: nil, count: 0))
        let upload = try memory.upload(key)
        memory.forgetUncompleted()
        #expect { _ = try upload.complete() } throws: { ($0 as? StorageError)?.code == .changed }
        #expect(memory.keys.map(\.string) == ["a/done"])
    }

    @Test func `a store in memory can be full or away`() throws {
        let small = InMemoryStore(capacity: 10)
        let upload = try small.upload(ObjectKey("a"))
        try [UInt8](repeating: 0, count: 10).withUnsafeBytes { try upload.append($0) }
        #expect { try [1].withUnsafeBytes { try upload.append($0) } } throws: {
            ($0 as? StorageError)?.code == .noSpace
        }
        #expect(try small.space()?.availableByteCount == 10)
        small.setAvailable(false)
        #expect { try small.list(prefix: "", after: nil, limit: 1) } throws: {
            ($0 as? StorageError)?.code == .unavailable
        }
    }
}
