internal import GRDB
internal import Glibc

/// Which file a path names at a moment.
enum FilePlace: Hashable, Sendable {
    case file(device: UInt64, inode: UInt64)
    case absent
    /// It cannot be told.
    case unknown

    static func of(_ path: String) -> FilePlace {
        var status = stat()
        guard stat(path, &status) == 0 else { return errno == ENOENT ? .absent : .unknown }
        return .file(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }
}

/// The connections to one file of a catalog.
///
/// They may be closed also when the path names another file by then: SQLite removes a write-ahead log, which it knows by its name only, and
/// writes it back, where the database is still the file of that name (SQLITE_FCNTL_HAS_MOVED), and leaves it otherwise.
final class CatalogConnections: Sendable {
    private static let attempts = 10

    let pool: DatabasePool
    /// Sees the commits of others by PRAGMA data_version, which tells a connection of changes made by other connections.
    let observer: DatabaseQueue
    let place: FilePlace
    /// How many files were open here before this one.
    let number: Int64
    private let path: String

    /// Opens the file, making or migrating it as needed.
    init(path: String, number: Int64) throws {
        var configuration = GRDB.Configuration()
        configuration.busyMode = .timeout(CatalogFile.busyTimeout / .seconds(1))
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
        }
        configuration.maximumReaderCount = 4
        var attempt = 1
        while true {
            CatalogFile.create(path)
            let before = FilePlace.of(path)
            let pool = try CatalogFile.openPool(path, configuration)
            try CatalogFile.migrate(pool, path: path)
            let observer = try DatabaseQueue(path: path, configuration: configuration)
            if before == FilePlace.of(path) {
                (self.pool, self.observer, place) = (pool, observer, before)
                break
            }
            // It was replaced at this moment: nobody knows which file each of them has.
            attempt += 1
            guard attempt <= Self.attempts else {
                throw CatalogError(.unusable, "the catalog \"\(path)\" is replaced again and again")
            }
        }
        self.path = path
        self.number = number
    }

    /// Ends all of them, and leaves everything in the one file. Nothing may be asked of them any more.
    func close() throws {
        // The pool closes its readers last, and they write nothing back.
        let isBusy = try pool.writeWithoutTransaction { database in
            try Int.fetchOne(database, sql: "PRAGMA wal_checkpoint(TRUNCATE)") != 0
        }
        if isBusy { throw CatalogError(.unusable, "the catalog \"\(path)\" is in use") }
        try observer.close()
        try pool.close()
        // Empty, and in nobody's hands.
        for ending in ["-wal", "-shm"] { unlink(path + ending) }
    }
}
