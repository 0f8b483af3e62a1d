internal import GRDB
internal import Glibc
internal import Synchronization

/// Making the file and its tables, also when several processes and threads do so at one moment.
enum CatalogFile {
    /// How long another process's transaction is waited for.
    static let busyTimeout = Duration.seconds(10)

    private static let creation = Mutex(())

    /// Makes the file, empty and readable by its owner only, where there is none. Failures are left for SQLite to tell.
    ///
    /// A file that is there is not opened, not even to look: closing any descriptor of it would drop the POSIX locks that
    /// SQLite holds for the whole process (fcntl(2)). Another process would then take itself for the last user, and remove
    /// the write-ahead log from under a catalog that is open here, with what was committed to it. Under the mutex nobody in
    /// this process opens the new file before its descriptor is closed.
    static func create(_ path: String) {
        creation.withLock { _ in
            let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            if descriptor >= 0 { close(descriptor) }
        }
    }

    /// Opens the pool, which puts a new file into WAL mode. SQLite answers that at once with "locked" where another process
    /// does the same, for waiting could be a deadlock (sqlite3_busy_handler); so it is tried again here, for as long.
    static func openPool(_ path: String, _ configuration: GRDB.Configuration) throws -> DatabasePool {
        let clock = ContinuousClock()
        let deadline = clock.now + busyTimeout
        while true {
            do {
                return try DatabasePool(path: path, configuration: configuration)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY && clock.now < deadline {
                usleep(5000)
            }
        }
    }

    /// Brings the tables up to date. What is made by a later version of holdfast is refused.
    static func migrate(_ pool: DatabasePool, path: String) throws {
        let migrator = CatalogSchema.migrator
        if try pool.read({ try migrator.hasBeenSuperseded($0) }) {
            throw CatalogError(.newerVersion, "the catalog \"\(path)\" was made by a later version of holdfast")
        }
        while true {
            let count = try pool.read { try migrator.appliedIdentifiers($0).count }
            do {
                return try migrator.migrate(pool)
            } catch {
                // The migrator looks first and locks then: another process may have run the same migration in between, and
                // ours finds the tables there. As long as migrations get applied, that was no failure.
                guard try pool.read({ try migrator.appliedIdentifiers($0).count }) > count else { throw error }
            }
        }
    }

    /// Writes what a pool has open to a new file at `path`, whose file is gone. False, and nothing is changed, where there is one
    /// again.
    static func save(_ pool: DatabasePool, as path: String) throws -> Bool {
        let copy = path + ".saved"
        unlink(copy)
        create(copy)
        try pool.writeWithoutTransaction { try $0.execute(sql: "VACUUM INTO ?", arguments: [copy]) }
        defer { unlink(copy) }
        let descriptor = open(copy, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, fsync(descriptor) == 0 else {
            if descriptor >= 0 { close(descriptor) }
            throw CatalogError(.unusable, "\"\(copy)\" cannot be written (error \(errno))")
        }
        close(descriptor)
        // A log that was left behind is of the file that is gone, and all of it is in the copy.
        guard FilePlace.of(path) == .absent else { return false }
        for ending in ["-wal", "-shm"] { unlink(path + ending) }
        guard link(copy, path) == 0 else {
            if errno == EEXIST { return false }
            throw CatalogError(.unusable, "\"\(path)\" cannot be written (error \(errno))")
        }
        syncFolder(of: path)
        return true
    }

    /// A name that a power cut takes back is found missing by the next start: no error of this is worth ending for.
    static func syncFolder(of path: String) {
        let end = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let folder = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        close(descriptor)
    }
}
