import BackupEngine
import BackupNames
import Catalog
import Foundation
import Glibc
import SystemIO
import Testing

@testable import Snapshots

@Suite("Rolling back", .timeLimit(.minutes(2)))
struct RollbackTests {
    private let bench: SnapshotBench
    private let record: SnapshotRecord

    /// The snapshot is of 1, the image now 2.
    init() throws {
        bench = try SnapshotBench()
        record = try bench.create()
        try bench.write(2)
    }

    private func expectUnchanged(_ location: SourceLocation = #_sourceLocation) throws {
        #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(2), sourceLocation: location)
        #expect(try bench.names(bench.poolPath) == [".holdfast-snapshots", "web.raw"], sourceLocation: location)
        #expect(try bench.names(bench.place).count == 2, sourceLocation: location)
    }

    @Test func `the image becomes the snapshot and keeps owner, group, mode and attributes`() throws {
        let canChange = getuid() == 0
        if canChange { chown(bench.imagePath, 1234, 2345) }
        chmod(bench.imagePath, 0o640)
        let isNoted = try attribute(set: "kept")
        try bench.snapshots.rollBack(record, image: bench.image())
        #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(1))
        let facts = try FileFacts.of(bench.imagePath)
        #expect(facts.permissions == 0o640 && facts.linkCount == 1)
        if canChange { #expect(facts.owner == 1234 && facts.group == 2345) }
        if isNoted { #expect(try attribute() == "kept") }
        #expect(try bench.names(bench.poolPath) == [".holdfast-snapshots", "web.raw"])
        // The snapshot is as it was, and can be used again.
        try bench.write(3)
        try bench.snapshots.rollBack(record, image: bench.image())
        #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(1))
    }

    /// False where the file system has none.
    private func attribute(set value: String) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setfattr")
        process.arguments = ["-n", "user.test", "-v", value, bench.imagePath]
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    private func attribute() throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/getfattr")
        process.arguments = ["--only-values", "-n", "user.test", bench.imagePath]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: data, as: UTF8.self)
    }

    @Test(arguments: [O_RDONLY, O_RDWR])
    func `an image that somebody has open is refused, and whoever it is is named`(flags: Int32) throws {
        // Another process.
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sleep")
        process.arguments = ["60"]
        let handle =
            flags == O_RDONLY
            ? FileHandle(forReadingAtPath: bench.imagePath) : FileHandle(forUpdatingAtPath: bench.imagePath)
        let file = try #require(handle)
        process.standardInput = file
        try process.run()
        try file.close()
        defer {
            // SIGTERM is blocked in this process's threads, and so in what they start.
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        #expect {
            try bench.snapshots.rollBack(record, image: bench.image())
        } throws: {
            ($0 as? EngineError)?.code == .targetInUse
                && "\($0)".contains("process \(process.processIdentifier) (sleep)")
        }
        try expectUnchanged()
    }

    @Test func `an image that is only mapped is refused`() throws {
        let file = open(bench.imagePath, O_RDONLY | O_CLOEXEC)
        let memory = mmap(nil, 4096, PROT_READ, MAP_SHARED, file, 0)
        close(file)
        defer { munmap(memory, 4096) }
        #expect(bench.code { try bench.snapshots.rollBack(record, image: bench.image()) } == .targetInUse)
        try expectUnchanged()
    }

    @Test func `whoever opens the image meanwhile gets it, the old one, and the rollback gives up`() throws {
        let path = bench.imagePath
        var opened: Int32 = -2
        #expect(
            bench.code {
                try bench.snapshots.rollBack(record, image: bench.image()) { _, _ in
                    // It would wait for the lease without this flag; asking is enough.
                    if opened == -2 { opened = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) }
                }
            } == .targetInUse)
        #expect(opened == -1, "the lease makes others wait")
        try expectUnchanged()
    }

    @Test func `an image that was put in another's place meanwhile stays`() throws {
        #expect(
            bench.code {
                try bench.snapshots.rollBack(record, image: bench.image()) { done, total in
                    if done == total {
                        try Data([9]).write(to: URL(fileURLWithPath: bench.poolPath + "/other"))
                        rename(bench.poolPath + "/other", bench.imagePath)
                    }
                }
            } == .targetInUse)
        #expect(try bench.bytes(bench.imagePath) == [9])
        #expect(try bench.names(bench.poolPath) == [".holdfast-snapshots", "web.raw"])
    }

    @Test func `a file that is in the way is not ours, and stays`() throws {
        let path = bench.poolPath + "/.web.raw.rollback"
        try Data([9]).write(to: URL(fileURLWithPath: path))
        #expect(bench.code { try bench.snapshots.rollBack(record, image: bench.image()) } == .target)
        #expect(try bench.bytes(path) == [9] && bench.bytes(bench.imagePath) == SnapshotBench.image(2))
    }

    @Test func `one that is given up leaves the old image`() throws {
        #expect(
            bench.code {
                try bench.snapshots.rollBack(record, image: bench.image()) { _, _ in
                    throw EngineError(.cancelled, "enough")
                }
            } == .cancelled)
        try expectUnchanged()
    }

    @Test func `an image with a second name is refused, for that would stay the old one`() throws {
        #expect(link(bench.imagePath, bench.poolPath + "/second.raw") == 0)
        #expect(bench.code { try bench.snapshots.rollBack(record, image: bench.image()) } == .target)
        #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(2))
    }
}
