import BackupEngine
import BackupNames
import Catalog
import Foundation
import Glibc
import SystemIO
import Testing

@testable import Snapshots

/// Each state of the tables, as a process that ends there leaves it.
@Suite("Snapshots after a crash", .timeLimit(.minutes(2)))
struct SnapshotCrashTests {
    private let bench: SnapshotBench
    private let record: SnapshotRecord

    init() throws {
        bench = try SnapshotBench()
        record = try bench.create()
    }

    private var date: BackupDate { record.identifier.date }
    private func path(_ name: String) -> String { bench.place + "/" + name }
    private func put(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

    // MARK: Making

    @Test func `a copy that was cut off is removed, with and without its facts`() throws {
        try put([1, 2, 3], path("copy"))
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.names(bench.place).count == 2)
        try put([1, 2, 3], path("copy"))
        try put(SnapshotFacts(record).bytes, path("2001-01-01T00-00-00Z.json"))
        try put([1], path(".2001-01-01T00-00-00Z.json.abc.tmp"))
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.names(bench.place) == ["\(date).json", "\(date).raw"])
        #expect(try bench.snapshots.all() == [record])
        // The next one of the disk cleans up, too.
        try put([1, 2, 3], path("copy"))
        try bench.create()
        #expect(try bench.names(bench.place).count == 4)
    }

    @Test func `one that has its name and no row is registered: after a crash, or with another catalog`() throws {
        try bench.catalog.remove(record.identifier)
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.snapshots.all() == [record])
        let other = Snapshots(
            [bench.pool], catalog: try Catalog(path: bench.folder + "/other.sqlite"), log: bench.snapshots.log)
        other.cleanUpAfterCrash()
        #expect(try other.all() == [record])
    }

    @Test func `a file that is no snapshot is neither registered nor removed`() throws {
        try put([1], path("2001-01-01T00-00-00Z.raw"))
        try put([1], path("2002-01-01T00-00-00Z.raw"))
        // The facts of another length.
        try put(SnapshotFacts(record).bytes, path("2002-01-01T00-00-00Z.json"))
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.names(bench.place).count == 5)
        #expect(try bench.snapshots.all() == [record])
    }

    // MARK: Removing

    @Test func `a removal goes on wherever it was cut off`() throws {
        // Doomed.
        rename(path("\(date).raw"), path("\(date).doomed"))
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.snapshots.all().isEmpty && bench.names(bench.place).isEmpty)
        // Forgotten, and forgotten without facts.
        for ending in [["doomed", "json"], ["doomed"]] {
            for ending in ending { try put(SnapshotFacts(record).bytes, path("\(date).\(ending)")) }
            bench.snapshots.cleanUpAfterCrash()
            #expect(try bench.snapshots.all().isEmpty && bench.names(bench.place).isEmpty)
        }
    }

    @Test func `a row whose file is gone stays until it is deleted, and a pool that is away keeps its rows`() throws {
        rename(bench.poolPath, bench.poolPath + "-away")
        bench.snapshots.cleanUpAfterCrash()
        #expect(bench.code { try bench.snapshots.delete(record.identifier) } == .source)
        #expect(try bench.snapshots.all() == [record])
        rename(bench.poolPath + "-away", bench.poolPath)
        unlink(path("\(date).raw"))
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.snapshots.all() == [record])
        #expect(bench.code { _ = try bench.snapshots.open(record) } == .source)
        try bench.snapshots.delete(record.identifier)
        #expect(try bench.snapshots.all().isEmpty && bench.names(bench.place).isEmpty)
    }

    // MARK: Rolling back

    @Test(arguments: ["noted", "copying", "ready", "kept", "exchanged", "over"])
    func `a rollback that was cut off leaves the old image or the new one, and nothing else`(state: String) throws {
        let (old, new) = (SnapshotBench.image(2), SnapshotBench.image(1))
        try bench.write(2)
        let note = RollbackNote(image: bench.imagePath, date: try BackupDate("2027-02-01T00-00-00Z"))
        #expect(note.copyPath == bench.poolPath + "/.web.raw.rollback")
        #expect(note.replacedPath == bench.poolPath + "/.web.raw.replaced-2027-02-01T00-00-00Z")
        try put(note.bytes, path("rollback.json"))
        switch state {
        case "copying": try put(Array(new.prefix(1000)), note.copyPath)
        case "ready": try put(new, note.copyPath)
        case "kept":
            try put(new, note.copyPath)
            #expect(link(bench.imagePath, note.replacedPath) == 0)
        case "exchanged":
            try put(new, note.copyPath)
            #expect(link(bench.imagePath, note.replacedPath) == 0)
            #expect(rename(note.copyPath, bench.imagePath) == 0)
        case "over": try put(new, bench.imagePath)
        default: break
        }
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.bytes(bench.imagePath) == (["exchanged", "over"].contains(state) ? new : old))
        #expect(try bench.names(bench.poolPath) == [".holdfast-snapshots", "web.raw"])
        #expect(try bench.names(bench.place) == ["\(date).json", "\(date).raw"])
    }

    @Test func `where somebody took the image away the replaced one stays`() throws {
        let note = RollbackNote(image: bench.imagePath, date: try BackupDate("2027-02-01T00-00-00Z"))
        try put(note.bytes, path("rollback.json"))
        #expect(rename(bench.imagePath, note.replacedPath) == 0)
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.bytes(note.replacedPath) == SnapshotBench.image(1))
    }

    @Test func `a note that is none of ours removes nothing`() throws {
        for text in ["", "{", #"{"format":1,"image":"web.raw","date":"2027-02-01T00-00-00Z"}"#] {
            try put(Array(text.utf8), path("rollback.json"))
            bench.snapshots.cleanUpAfterCrash()
            #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(1))
            #expect(bench.code { try bench.create() } == .source)
        }
    }
}
