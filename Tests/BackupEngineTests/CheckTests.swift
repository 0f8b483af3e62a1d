import AgeFormat
import Archive
import BackupEngine
import BackupNames
import Catalog
import CryptoPrimitives
import Foundation
internal import Manifest
import OrgKeys
import SeekableZstd
import Storage
import StorageTesting
import Testing

@Suite("Checks of backups", .timeLimit(.minutes(2)))
struct CheckTests {
    private let bench: EngineBench
    private let image = testImage(1_500_000, seed: 77)
    private let identifier: BackupIdentifier

    init() throws {
        bench = try EngineBench()
        identifier = try bench.backUp(image)
    }

    private func outcomes() throws -> [CheckDepth: String] {
        Dictionary(uniqueKeysWithValues: try bench.engine.catalog.checks(identifier).map { ($0.depth, $0.outcome) })
    }

    /// The archive as it is stored.
    private var archive: [UInt8] {
        get throws { try #require(bench.memory.bytes(of: ObjectKey(identifier.archiveKey))) }
    }

    @Test func `a good backup is good at every depth, and the catalog remembers when`() throws {
        for depth in CheckDepth.allCases {
            let report = try bench.engine.check(identifier, depth)
            #expect(report.isGood, "\(report.findings)")
        }
        let checks = try bench.engine.catalog.checks(identifier)
        #expect(checks.map(\.depth) == [.presence, .archive, .raw])
        #expect(checks.allSatisfy { $0.isGood && $0.goodAt == bench.clock.secondsSince1970 })
    }

    @Test func `presence takes one HEAD and one small read`() throws {
        bench.store.resetCounts()
        let report = try bench.engine.check(identifier, .presence)
        #expect(bench.store.operationCount == 2)
        #expect(report.fetchedByteCount > 0 && report.fetchedByteCount < 8192)
    }

    @Test func `presence names what is missing or is not what was written`() throws {
        let sidecar = identifier.manifestKey
        let good = try #require(bench.memory.bytes(of: ObjectKey(sidecar)))
        let second = try bench.backUp(image)
        let other = try #require(bench.memory.bytes(of: ObjectKey(second.manifestKey)))
        let key = try bench.engine.key(of: ResourceName("acme"))
        let forged = try ManifestSidecar.encrypt(Array("{\"mac\": \"00\"}".utf8), to: [key.recipient.string])
        let cases: [(EngineError.Code, ([UInt8]) -> [UInt8])] = [
            (.notAuthentic, { $0.dropLast(40) + [UInt8](repeating: 1, count: 40) }), (.swapped, { _ in other }),
            (.notAuthentic, { _ in forged }), (.notAuthentic, { Array($0.dropLast(1)) }),
        ]
        for (code, change) in cases {
            try bench.tamper(sidecar) { $0 = change(good) }
            let report = try bench.engine.check(identifier, .presence)
            #expect(report.findings.map(\.error.code) == [code], "\(report.findings)")
            #expect(try outcomes()[.presence] == code.rawValue)
        }
        try bench.memory.delete(ObjectKey(sidecar))
        #expect(try bench.engine.check(identifier, .presence).findings.map(\.error.code) == [.sidecarMissing])
        try bench.tamper(identifier.archiveKey) { $0.removeLast() }
        #expect(
            try bench.engine.check(identifier, .presence).findings.map(\.error.code) == [.truncated, .sidecarMissing])
        try bench.memory.delete(ObjectKey(identifier.archiveKey))
        #expect(
            try bench.engine.check(identifier, .raw).findings.map(\.error.code) == [.notFound, .sidecarMissing])
        #expect(try outcomes()[.raw] == "notFound")
    }

    @Test func `a flipped bit is named with its frame and the raw bytes that it costs, and the rest is looked at`()
        throws
    {
        let backup = try bench.engine.open(identifier)
        let layout = try backup.reader.layout
        let dataFrames = (0..<layout.seekTable.frameCount).filter { !layout.seekTable.isZeroFrame($0) }
        let victims = [dataFrames[1], dataFrames[dataFrames.count / 2]]
        let offsets = victims.map { layout.run(ofFrames: $0..<$0 + 1).archiveRange.lowerBound + 20 }
        try bench.tamper(identifier.archiveKey) { bytes in for offset in offsets { bytes[Int(offset)] ^= 4 } }
        let report = try bench.engine.check(identifier, .raw)
        // A chunk holds the ends of its neighbours, too: those are named as well.
        let frames = Set(report.findings.compactMap { $0.damage?.frame })
        #expect(frames.isSuperset(of: victims))
        for finding in report.findings {
            let damage = try #require(finding.damage)
            let frame = try #require(damage.frame)
            #expect(finding.error.code == .damaged)
            #expect(offsets.contains { damage.archiveRange.contains($0) })
            #expect(
                damage.rawRange == layout.seekTable.rawRange(ofFrame: frame)
                    || layout.seekTable.isZeroFrame(frame) && damage.rawRange.isEmpty)
        }
        #expect(report.lostByteCount == report.findings.reduce(0) { $0 + UInt64($1.damage?.rawRange.count ?? 0) })
        #expect(try bench.engine.catalog.damage(identifier).count == report.findings.count)
        #expect(try outcomes()[.raw] == "damaged")
        #expect(try bench.engine.check(identifier, .archive).findings.map(\.error.code) == [.damaged])
        // Once it is whole again nothing is known to be damaged, and when it was last good is still known.
        let checkedAt = bench.clock.secondsSince1970
        bench.clock.advance(10)
        try bench.tamper(identifier.archiveKey) { bytes in for offset in offsets { bytes[Int(offset)] ^= 4 } }
        #expect(try bench.engine.check(identifier, .raw).isGood)
        #expect(try bench.engine.catalog.damage(identifier).isEmpty)
        #expect(try bench.engine.catalog.checks(identifier).last?.goodAt == checkedAt + 10)
    }

    @Test func `a cut archive tells what is behind the cut`() throws {
        let whole = try archive
        try bench.tamper(identifier.archiveKey) { $0 = Array($0.prefix($0.count / 2)) }
        let report = try bench.engine.check(identifier, .raw)
        #expect(report.findings.first?.error.code == .truncated)
        let damage = report.findings.compactMap(\.damage)
        #expect(damage.contains { $0.frame == nil }, "the seek table is gone")
        #expect(damage.filter { $0.frame != nil }.allSatisfy { $0.archiveRange.upperBound > UInt64(whole.count / 2) })
        #expect(report.lostByteCount > 0 && report.lostByteCount < UInt64(image.count))
    }

    @Test func `a damaged header costs nothing while there is a catalog, another archive costs everything`() throws {
        let good = try archive
        try bench.tamper(identifier.archiveKey) { $0[30] ^= 1 }
        var report = try bench.engine.check(identifier, .raw)
        #expect(report.findings.map(\.error.code) == [.damaged])
        #expect(report.lostByteCount == 0 && report.rawSHA256 != nil)
        let second = try bench.backUp(image)
        let other = try #require(bench.memory.bytes(of: ObjectKey(second.archiveKey)))
        try bench.tamper(identifier.archiveKey) { $0 = Array((other + good).prefix(good.count)) }
        report = try bench.engine.check(identifier, .raw)
        #expect(report.findings.first?.error.code == .swapped)
        #expect(report.lostByteCount == UInt64(image.count))
    }

    @Test func `a store that is away makes no finding and forgets nothing`() throws {
        _ = try bench.engine.check(identifier, .raw)
        let before = try bench.engine.catalog.checks(identifier)
        bench.clock.advance(100)
        for depth in CheckDepth.allCases {
            bench.store.failOperation(depth == .raw ? 4 : 1, .forGood, .beforeEffect)
            #expect(bench.code { _ = try bench.engine.check(identifier, depth) } == .backendUnavailable)
            bench.store.heal()
        }
        #expect(
            try bench.engine.catalog.checks(identifier).filter { $0.depth != .presence } == Array(before.dropFirst()))
    }

    @Test func `a host that cannot read checks presence and archive`() throws {
        let keys = KeyDirectory(path: bench.folder + "/keys")
        let writeOnly = try keys.exportWriteOnly(ResourceName("acme"))
        try FileManager.default.removeItem(atPath: bench.folder + "/keys/acme.agekey")
        _ = try writeOnly.withUnsafeBytes { try keys.importKey(ResourceName("acme"), $0) }
        #expect(try bench.engine.check(identifier, .presence).isGood)
        #expect(try bench.engine.check(identifier, .archive).isGood)
        #expect(bench.code { _ = try bench.engine.check(identifier, .raw) } == .noKey)
        try bench.memory.delete(ObjectKey(identifier.manifestKey))
        #expect(try bench.engine.check(identifier, .presence).findings.map(\.error.code) == [.sidecarMissing])
    }

    @Test func `lost ranges are told by partition`() {
        func damage(_ range: Range<UInt64>, healed: Bool = false) -> ArchiveDamage {
            ArchiveDamage(archiveRange: 0..<1, frame: 0, rawRange: range, detail: "", isHealed: healed)
        }
        let partitions = [
            ManifestPartition(number: 1, rawOffset: 100, byteCount: 100, type: "", name: "boot"),
            ManifestPartition(number: 2, rawOffset: 200, byteCount: 800, type: "", name: ""),
            ManifestPartition(number: 5, rawOffset: 300, byteCount: 100, type: "", name: "inner"),
        ]
        let lost = LostRange.list(
            of: [damage(150..<250), damage(250..<310), damage(900..<1100), damage(2000..<3000, healed: true)],
            partitions)
        #expect(lost.map(\.rawRange) == [150..<200, 200..<300, 300..<310, 900..<1000, 1000..<1100])
        #expect(lost.map(\.partition) == [1, 2, 5, 2, nil])
        #expect(lost.map(\.offset) == [50, 0, 0, 700, 1000])
    }
}
