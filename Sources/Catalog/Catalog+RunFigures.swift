package import BackupNames
internal import GRDB

/// What RPO, RTO and the drills that are due are told from.
extension Catalog {
    /// The newest drill of each disk that had one; with `onlyGood` the newest that went well.
    package func newestDrills(onlyGood: Bool) throws(CatalogError) -> [DiskName: RunRecord] {
        let condition = onlyGood ? "AND outcome = '\(RunRecord.good)'" : ""
        return try read { database in
            // Of two that began in the same second the one that was written down last is the newer.
            let rows = try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT * FROM (
                            SELECT *, row_number() OVER (
                                PARTITION BY org, vm, disk ORDER BY started_at DESC, id DESC) AS age
                            FROM run WHERE kind = 'drill' \(condition)
                        ) WHERE age = 1
                        """))
            var newest: [DiskName: RunRecord] = [:]
            for row in rows {
                let run = try Self.run(row)
                newest[run.identifier.diskName] = run
            }
            return newest
        }
    }

    /// The newest restores and drills at a backend that went well, the newest first.
    package func goodRuns(at backend: ResourceName, limit: Int) throws(CatalogError) -> [RunRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: "SELECT * FROM run WHERE backend = ? AND outcome = ? ORDER BY started_at DESC, id DESC LIMIT ?"
                ),
                arguments: [backend.description, RunRecord.good, limit]
            ).map(Self.run)
        }
    }
}
