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
}
