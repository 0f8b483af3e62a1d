import Foundation
import Testing

/// What is at the backend, wherever that is.
extension MountBench {
    /// Objects and leftovers, folders and copies of the catalog apart.
    var backendFiles: [String] { get throws { try allFiles.filter { !$0.contains("/.catalog/") } } }

    /// The copies of the catalog.
    var catalogCopies: [String] { get throws { try allFiles.filter { $0.contains("/.catalog/") } } }

    private var allFiles: [String] {
        get throws {
            if let bucket { return try bucket.keys() }
            return try run("cd backups && find . -type f | sort").split(separator: "\n").map { String($0.dropFirst(2)) }
        }
    }

    var archives: [String] { get throws { try backendFiles.filter { $0.hasSuffix(".zst.age") } } }
    var sidecars: [String] { get throws { try backendFiles.filter { $0.hasSuffix(".manifest.age") } } }

    /// Copies an object into the bench's folder.
    func fetch(_ key: String, as file: String) throws {
        guard let bucket else {
            try run("cp 'backups/\(key)' '\(file)'")
            return
        }
        try Data(try bucket.read(key)).write(to: URL(fileURLWithPath: folder + "/" + file))
    }

    /// Puts a file of the bench's folder at the backend, over what is there.
    func replace(_ key: String, with file: String) throws {
        guard let bucket else {
            try run("cp '\(file)' 'backups/\(key)'")
            return
        }
        try bucket.replace(key, with: [UInt8](Data(contentsOf: URL(fileURLWithPath: folder + "/" + file))))
    }

    func removeObject(_ key: String) throws {
        guard let bucket else {
            try run("rm 'backups/\(key)'")
            return
        }
        try bucket.remove(key)
    }

    /// Nothing half-done: two objects for each backup, no upload under way, an empty journal.
    ///
    /// A backup whose beginning nobody waits for any more is ended when the store has answered: up to `seconds` later.
    func expectClean(
        _ backupCount: Int, _ what: String = "", within seconds: Int = 0, _ location: SourceLocation = #_sourceLocation
    ) throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end, try !isClean(backupCount) { usleep(100_000) }
        let files = try backendFiles
        #expect(try backups.count == backupCount, "\(what)", sourceLocation: location)
        #expect(files.count == 2 * backupCount, "\(what): \(files)", sourceLocation: location)
        #expect(try bucket?.unfinishedUploads() ?? [] == [], "\(what)", sourceLocation: location)
        #expect(try uploadsInJournal == "0", "\(what)", sourceLocation: location)
    }

    private func isClean(_ backupCount: Int) throws -> Bool {
        try backendFiles.count == 2 * backupCount && bucket?.unfinishedUploads() ?? [] == [] && uploadsInJournal == "0"
    }

    private var uploadsInJournal: String {
        get throws { try run("sqlite3 state/catalog.sqlite 'select count(*) from upload'") }
    }
}
