internal import Glibc
internal import Storage
internal import Synchronization

extension ObjectStoreConformance {
    static let exclusionChecks: [Check] = [
        Check("an object is never replaced") { store in
            try store.put("a/b", [1])
            try Expectation.fails(.alreadyExists, "putIfAbsent") { () throws(StorageError) in
                _ = try store.putIfAbsent(ObjectKey("a/b"), UnsafeRawBufferPointer(start: nil, count: 0))
            }
            try Expectation.fails(.alreadyExists, "an upload") { () throws(StorageError) in
                let upload = try store.upload(ObjectKey("a/b"))
                defer { upload.abort() }
                _ = try upload.complete()
            }
            try Expectation.equal(try store.bytes("a/b", at: 0, count: 1), [1], "the content")
        },
        Check("of several uploads to one key one completes") { store in
            let key = try ObjectKey("a/b")
            for round in 0..<20 {
                let outcomes = try inParallel(8) { number in
                    let upload = try store.upload(key)
                    defer { upload.abort() }
                    try upload.append([UInt8(number)])
                    do throws(StorageError) {
                        _ = try upload.complete()
                        return UInt8(number)
                    } catch {
                        if error.code == .alreadyExists { return nil }
                        throw error
                    }
                }
                let winners = outcomes.compactMap { $0 }
                try Expectation.equal(winners.count, 1, "the number of winners in round \(round)")
                try Expectation.equal(try store.bytes("a/b", at: 0, count: 1), winners, "the content")
                try store.delete(key)
            }
        },
        Check("uploads succeed while others delete in the same folders") { store in
            _ = try inParallel(6) { number -> UInt8? in
                let key = try ObjectKey("org/vm/date/disk\(number)")
                for round in 0..<40 {
                    let byte = UInt8(round)
                    try store.put(key.string, [byte])
                    try Expectation.equal(try store.bytes(key.string, at: 0, count: 1), [byte], "the content")
                    try store.delete(key)
                }
                return nil
            }
            try Expectation.equal(try store.keys(), [], "the listing")
        },
        Check("readers in parallel get the right bytes") { store in
            let bytes = type(of: store).sample(1 << 20)
            try store.put("a/b", bytes)
            _ = try inParallel(6) { number -> UInt8? in
                for round in 0..<50 {
                    let offset = (number * 131_071 + round * 8_191) % (bytes.count - 4096)
                    try Expectation.that(
                        try store.bytes("a/b", at: UInt64(offset), count: 4096) == Array(bytes[offset..<offset + 4096]),
                        "4096 bytes at \(offset) are wrong")
                }
                return nil
            }
        },
    ]

    private struct Outcomes: Sendable {
        var values: [UInt8?] = []
        var failure: (any Error)?
    }

    /// Runs the body on this many threads of its own, and throws the first error.
    static func inParallel(
        _ count: Int, _ body: @escaping @Sendable (Int) throws -> UInt8?
    ) throws -> [UInt8?] {
        final class Job: Sendable {
            let outcomes = Mutex(Outcomes())
            let number: Int
            let body: @Sendable (Int) throws -> UInt8?
            init(_ number: Int, _ body: @escaping @Sendable (Int) throws -> UInt8?) {
                self.number = number
                self.body = body
            }
            func run() {
                let result = Result { try body(number) }
                outcomes.withLock { outcomes in
                    switch result {
                    case .success(let value): outcomes.values.append(value)
                    case .failure(let error): outcomes.failure = error
                    }
                }
            }
        }
        let jobs = (0..<count).map { Job($0, body) }
        let threads = try jobs.map { job in
            var thread = pthread_t()
            let status = pthread_create(
                &thread, nil,
                { context in
                    Unmanaged<Job>.fromOpaque(context!).takeRetainedValue().run()
                    return nil
                }, Unmanaged.passRetained(job).toOpaque())
            try Expectation.equal(status, 0, "the status of pthread_create")
            return thread
        }
        for thread in threads { pthread_join(thread, nil) }
        return try jobs.map { job in
            let outcomes = job.outcomes.withLock { $0 }
            if let failure = outcomes.failure { throw failure }
            return outcomes.values[0]
        }
    }
}
