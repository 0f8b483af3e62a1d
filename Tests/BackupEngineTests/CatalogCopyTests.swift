import AgeFormat
import BackupNames
internal import Catalog
import CryptoPrimitives
import Foundation
import OrgKeys
import Storage
import StorageTesting
import Testing

@testable import BackupEngine

@Suite("Copies of the catalog")
struct CatalogCopyTests {
    private let bench: EngineBench
    private let acme: ResourceName

    init() throws {
        bench = try EngineBench(orgs: ["acme", "umbrella"])
        acme = try ResourceName("acme")
    }

    private var copies: [ObjectKey] { bench.memory.keys.filter { $0.string.contains("/.catalog/") } }

    private func copy(_ occasion: CopyOccasion = .everything) throws -> CatalogCopyResult {
        bench.engine.copyCatalog(to: try bench.backend, occasion)
    }

    private func restore(_ org: String = "acme") throws -> CatalogRestoreResult {
        try bench.engine.restoreCatalog(of: ResourceName(org), from: [bench.backend])
    }

    private func note(_ identifier: BackupIdentifier) throws {
        let catalog = bench.engine.catalog
        try catalog.noteCheck(identifier, .raw, at: 100, outcome: CheckRecord.good, detail: "")
        try catalog.noteCheck(identifier, .archive, at: 200, outcome: "damaged", detail: "a \"quote\"\nand a line")
        try catalog.setDamage(
            identifier, [DamageRecord(archiveRange: 10..<20, frame: nil, rawRange: 1..<9, foundAt: 200, detail: "x")])
        try catalog.addRun(
            RunRecord(
                kind: .drill, identifier: identifier, startedAt: 300, outcome: RunRecord.good, detail: "",
                rawByteCount: 5, fetchedByteCount: 6, totalMilliseconds: 7, writeMilliseconds: 3,
                checksJSON: "{\"a\": 1}"))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a lost catalog comes back from a copy with its history, without a sidecar`() throws {
        let image = testImage(200_000, seed: 1)
        let identifiers = try [bench.backUp(image), bench.backUp(testImage(90_000, seed: 2))]
        try note(identifiers[0])
        let history = (
            try bench.engine.catalog.checks(identifiers[0]), try bench.engine.catalog.damage(identifiers[0]),
            try bench.engine.catalog.runs()
        )
        #expect(try copy().made.map(\.name.org) == [acme])
        #expect(copies.count == 1)
        for identifier in identifiers { try bench.memory.delete(ObjectKey(identifier.manifestKey)) }
        try bench.reopen(forgetsCatalog: true)
        let result = try restore()
        #expect(Set(result.registered) == Set(identifiers))
        #expect(result.refusedCount == 0 && result.refusedCopies.isEmpty && result.historyCount == 4)
        #expect(try bench.restore(identifiers[0]) == image)
        #expect(try bench.engine.catalog.checks(identifiers[0]) == history.0)
        #expect(try bench.engine.catalog.damage(identifiers[0]) == history.1)
        #expect(try bench.engine.catalog.runs().contains(history.2[0]))
        // Once more changes nothing.
        let again = try restore()
        #expect(again.known.count == 2 && again.registered.isEmpty && again.historyCount == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a copy is made when something changed: a backup at once, history once an hour`() throws {
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        #expect(try copy(.whatIsDue).made.count == 1)
        #expect(try copy(.whatIsDue).unchangedCount == 1)
        try note(identifier)
        let later = try copy(.whatIsDue)
        #expect(later.made.isEmpty && later.dueInSeconds == 3600)
        bench.clock.advance(3599)
        #expect(try copy(.whatIsDue).dueInSeconds == 1)
        bench.clock.advance(1)
        #expect(try copy(.whatIsDue).made.count == 1)
        try bench.backUp(testImage(1000, seed: 2))
        #expect(try copy(.whatIsDue).made.count == 1)
        try bench.engine.remove(identifier)
        #expect(try copy(.whatIsDue).made.count == 1)
        #expect(copies.count == 4)
    }

    @Test(.timeLimit(.minutes(1)))
    func `as many are kept as configured, and only own ones are removed`() throws {
        let theirs = try EngineBench(sharing: bench)
        try theirs.backUp(testImage(1000, seed: 1))
        _ = theirs.engine.copyCatalog(to: try theirs.backend)
        let foreign = try #require(copies.first)
        let planted = try ObjectKey("acme/.catalog/notes.txt")
        _ = try [1].withUnsafeBytes { try bench.memory.putIfAbsent(planted, $0) }
        try bench.backUp(testImage(1000, seed: 2), as: bench.disk("acme", "db"))
        var made: [ObjectKey] = []
        for _ in 0..<11 {
            bench.clock.advance(1)
            made += try copy().made.map(\.key)
        }
        #expect(Set(copies) == Set(made.suffix(8) + [foreign, planted]))
        // In one second, too, each has a name of its own.
        #expect(try Set((0..<3).map { _ in try copy().made.map(\.key) }).count == 3)
    }

    @Test(.timeLimit(.minutes(1)))
    func `orgs stay apart`() throws {
        try bench.backUp(testImage(1000, seed: 1), as: bench.disk("acme", "secret-machine"))
        try bench.backUp(testImage(1000, seed: 2), as: bench.disk("umbrella", "raccoon"))
        #expect(try copy().made.count == 2)
        #expect(Set(copies.map { $0.components[0] }) == ["acme", "umbrella"])
        let theirs = try #require(copies.first { $0.string.hasPrefix("umbrella") })
        let bytes = try #require(bench.memory.bytes(of: theirs))
        let ours = try bench.engine.key(of: acme)
        #expect(bench.code { _ = try CatalogCopyFile.open(bytes, key: ours) } == .wrongKey)
        let key = try bench.engine.key(of: ResourceName("umbrella"))
        var text = ""
        try CatalogCopyFile.forEachLine(CatalogCopyFile.open(bytes, key: key)) {
            text += String(decoding: $0, as: UTF8.self)
        }
        #expect(text.contains("raccoon") && !text.contains("secret-machine") && !text.contains("acme"))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a copy that is not authentic is refused by name, and the next older one is taken`() throws {
        let first = try bench.backUp(testImage(1000, seed: 1))
        let older = try #require(try copy().made.first)
        try bench.backUp(testImage(1000, seed: 2))
        let newer = try #require(try copy().made.first)
        let good = try #require(bench.memory.bytes(of: newer.key))
        let key = try bench.engine.key(of: acme)
        let frame = try CatalogCopyFile.open(good, key: key)
        let strange = SecretBytes(count: 32) { $0.copyBytes(from: [UInt8](repeating: 7, count: 32)) }
        var forged = CatalogCopyFile()
        try forged.append(
            .head(
                CatalogCopyHead(
                    org: acme, origin: newer.name.origin, backend: bench.backendName, date: newer.name.date,
                    toolVersion: "t")))
        let cases: [(String, [UInt8], EngineError.Code)] = [
            ("a flipped bit", good.enumerated().map { $0 == good.count / 2 ? $1 ^ 1 : $1 }, .notAuthentic),
            ("cut", Array(good.dropLast(1)), .notAuthentic),
            ("empty", [], .notAuthentic),
            ("encrypted to our public key, without a seal", try Age.encrypt(frame, to: [key.recipient]), .notAuthentic),
            ("sealed by somebody else", try forged.sealed(with: strange, to: [key.recipient]), .notAuthentic),
            ("encrypted to somebody else", try Age.encrypt(frame, to: [AgeIdentity.generate().recipient]), .wrongKey),
            ("an older copy under a newer name", try #require(bench.memory.bytes(of: older.key)), .swapped),
        ]
        for (what, bytes, code) in cases {
            try bench.reopen(forgetsCatalog: true)
            bench.memory.tamper(newer.key, bytes)
            let result = try restore()
            #expect(result.refusedCopies.map(\.copy).map(\.key) == [newer.key], "\(what)")
            #expect(result.refusedCopies.first?.error.code == code, "\(what): \(result.refusedCopies)")
            #expect(result.copies.map(\.key) == [older.key], "\(what)")
            #expect(result.registered == [first], "\(what)")
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a row comes in only if its archive proves right`() throws {
        let identifiers = try (0..<4).map { try bench.backUp(testImage(3000, seed: UInt64($0))) }
        _ = try copy()
        try bench.memory.delete(ObjectKey(identifiers[0].archiveKey))
        try bench.tamper(identifiers[1].archiveKey) { $0[$0.count - 1] ^= 1 }
        let other = try #require(bench.memory.bytes(of: ObjectKey(identifiers[3].archiveKey)))
        try bench.tamper(identifiers[2].archiveKey) { $0 = other }
        try bench.reopen(forgetsCatalog: true)
        let result = try restore()
        #expect(result.registered == [identifiers[3]])
        let codes = Dictionary(uniqueKeysWithValues: result.refused.map { ($0.name, $0.error.code) })
        #expect(codes["\(identifiers[0])"] == .notFound)
        #expect(codes["\(identifiers[1])"] == .damaged)
        #expect([.damaged, .truncated, .swapped].contains(codes["\(identifiers[2])"]))
        #expect(try bench.engine.catalog.allBackups().count == 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a write-only host makes copies that a host with the key restores`() throws {
        let keys = KeyDirectory(path: bench.keysPath)
        let writeOnly = try keys.exportWriteOnly(acme)
        let path = bench.keysPath + "/acme.agekey"
        let kept = bench.folder + "/kept"
        try FileManager.default.moveItem(atPath: path, toPath: kept)
        _ = try writeOnly.withUnsafeBytes { try keys.importKey(acme, $0) }
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        #expect(try copy(.whatIsDue).made.count == 1)
        #expect(bench.code { _ = try restore() } == .noKey)
        try FileManager.default.moveItem(atPath: kept, toPath: path)
        try bench.reopen(forgetsCatalog: true)
        #expect(try restore().registered == [identifier])
    }

    @Test(.timeLimit(.minutes(1)))
    func `the backend may have another name where the copy is restored, and others may not be there`() throws {
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        _ = try bench.engine.replicate(identifier, to: ResourceName("other"))
        _ = try copy()
        let moved = Engine(
            catalog: try Catalog(path: bench.folder + "/moved.sqlite"),
            backends: [Backend(name: try ResourceName("moved"), store: bench.memory)],
            keys: KeyDirectory(path: bench.keysPath), log: bench.engine.log)
        defer { moved.close() }
        let result = try moved.restoreCatalog(of: acme, from: Array(moved.backends.values))
        #expect(result.registered == [identifier.at(try ResourceName("moved"))])
        #expect(result.elsewhere == [try ResourceName("other"): 1])
        #expect(try moved.verify(result.registered[0], .raw).archiveByteCount > 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `of several catalogs the newest copy of each is taken`() throws {
        let theirs = try EngineBench(sharing: bench)
        let mine = try bench.backUp(testImage(1000, seed: 1))
        theirs.clock.advance(5000)
        let other = try theirs.backUp(testImage(1000, seed: 2), as: bench.disk("acme", "db"))
        _ = theirs.engine.copyCatalog(to: try theirs.backend)
        _ = try copy()
        for identifier in [mine, other] { try bench.memory.delete(ObjectKey(identifier.manifestKey)) }
        try bench.reopen(forgetsCatalog: true)
        let result = try restore()
        #expect(Set(result.registered) == [mine, other])
        #expect(result.copies.count == 2)
        // What was lost has another name now: its copies stay.
        _ = try copy()
        #expect(copies.count == 3)
    }

    @Test(.timeLimit(.minutes(1)))
    func `of more catalogs than can be there those with the newest copies are listed`() throws {
        try bench.backUp(testImage(1000, seed: 1))
        let own = try #require(try copy().made.first)
        for number in 0..<3 * UInt64(Engine.originLimit) {
            let name = CatalogCopyName(
                backend: bench.backendName, org: acme, date: BackupDate(secondsSince1970: Int64(number)),
                origin: Hexadecimal.text((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }))
            _ = try [1].withUnsafeBytes { try bench.memory.putIfAbsent(name.key(at: bench.backend), $0) }
        }
        let listed = try bench.engine.catalogCopies(of: acme, at: bench.backend)
        #expect(listed.first?.key == own.key && listed.count == Engine.originLimit)
        #expect(listed.last?.name.date.secondsSince1970 == Int64(2 * Engine.originLimit + 1))
    }

    @Test(.timeLimit(.minutes(1)))
    func `nobody takes a copy for a part of a backup`() throws {
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        _ = try copy()
        let rebuilt = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(rebuilt.known == [identifier] && rebuilt.refusedCount == 0)
        let refreshed = try CatalogRefresh(bench.engine, bench.backend).run()
        #expect(refreshed.refusedCount == 0 && refreshed.unreadableCount == 0)
        #expect(try bench.engine.catalog.vms(backend: bench.backendName, org: acme).map(\.description) == ["web"])
        #expect(bench.code { _ = try ResourceName(".catalog") } != nil)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a backend that is slow or away keeps no command from ending`() throws {
        try bench.backUp(testImage(1000, seed: 1))
        bench.otherStore.delay(.putIfAbsent, by: .seconds(5))
        let start = ContinuousClock.now
        bench.engine.copyCatalogBriefly(milliseconds: 300)
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(copies.count == 1)
        bench.otherStore.heal()
        bench.otherMemory.setAvailable(false)
        let result = bench.engine.copyCatalog(to: try bench.engine.backend(ResourceName("other")))
        #expect(result.failed.map(\.error.code) == [.backendUnavailable])
    }

    @Test(.timeLimit(.minutes(1)))
    func `a mount copies what changed, and at its end what is not copied yet`() throws {
        var pace = CatalogCare.Pace()
        pace.pollMilliseconds = 20
        pace.settleMilliseconds = 200
        let care = CatalogCare(bench.engine, pace: pace)
        care.start()
        try bench.backUp(testImage(1000, seed: 1))
        let end = ContinuousClock.now + .seconds(20)
        while copies.isEmpty, ContinuousClock.now < end { usleep(10_000) }
        #expect(copies.count == 1)
        usleep(500_000)
        #expect(copies.count == 1, "nothing changed")
        try bench.backUp(testImage(1000, seed: 2))
        care.stop(waitingMilliseconds: 10_000)
        #expect(copies.count == 2)
        #expect(bench.otherMemory.keys.count == 2, "every backend has them")
    }

    @Test func `lines come back as they were, and unknown ones are passed over`() throws {
        let identifier = BackupIdentifier(
            backend: try ResourceName("b\u{e9}"), org: acme, vm: try ResourceName("v \"x\""),
            date: BackupDate(secondsSince1970: 5), disk: try ResourceName("d"))
        let lines: [CatalogCopyLine] = [
            .backup(
                CopiedBackup(
                    identifier: identifier, generation: 3, archiveObject: "x/y.age", createdAt: 5,
                    rawByteCount: 1 << 62,
                    dataByteCount: 0, archiveByteCount: 7, manifestJSON: Array("{\n  \"a\": 1\n}\n".utf8),
                    archiveHeader: (0...255).map { UInt8($0) })),
            .fact(
                .check(
                    identifier, CheckRecord(depth: .presence, checkedAt: 1, goodAt: nil, outcome: "x", detail: "\u{1}"))
            ),
            .fact(
                .damage(
                    identifier,
                    DamageRecord(archiveRange: 1..<2, frame: 9, rawRange: 0..<0, foundAt: 3, detail: "é"))),
            .fact(
                .run(
                    RunRecord(
                        kind: .restore, identifier: identifier, startedAt: 1, outcome: "o", detail: "d",
                        rawByteCount: 1,
                        fetchedByteCount: 2, totalMilliseconds: 3, openMilliseconds: 4, fetchMilliseconds: 5,
                        decodeMilliseconds: 6, writeMilliseconds: 7, checksJSON: "{}"))),
        ]
        for line in lines { #expect(try CatalogCopyLine(parsing: line.bytes.dropLast(), org: acme) == line) }
        #expect(try CatalogCopyLine(parsing: Array("{\"type\":\"future\",\"x\":[1]}".utf8), org: acme) == .unknown)
        for text in ["", "[]", "{}", "{\"type\":7}", "{\"type\":\"backup\"}", "{\"type\":\"check\",\"depth\":\"raw\"}"]
        {
            #expect(throws: (any Error).self) { try CatalogCopyLine(parsing: Array(text.utf8), org: acme) }
        }
    }
}

extension CatalogCopyLine {
    fileprivate init(parsing bytes: ArraySlice<UInt8>, org: ResourceName) throws {
        try self.init(parsing: Array(bytes), org: org)
    }
}
