package import Storage

/// What every store must do, as named checks that any test target can run against its store.
///
/// With Swift Testing: `@Test(arguments: ObjectStoreConformance.checks)`, and in it `try check.run(on: makeStore())`.
/// Each check wants an empty store and leaves what it likes in it.
package enum ObjectStoreConformance {
    package struct Check: Sendable, CustomStringConvertible {
        /// A sentence: what a store does.
        package let name: String
        private let body: @Sendable (any ObjectStore) throws -> Void

        init(_ name: String, _ body: @escaping @Sendable (any ObjectStore) throws -> Void) {
            self.name = name
            self.body = body
        }

        package var description: String { name }

        /// Throws ``ConformanceFailure`` with the name of the check.
        package func run(on store: any ObjectStore) throws {
            do {
                try body(store)
            } catch {
                throw ConformanceFailure(check: name, store: store.name, cause: error)
            }
        }
    }

    package static let checks: [Check] =
        uploadChecks + readChecks + listChecks + deleteChecks + exclusionChecks

    /// Runs all checks, each on a new store, and returns what failed.
    package static func run(makeStore: () throws -> any ObjectStore) throws -> [ConformanceFailure] {
        var failures: [ConformanceFailure] = []
        for check in checks {
            let store = try makeStore()
            do {
                try check.run(on: store)
            } catch let failure as ConformanceFailure {
                failures.append(failure)
            }
        }
        return failures
    }
}

/// A store did not keep a part of the contract.
package struct ConformanceFailure: Error, CustomStringConvertible {
    package let check: String
    package let store: String
    package let cause: any Error

    package var description: String { "store \"\(store)\", \"\(check)\": \(cause)" }
}

/// An expectation in a check that was not met.
struct Expectation: Error, CustomStringConvertible {
    let description: String

    static func that(_ condition: Bool, _ description: @autoclosure () -> String) throws {
        if !condition { throw Expectation(description: description()) }
    }

    static func equal<Value: Equatable>(_ value: Value, _ expected: Value, _ what: String) throws {
        try that(value == expected, "\(what) is \(value), not \(expected)")
    }

    static func fails(
        _ code: StorageError.Code, _ what: String, _ body: () throws(StorageError) -> Void
    ) throws {
        do {
            try body()
        } catch {
            return try equal(error.code, code, "the error of \(what)")
        }
        throw Expectation(description: "\(what) succeeded, and should have failed with \(code)")
    }
}

extension ObjectStore {
    /// Bytes that differ at every offset near by, and between seeds.
    static func sample(_ byteCount: Int, seed: UInt64 = 1) -> [UInt8] {
        var value = seed &* 0x9e37_79b9_7f4a_7c15 | 1
        return (0..<byteCount).map { _ in
            // xorshift64 of Marsaglia.
            value ^= value << 13
            value ^= value >> 7
            value ^= value << 17
            return UInt8(truncatingIfNeeded: value >> 32)
        }
    }

    @discardableResult
    func put(_ key: String, _ bytes: [UInt8] = [1, 2, 3]) throws -> ObjectFacts {
        let key = try ObjectKey(key)
        return try bytes.withUnsafeBytes { try putIfAbsent(key, $0) }
    }

    func bytes(_ key: String, at offset: UInt64, count: Int) throws -> [UInt8] {
        let key = try ObjectKey(key)
        var bytes = [UInt8](repeating: 0xee, count: count)
        try bytes.withUnsafeMutableBytes { try read(key, at: offset, into: $0) }
        return bytes
    }

    func keys(prefix: String = "", limit: Int = 1000) throws -> [String] {
        var keys: [String] = []
        var after: String?
        repeat {
            let page = try list(prefix: prefix, after: after, limit: limit)
            try Expectation.that(page.objects.count <= limit, "a page is longer than \(limit)")
            keys += page.objects.map(\.key.string)
            after = page.next
        } while after != nil
        return keys
    }

    func isAbsent(_ key: String) throws -> Bool {
        do {
            _ = try head(ObjectKey(key))
            return false
        } catch {
            if error.code == .absent { return true }
            throw error
        }
    }
}

extension ObjectUpload {
    func append(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try append($0) }
    }
}
