import BackupEngine
import Foundation
import Logging
import SystemIO
import Testing

@testable import Moments

@Suite("Moments", .timeLimit(.minutes(1)))
struct MomentTests {
    private let folder: String
    private let moments: Moments
    private let journal: MomentJournal

    init() throws {
        folder = NSTemporaryDirectory() + "holdfast-moments-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        moments = Moments(stateDirectory: folder, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        journal = MomentJournal(path: folder + "/moments")
    }

    private func note(_ path: String, _ owner: ProcessIdentity) throws -> String {
        let name = MomentTrace.newName()
        try journal.write(
            MomentJournal.Note(
                trace: .clone(path: path), process: owner.process, startTicks: owner.startTicks,
                boot: owner.bootIdentifier), name)
        return name
    }

    @Test func `what a process that is no more has left is removed, and what is in use stays`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (dead, used) = ("\(folder)/.\(MomentTrace.newName()).a", "\(folder)/.\(MomentTrace.newName()).b")
        for path in [dead, used] { try Data([1]).write(to: URL(fileURLWithPath: path)) }
        _ = try note(dead, ProcessIdentity(process: 1, startTicks: 1, bootIdentifier: "another boot"))
        let kept = try note(used, .current)
        moments.cleanUpAfterCrash()
        #expect(!FileManager.default.fileExists(atPath: dead) && FileManager.default.fileExists(atPath: used))
        #expect(journal.notes().map(\.name) == [kept])
        // What is noted and was never made.
        _ = try note(
            "\(folder)/.\(MomentTrace.newName()).c", ProcessIdentity(process: 0, startTicks: 0, bootIdentifier: ""))
        moments.cleanUpAfterCrash()
        #expect(journal.notes().map(\.name) == [kept])
    }

    @Test func `a note that names what is not ours, or is none, is left alone`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let precious = folder + "/precious.raw"
        try Data([1]).write(to: URL(fileURLWithPath: precious))
        _ = try note(precious, ProcessIdentity(process: 0, startTicks: 0, bootIdentifier: ""))
        try Data("{".utf8).write(to: URL(fileURLWithPath: journal.path + "/\(MomentTrace.mark)1.json"))
        moments.cleanUpAfterCrash()
        #expect(FileManager.default.fileExists(atPath: precious) && journal.notes().isEmpty)
    }

    @Test func `a source that is not there is an error that names it`() {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect {
            _ = try moments.take(of: folder + "/absent.raw", .auto)
        } throws: { error in
            (error as? EngineError)?.code == .source && "\(error)".contains("absent.raw")
        }
    }
}
