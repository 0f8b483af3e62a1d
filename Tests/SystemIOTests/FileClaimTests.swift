import Foundation
import Glibc
import SystemIO
import Testing

@Suite("Claims on files", .timeLimit(.minutes(1)))
struct FileClaimTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private var path: String { folder.path + "/file" }

    private func open(_ access: OwnedFile.Access = .readWrite) throws -> OwnedFile {
        try OwnedFile(opening: path, for: access, options: .create)
    }

    @Test func `a lease is granted only while nobody else has the file, and is broken by whoever opens it`() throws {
        let file = try open()
        do {
            let other = try open(.read)
            let isGranted = try file.tryLease()
            #expect(!isGranted)
            try other.close()
        }
        let isGranted = try file.tryLease()
        let isHeld = file.holdsLease
        #expect(isGranted && isHeld)
        #expect(Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) == -1 && errno == EWOULDBLOCK)
        let isStillHeld = file.holdsLease
        #expect(!isStillHeld)
        file.endLease()
        _ = try open(.read)
    }

    @Test func `a lock of bytes is one open file's, until it is closed`() throws {
        let first = try open()
        let second = try open()
        let answers = [
            try first.tryLock(100..<300), try second.tryLock(200..<201), try second.tryLock(300..<301),
        ]
        #expect(answers == [true, false, true])
        try first.close()
        let isFree = try second.tryLock(100..<300)
        #expect(isFree)
    }

    @Test func `who has a file open is named, this process is not`() throws {
        let file = try open()
        let facts = try file.facts()
        #expect(FileHolders.of(facts).isEmpty)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sleep")
        process.arguments = ["60"]
        process.standardInput = FileHandle(forReadingAtPath: path)
        try process.run()
        #expect(FileHolders.of(facts) == ["process \(process.processIdentifier) (sleep)"])
        // SIGTERM is blocked in this process's threads, and so in what they start.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        #expect(FileHolders.of(facts).isEmpty)
    }

    @Test func `owner, mode and attributes are taken from another file`() throws {
        let model = try open()
        try model.setPermissions(0o4751)
        if getuid() == 0 {
            try model.setOwner(user: 12, group: 34)
            try model.setPermissions(0o4751)
        }
        let copy = try OwnedFile(opening: folder.path + "/copy", for: .readWrite, options: .create)
        copy.takeWriteMode(of: model)
        try copy.takeAppearance(of: model)
        let facts = try copy.facts()
        #expect(facts.permissions == 0o4751)
        if getuid() == 0 { #expect(facts.owner == 12 && facts.group == 34) }
    }

    @Test func `the file system of the root is among the mounts`() throws {
        #expect(MountEntry.holding("/")?.mountpoint == "/")
        #expect(try MountEntry.all().contains { $0.fileSystem == "proc" })
    }
}
