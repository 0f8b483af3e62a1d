internal import Archive
package import BackupNames
package import Catalog
internal import CryptoPrimitives
internal import Glibc
internal import Logging
internal import Storage

/// How a test of a backend went.
package struct BackendTestReport: Sendable {
    /// What is done, in this order. Each looks at what the one before has made.
    package enum Step: String, Sendable, CaseIterable {
        /// One request, for one that is away is to be told soon.
        case reach
        /// What an earlier test left.
        case clean
        case write
        /// Small requests, for the latency.
        case look
        /// All of it, as a restore does, and its hash.
        case read
        /// Parts from anywhere, byte for byte.
        case ranges
        case list
        case remove
    }

    /// How long each step took that went well.
    package fileprivate(set) var milliseconds: [Step: Int64] = [:]
    package fileprivate(set) var failure: (step: Step, error: EngineError)?
    /// The store locks whatever is written: until then the probe's bytes stay, hidden.
    package fileprivate(set) var lockedUntil: Int64?
    /// What went into the catalog.
    package fileprivate(set) var record: BackendTestRecord
    package let byteCount: UInt64
}

/// Trying a backend out: a probe object is written, looked at, read, read in ranges, listed and removed. What is measured goes into the
/// catalog. Whatever becomes of it, the probe is removed; what a process that was killed has left goes with the next test, or `gc`.
extension Engine {
    private static let rangeCount = 8
    private static let rangeByteCount = 64 << 10
    private static let lookCount = 5

    /// Throws `.busy` where another process tests it, `.cancelled` where `isStopped` said so, and what the catalog says; all else is a
    /// result. `progress` tells the step, and the bytes of it.
    package func test(
        _ name: ResourceName, byteCount: UInt64, isStopped: () -> Bool = { false },
        progress: (BackendTestReport.Step, _ done: UInt64, _ total: UInt64) -> Void = { _, _, _ in }
    ) throws(EngineError) -> BackendTestReport {
        do {
            let backend = try backend(name)
            return try asOnlyTester(of: backend) {
                let probe = try BackendProbe(at: backend, origin: catalog.origin(), byteCount: byteCount)
                var run = BackendTestRun(
                    engine: self, backend: backend, probe: probe, startedAt: clock.secondsSince1970)
                let report = run.perform(isStopped, progress)
                if report.failure?.error.code == .cancelled { throw EngineError(.cancelled, "the test is given up") }
                try catalog.addBackendTest(report.record)
                return report
            }
        } catch {
            throw EngineError(error, subject: "testing \"\(name)\"")
        }
    }

    fileprivate typealias TestProgress = (BackendTestReport.Step, _ done: UInt64, _ total: UInt64) -> Void

    fileprivate struct BackendTestRun {
        let engine: Engine
        let backend: Backend
        let probe: BackendProbe
        let startedAt: Int64
        private var digest: SHA256Digest?
        private var latencyMicroseconds: Int64 = 0
        private var milliseconds: [BackendTestReport.Step: Int64] = [:]
        private var lockedUntil: Int64?

        init(engine: Engine, backend: Backend, probe: BackendProbe, startedAt: Int64) {
            self.engine = engine
            self.backend = backend
            self.probe = probe
            self.startedAt = startedAt
        }

        mutating func perform(_ isStopped: () -> Bool, _ progress: TestProgress) -> BackendTestReport {
            var failure: (step: BackendTestReport.Step, error: EngineError)?
            var isWritten = false
            for step in BackendTestReport.Step.allCases {
                let start = Self.microseconds
                do {
                    if isStopped() { throw EngineError(.cancelled, "stopped") }
                    if step == .write { isWritten = true }
                    try perform(step) { done, total in
                        if isStopped() { throw EngineError(.cancelled, "stopped") }
                        progress(step, done, total)
                    }
                    milliseconds[step] = (Self.microseconds - start + 500) / 1000
                    if step == .remove { isWritten = false }
                } catch {
                    failure = (step, EngineError(error, subject: "\(step.rawValue)"))
                    break
                }
            }
            // What failed half way may be there all the same.
            if isWritten {
                do throws(StorageError) {
                    lockedUntil = try engine.removeProbe(probe.key, at: backend)
                } catch {
                    engine.log.warning("\(backend.name): the probe \(probe.key) is left to the next test: \(error)")
                }
            }
            var report = BackendTestReport(record: record(failure), byteCount: probe.byteCount)
            report.milliseconds = milliseconds
            report.failure = failure
            report.lockedUntil = lockedUntil
            return report
        }

        private func record(_ failure: (step: BackendTestReport.Step, error: EngineError)?) -> BackendTestRecord {
            func rate(_ step: BackendTestReport.Step) -> Int64 {
                milliseconds[step].map { Int64(clamping: probe.byteCount * 1000 / UInt64(max(1, $0))) } ?? 0
            }
            return BackendTestRecord(
                backend: backend.name, testedAt: startedAt,
                outcome: failure?.error.code.rawValue ?? BackendTestRecord.good, detail: failure?.error.detail ?? "",
                latencyMicroseconds: latencyMicroseconds, upBytesPerSecond: rate(.write),
                downBytesPerSecond: rate(.read))
        }

        private mutating func perform(_ step: BackendTestReport.Step, _ progress: ProgressReport) throws {
            let store = backend.store
            switch step {
            case .reach: try store.check()
            case .clean:
                let count = try engine.removeProbes(at: backend)
                if count > 0 { engine.log.notice("\(backend.name): \(count) left-overs of earlier tests are removed") }
            case .write: try write(progress)
            case .look:
                var times: [Int64] = []
                for _ in 0..<Engine.lookCount {
                    let start = Self.microseconds
                    guard try store.head(probe.key).byteCount == probe.byteCount else {
                        throw EngineError(.truncated, "the probe has another size than was written")
                    }
                    times.append(Self.microseconds - start)
                }
                latencyMicroseconds = max(1, times.sorted()[times.count / 2])
            case .read:
                let source = StoredObject(store: store, key: probe.key, byteCount: probe.byteCount)
                let found = try ArchiveHash.compute(
                    of: source, fetchers: engine.fetchers(of: backend.name), isRemote: backend.isRemote, progress)
                guard found == digest else {
                    throw EngineError(.damaged, "other bytes were read than were written")
                }
            case .ranges: try readRanges()
            case .list:
                let page = try store.list(prefix: probe.key.string, after: nil, limit: 10)
                guard page.objects.contains(where: { $0.key == probe.key && $0.byteCount == probe.byteCount }) else {
                    throw EngineError(.notFound, "the probe was written and is not listed")
                }
            case .remove:
                lockedUntil = try engine.removeProbe(probe.key, at: backend)
                guard try engine.facts(of: probe.key, at: backend) == nil else {
                    throw EngineError(.backendDenied, "the probe is removed and still there")
                }
            }
        }

        private mutating func write(_ progress: ProgressReport) throws {
            let upload = try backend.store.upload(probe.key)
            do {
                var hasher = SHA256Hasher()
                var part = [UInt8](repeating: 0, count: 1 << 20)
                var done: UInt64 = 0
                while done < probe.byteCount {
                    let count = Int(min(UInt64(part.count), probe.byteCount - done))
                    try part.withUnsafeMutableBytes { bytes in
                        let bytes = UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
                        probe.fill(bytes, at: done)
                        hasher.update(UnsafeRawBufferPointer(bytes))
                        try upload.append(UnsafeRawBufferPointer(bytes))
                    }
                    done += UInt64(count)
                    try progress(done, probe.byteCount)
                }
                _ = try upload.complete()
                digest = hasher.finalize()
            } catch {
                upload.abort()
                try? backend.store.abortUpload(identifier: upload.identifier, key: probe.key)
                throw error
            }
        }

        private func readRanges() throws {
            var (read, expected) = ([UInt8](), [UInt8]())
            for index in 0..<Engine.rangeCount {
                let count = min(Engine.rangeByteCount, Int(probe.byteCount))
                // The first bytes, the last ones, and what lies anywhere.
                let last = probe.byteCount - UInt64(count)
                let offset = index == 0 ? 0 : index == 1 ? last : UInt64.random(in: 0...last)
                read = [UInt8](repeating: 0, count: count)
                expected = read
                try read.withUnsafeMutableBytes { try backend.store.read(probe.key, at: offset, into: $0) }
                expected.withUnsafeMutableBytes { probe.fill($0, at: offset) }
                guard read == expected else {
                    throw EngineError(.damaged, "other bytes were read at \(offset) than were written there")
                }
            }
        }

        private static var microseconds: Int64 {
            var now = timespec()
            clock_gettime(CLOCK_MONOTONIC, &now)
            return Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000
        }
    }
}
