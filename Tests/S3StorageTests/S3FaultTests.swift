import Foundation
import HTTPTransport
import Storage
import TestSupport
import Testing
import Workers

@testable import S3Storage

/// Every fault at every kind of request, between the store and a real server: the operation succeeds with the right bytes, or
/// fails with an error that says why; it always ends; and nothing is left that is not in a list of what is left.
@Suite(
    "S3: faults", .serialized, .timeLimit(.minutes(5)),
    .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
struct S3FaultTests {
    private static let bytes = sample((11 << 20) + 7)

    struct Case: Sendable, CustomStringConvertible {
        let fault: Fault
        /// What must come out when it happens once: nil is success.
        var once: StorageError.Code?
        var description: String { fault.description }

        init(_ fault: Fault, once: StorageError.Code? = nil) {
            self.fault = fault
            self.once = once
        }
    }

    private func bench(
        _ body: (TestStore, LabProxy) throws -> Void, change: (inout S3Settings) -> Void = { _ in }
    ) throws {
        let server = try S3Server.shared(.ceph)
        let lab = try LabProxy(to: server, seed: 7)
        defer { lab.stop() }
        let bench = try TestStore(server, through: lab, abilities: .ceph, change)
        defer { bench.store.close() }
        try body(bench, lab)
        // Whatever happened: nothing is left of uploads once somebody has looked.
        try lab.clearRules()
        try lab.setNetwork(.working)
        _ = try bench.store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: [])
        #expect(try bench.store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: []) == [])
    }

    // MARK: Reading

    @Test(arguments: [
        Case(.slowDown), Case(.internalError), Case(.resetBefore), Case(.resetAfter), Case(.resetBody(after: 1000)),
        Case(.stallRequest()), Case(.stallBody(after: 1000)), Case(.shortBody(after: 1000)),
        Case(.shortBody(after: 1000, lie: true)), Case(.wrongRange(.claim)), Case(.wrongRange(.bytesAndClaim)),
        Case(.ignoreRange), Case(.duplicateHeaders()), Case(.reorderHeaders), Case(.clockSkew(hours: 3)),
        Case(.status(503, code: "SlowDown", retryAfter: 1)), Case(.status(429)), Case(.status(502)), Case(.status(504)),
        Case(.status(400, code: "RequestTimeout")), Case(.otherRegion("eu-west-3")),
        Case(.status(403, code: "AccessDenied"), once: .denied), Case(.status(404, code: "NoSuchKey"), once: .absent),
        Case(.status(404, code: "NoSuchBucket"), once: .noSuchStore), Case(.wrongETag, once: .changed),
    ]) func `a read survives it once, or says what it is`(fault: Case) throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/b", sample(100_000))
            _ = try bench.store.bytes("a/b", at: 0, count: 10)
            let rule = try lab.add(FaultRule(fault.fault, on: .get, count: 1))
            var bytes: [UInt8] = []
            let failure = code { bytes = try bench.store.bytes("a/b", at: 1234, count: 50_000) }
            #expect(failure == fault.once)
            #expect(try lab.counters().fired(rule) == 1)
            if failure == nil { #expect(bytes == Array(sample(100_000)[1234..<51_234])) }
            // It is over: the next one works.
            #expect(try bench.store.bytes("a/b", at: 5, count: 7) == Array(sample(100_000)[5..<12]))
        }
    }

    @Test(arguments: [Fault.slowDown, .internalError, .resetBefore, .stallRequest(), .shortBody(after: 10)])
    func `a read that never succeeds ends within its patience`(fault: Fault) throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/b", sample(1000))
            _ = try lab.add(FaultRule(fault, on: .get))
            let start = ContinuousClock.now
            let failure = code { _ = try bench.store.bytes("a/b", at: 0, count: 1000) }
            #expect(
                [.unavailable, .throttled, .timedOut, .corrupt].contains(failure), "\(String(describing: failure))")
            #expect(ContinuousClock.now - start < .seconds(12))
        } change: { settings in
            settings.readPatienceSeconds = 3
        }
    }

    @Test func `a replaced object is noticed, not mixed, and then read anew`() throws {
        try bench { bench, _ in
            _ = try bench.store.put("a/b", sample(1000, seed: 1))
            _ = try bench.store.bytes("a/b", at: 0, count: 10)
            // Behind the store's back.
            let other = S3Client(
                settings: bench.store.client.settings, credentials: TestStore.credentials(try S3Server.shared(.ceph)))
            defer { other.close() }
            _ = try other.send(S3Request(.put, ObjectKey("a/b"), patience: .zero), bytes: sample(1000, seed: 2))
            #expect(code { _ = try bench.store.bytes("a/b", at: 10, count: 10) } == .changed)
            #expect(try bench.store.bytes("a/b", at: 10, count: 10) == Array(sample(1000, seed: 2)[10..<20]))
        }
    }

    @Test(arguments: [Fault.clockSkew(hours: 3), .otherRegion("elsewhere-1")])
    func `of requests that are refused at once for time or region each is sent again`(fault: Fault) throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/b", sample(1000))
            // All are under way before the first is refused: a line that is long, and a connection for each.
            try lab.setLink(roundTrip: .milliseconds(800))
            func readAtOnce() -> [StorageError.Code?]? {
                let failures = Monitor<[StorageError.Code?]>([])
                for _ in 0..<8 {
                    NativeThread(name: "reader") {
                        let failure = code { _ = try bench.store.bytes("a/b", at: 0, count: 10) }
                        failures.withLock { $0.append(failure) }
                    }.detach()
                }
                return failures.wait(milliseconds: 20_000) { $0.count == 8 ? $0 : nil }
            }
            _ = readAtOnce()
            let rule = try lab.add(FaultRule(fault, on: .get, count: 8))
            let all = readAtOnce()
            #expect(try lab.counters().fired(rule) == 8)
            #expect(all?.allSatisfy { $0 == nil } == true, "\(String(describing: all))")
        } change: {
            // Twelve times the round trip: with a second, a busy machine would pass for a store that stalls.
            $0.stallSeconds = 10
        }
    }

    // MARK: Uploading

    @Test(
        arguments: [
            Case(.slowDown), Case(.internalError), Case(.resetBefore), Case(.resetAfter), Case(.stallRequest()),
            Case(.flipRequestBit(at: 4_000_000)), Case(.duplicateHeaders()), Case(.reorderHeaders),
            Case(.status(503, code: "SlowDown", retryAfter: 1)), Case(.clockSkew(hours: -2)),
            Case(.status(500, code: "InternalError", forward: true)), Case(.lostUpload, once: .changed),
            Case(.status(403, code: "AccessDenied"), once: .denied),
        ])
    func `the upload of a part survives it once, or fails the upload`(fault: Case) throws {
        try bench { bench, lab in
            let rule = try lab.add(FaultRule(fault.fault, on: .uploadPart, skip: 1, count: 1))
            let failure = code { _ = try bench.store.upload("a/b", Self.bytes) }
            #expect(failure == fault.once)
            #expect(try lab.counters().fired(rule) == 1)
            try lab.clearRules()
            if failure == nil {
                #expect(try bench.store.bytes("a/b", at: 0, count: Self.bytes.count) == Self.bytes)
            } else {
                #expect(code { _ = try bench.store.head(ObjectKey("a/b")) } == .absent)
            }
        }
    }

    @Test(
        arguments: [
            Case(.slowDown), Case(.internalError), Case(.resetBefore), Case(.resetAfter), Case(.stallRequest()),
            Case(.errorIn200()), Case(.errorIn200(spaces: 15)), Case(.errorIn200(forward: true)),
            Case(.status(500, code: "InternalError", forward: true)), Case(.shortBody(after: 20)),
            Case(.resetBody(after: 20)), Case(.duplicateHeaders()), Case(.reorderHeaders),
            Case(.status(404, code: "NoSuchKey")), Case(.status(403, code: "AccessDenied"), once: .denied),
        ])
    func `a completion that fails or is not heard of is looked for`(fault: Case) throws {
        try bench { bench, lab in
            let rule = try lab.add(FaultRule(fault.fault, on: .completeUpload, count: 1))
            var facts: ObjectFacts?
            let failure = code { facts = try bench.store.upload("a/b", Self.bytes) }
            #expect(failure == fault.once)
            #expect(try lab.counters().fired(rule) == 1)
            try lab.clearRules()
            if failure == nil {
                #expect(facts?.byteCount == UInt64(Self.bytes.count))
                #expect(try bench.store.bytes("a/b", at: 0, count: Self.bytes.count) == Self.bytes)
            } else {
                #expect(code { _ = try bench.store.head(ObjectKey("a/b")) } == .absent)
            }
        }
    }

    @Test(arguments: [
        Case(.slowDown), Case(.internalError), Case(.resetBefore), Case(.resetAfter), Case(.stallRequest()),
        Case(.status(500, code: "InternalError", forward: true)), Case(.shortBody(after: 20)),
        Case(.status(403, code: "AccessDenied"), once: .denied),
    ]) func `a creation that is not heard of leaves no upload`(fault: Case) throws {
        try bench { bench, lab in
            _ = try lab.add(FaultRule(fault.fault, on: .createUpload, count: 1))
            let failure = code { _ = try bench.store.upload("a/b", sample(100)) }
            #expect(failure == fault.once)
            try lab.clearRules()
            #expect(try bench.store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: []) == [])
        }
    }

    @Test(arguments: [
        Case(.slowDown), Case(.internalError), Case(.resetBefore), Case(.resetAfter), Case(.stallRequest()),
        Case(.flipRequestBit(at: 3)), Case(.status(500, code: "InternalError", forward: true)),
        Case(.status(409, code: "ConditionalRequestConflict")), Case(.status(404, code: "NoSuchKey")),
        Case(.status(403, code: "AccessDenied"), once: .denied),
    ]) func `a small object is stored once, whatever was heard of it`(fault: Case) throws {
        try bench { bench, lab in
            _ = try lab.add(FaultRule(fault.fault, on: .put, count: 1))
            let failure = code { _ = try bench.store.put("a/b", sample(100)) }
            #expect(failure == fault.once)
            try lab.clearRules()
            if failure == nil {
                #expect(try bench.store.bytes("a/b", at: 0, count: 100) == sample(100))
                #expect(code { _ = try bench.store.put("a/b", sample(100)) } == .alreadyExists)
            }
        }
    }

    @Test func `an object of another size or tag than was sent is removed, and the upload fails`() throws {
        try bench { bench, lab in
            let rule = try lab.add(FaultRule(.wrongETag, on: .head, skip: 1, count: 1))
            #expect(code { _ = try bench.store.upload("a/b", sample(100)) } == .corrupt)
            #expect(try lab.counters().fired(rule) == 1)
            try lab.clearRules()
            #expect(code { _ = try bench.store.head(ObjectKey("a/b")) } == .absent)
        }
    }

    @Test func `a server that asks for less gets less at once`() throws {
        try bench { bench, lab in
            try lab.setLink(roundTrip: .milliseconds(5), bitsPerSecond: 400e6)
            _ = try lab.add(FaultRule(.slowDown, on: .uploadPart, count: 6))
            _ = try bench.store.upload("a/b", sample(40 << 20))
            #expect(bench.store.condition.throttled >= 6)
        }
    }

    // MARK: Other requests

    @Test(
        arguments: [
            Fault.slowDown, .internalError, .resetBefore, .resetAfter, .stallRequest(), .shortBody(after: 30),
            .duplicateHeaders(), .reorderHeaders,
        ],
        [FaultRule.Operation.head, .list, .delete, .deleteMany, .abortUpload])
    func `other requests survive it once`(fault: Fault, operation: FaultRule.Operation) throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/b", [1, 2, 3])
            _ = try bench.store.put("a/c", [1, 2, 3])
            let upload = try bench.store.upload(ObjectKey("a/d"))
            _ = try lab.add(FaultRule(fault, on: operation, count: 1))
            #expect(try bench.store.head(ObjectKey("a/b")).byteCount == 3)
            #expect(try bench.store.list(prefix: "a/", after: nil, limit: 10).objects.count == 2)
            try bench.store.delete([ObjectKey("a/b")])
            try bench.store.delete(ObjectKey("a/c"))
            try bench.store.abortUpload(identifier: upload.identifier, key: ObjectKey("a/d"))
            try lab.clearRules()
            #expect(try bench.store.list(prefix: "a/", after: nil, limit: 10).objects == [])
        }
    }

    // MARK: Outages

    @Test func `an upload rides through an outage, and a reader, and the store is told to be away meanwhile`() throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/small", sample(1000))
            let upload = try bench.store.upload(ObjectKey("a/b"))
            try Self.bytes[..<(5 << 20)].withUnsafeBytes { try upload.append($0) }
            try lab.setNetwork(.refusing)
            Thread.detachNewThread {
                Thread.sleep(forTimeInterval: 5)
                try? lab.setNetwork(.working)
            }
            let seen = Monitor(false)
            let store = bench.store
            NativeThread(name: "watch") {
                for _ in 0..<40 where store.condition.isThere { Thread.sleep(forTimeInterval: 0.1) }
                let isAway = !store.condition.isThere
                seen.withLock { $0 = isAway }
            }.detach()
            #expect(try bench.store.bytes("a/small", at: 0, count: 1000) == sample(1000))
            try Self.bytes[(5 << 20)...].withUnsafeBytes { try upload.append($0) }
            #expect(try upload.complete().byteCount == UInt64(Self.bytes.count))
            #expect(seen.withLockQuietly { $0 }, "the store was not away")
            #expect(bench.store.condition.isThere)
            #expect(try bench.store.bytes("a/b", at: 0, count: Self.bytes.count) == Self.bytes)
        }
    }

    @Test func `a store that stays away is an error at once after a while, and works as soon as it is back`() throws {
        try bench { bench, lab in
            _ = try bench.store.put("a/b", sample(1000))
            try lab.setNetwork(.dead)
            #expect(code { _ = try bench.store.bytes("a/b", at: 0, count: 10) } != nil)
            // Now the outage is older than the patience: a short wait, and nothing sent but probes.
            let start = ContinuousClock.now
            #expect(code { _ = try bench.store.bytes("a/b", at: 0, count: 10) } != nil)
            #expect(ContinuousClock.now - start < .seconds(6))
            try lab.setNetwork(.working)
            #expect(try bench.store.bytes("a/b", at: 0, count: 1000) == sample(1000))
        } change: { settings in
            settings.readPatienceSeconds = 6
        }
    }

    @Test func `an upload that is given up during an outage ends at once`() throws {
        try bench { bench, lab in
            let upload = try bench.store.upload(ObjectKey("a/b"))
            try lab.setNetwork(.dead)
            let writer = Monitor<Bool?>(nil)
            NativeThread(name: "writer") {
                let failure = code { try sample(60 << 20).withUnsafeBytes { try upload.append($0) } }
                writer.withLock { $0 = failure == .changed }
            }.detach()
            Thread.sleep(forTimeInterval: 1)
            let start = ContinuousClock.now
            upload.abort()
            #expect(writer.wait(milliseconds: 5000) { $0 } == true)
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }

    @Test func `the memory of an upload keeps its cap while the store is away`() throws {
        try bench { bench, lab in
            let upload = try bench.store.upload(ObjectKey("a/b"))
            try lab.setNetwork(.dead)
            NativeThread(name: "writer") {
                for _ in 0..<10 where code({ try Self.bytes.withUnsafeBytes { try upload.append($0) } }) != nil {
                    break
                }
            }.detach()
            Thread.sleep(forTimeInterval: 2)
            let used = bench.store.uploadMemory.common.usedByteCount
            #expect(used > 0 && used <= bench.store.uploadMemory.common.capacityByteCount)
            upload.abort()
        }
    }
}
