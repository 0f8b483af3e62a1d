package import BackupNames
internal import GRDB

/// What a test of a backend has measured, or where it failed.
package struct BackendTestRecord: Sendable, Hashable {
    package static let good = "good"

    package let backend: ResourceName
    /// Seconds since 1970.
    package let testedAt: Int64
    /// `good`, or the code of what went wrong.
    package let outcome: String
    package let detail: String
    /// The median of small requests; what was not reached is 0.
    package let latencyMicroseconds: Int64
    package let upBytesPerSecond: Int64
    package let downBytesPerSecond: Int64

    package var isGood: Bool { outcome == Self.good }

    package init(
        backend: ResourceName, testedAt: Int64, outcome: String, detail: String, latencyMicroseconds: Int64,
        upBytesPerSecond: Int64, downBytesPerSecond: Int64
    ) {
        self.backend = backend
        self.testedAt = testedAt
        self.outcome = outcome
        self.detail = detail
        self.latencyMicroseconds = latencyMicroseconds
        self.upBytesPerSecond = upBytesPerSecond
        self.downBytesPerSecond = downBytesPerSecond
    }
}

extension Catalog {
    /// Tests of a backend that are kept.
    package static let backendTestLimit = 100

    package func addBackendTest(_ test: BackendTestRecord) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    INSERT INTO backend_test (backend, tested_at, outcome, detail, latency_us, up_bytes_per_second,
                    down_bytes_per_second) VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    test.backend.description, test.testedAt, test.outcome, test.detail, test.latencyMicroseconds,
                    test.upBytesPerSecond, test.downBytesPerSecond,
                ])
            try database.execute(
                sql: """
                    DELETE FROM backend_test WHERE id IN (
                    SELECT id FROM backend_test WHERE backend = ? ORDER BY id DESC LIMIT -1 OFFSET ?)
                    """, arguments: [test.backend.description, Self.backendTestLimit])
        }
    }

    /// The newest first.
    package func backendTests(
        of backend: ResourceName, limit: Int = backendTestLimit
    ) throws(CatalogError) -> [BackendTestRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: "SELECT * FROM backend_test WHERE backend = ? ORDER BY id DESC LIMIT ?"),
                arguments: [backend.description, limit]
            ).map { row in
                BackendTestRecord(
                    backend: try Self.name(row.value("backend")), testedAt: try row.value("tested_at"),
                    outcome: try row.value("outcome"), detail: try row.value("detail"),
                    latencyMicroseconds: try row.value("latency_us"),
                    upBytesPerSecond: try row.value("up_bytes_per_second"),
                    downBytesPerSecond: try row.value("down_bytes_per_second"))
            }
        }
    }

    /// The newest runs of the agent that stored a backup at a backend, the newest first.
    package func goodBackupRuns(at backend: ResourceName, limit: Int) throws(CatalogError) -> [BackupRunRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT * FROM backup_run WHERE kind = 'backup' AND place = ? AND outcome = ?
                        ORDER BY started_at DESC, id DESC LIMIT ?
                        """), arguments: [backend.description, BackupRunRecord.good, limit]
            ).map(Self.backupRun)
        }
    }
}
