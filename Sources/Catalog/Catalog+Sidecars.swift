package import BackupNames
internal import GRDB

/// A sidecar at a backend, by its place: what the catalog is asked about.
package struct SidecarPlace: Sendable, Hashable {
    package let place: BackupPlace
    /// The object's key, the backend's prefix included.
    package let manifestKey: String

    package init(_ place: BackupPlace, manifestKey: String) {
        self.place = place
        self.manifestKey = manifestKey
    }
}

/// What the catalog knows of a sidecar without looking at it.
package enum SidecarStanding: Sendable, Hashable {
    /// Nothing.
    case new
    /// Its backup has a row, of this generation or a later one.
    case registered
    /// The journal names it: somebody on this host makes or removes this very backup, or did so and died.
    case underWay
    /// It was looked at and not taken in.
    case refused(RefusedSidecar)
}

/// A sidecar that was looked at and not taken in.
package struct RefusedSidecar: Sendable, Hashable {
    package let manifestKey: String
    /// What it was when it was looked at: the object's version, and whatever else the refusal depends on.
    package let version: String
    /// Seconds since 1970.
    package let refusedAt: Int64
    /// The code of the refusal, a colon, and its text.
    package let detail: String

    package init(manifestKey: String, version: String, refusedAt: Int64, detail: String) {
        self.manifestKey = manifestKey
        self.version = version
        self.refusedAt = refusedAt
        self.detail = detail
    }
}

/// What became of a backup that was found at a backend.
package enum TakingIn: Sendable, Hashable {
    case registered
    /// The row that was there is replaced; checks, damage and scrubbing stay with it. The generation is that of the old one.
    case replaced(generation: UInt64)
    /// The journal names it: nothing was changed.
    case underWay
    /// Somebody else was faster: nothing was changed.
    case exists
}

extension Catalog {
    /// Refused sidecars that are remembered of a backend; the oldest go. A key takes 1 KiB at most, a detail half of that.
    package static let refusedSidecarLimit = 10_000
    private static let refusalTextLimit = 500

    /// What is known of each, in the same order. One read, however many.
    package func standing(of places: [SidecarPlace], at backend: ResourceName) throws(CatalogError) -> [SidecarStanding]
    {
        try read { database in
            let name = backend.description
            let journaled = Set(
                try String.fetchAll(
                    database, sql: "SELECT manifest_key FROM upload WHERE backend = ?", arguments: [name]))
            let registered = try database.cachedStatement(
                sql: """
                    SELECT EXISTS (SELECT 1 FROM backup
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ? AND generation >= ?)
                    """)
            let refused = try database.cachedStatement(
                sql: "SELECT * FROM refused_sidecar WHERE backend = ? AND manifest_key = ?")
            return try places.map { place in
                if journaled.contains(place.manifestKey) { return .underWay }
                let isRegistered = try Bool.fetchOne(
                    registered,
                    arguments: Self.arguments(place.place.identifier) + [Int64(clamping: place.place.generation)])
                if isRegistered == true { return .registered }
                guard let row = try Row.fetchOne(refused, arguments: [name, place.manifestKey]) else { return .new }
                return .refused(try Self.refusedSidecar(row))
            }
        }
    }

    /// Registers a backup that was found at a backend, by somebody who did not make it. One transaction, and the journal has the
    /// last word: what it names is being made or removed on this host, and is left to whoever does so.
    ///
    /// A row of an earlier generation is replaced; one of the same generation or a later one only if `isReplacing`.
    package func takeIn(
        _ record: BackupRecord, from manifestKey: String, replacing isReplacing: Bool
    ) throws(CatalogError) -> TakingIn {
        try write { database in
            let identifier = record.identifier
            let backend = identifier.backend.description
            let isUnderWay = try Bool.fetchOne(
                database, sql: "SELECT EXISTS (SELECT 1 FROM upload WHERE backend = ? AND manifest_key = ?)",
                arguments: [backend, manifestKey])
            if isUnderWay == true { return .underWay }
            let row = try Self.row(of: identifier, database)
            if let row, !isReplacing, row.generation >= record.generation { return .exists }
            if let row {
                try Self.update(row.id, record, database)
            } else {
                try Self.insert(record, database)
            }
            try database.execute(
                sql: "DELETE FROM refused_sidecar WHERE backend = ? AND manifest_key = ?",
                arguments: [backend, manifestKey])
            return row.map { .replaced(generation: $0.generation) } ?? .registered
        }
    }

    /// Remembers sidecars that were refused, the oldest beyond `limit` apart.
    package func noteRefused(
        _ sidecars: [RefusedSidecar], at backend: ResourceName, limit: Int = refusedSidecarLimit
    ) throws(CatalogError) {
        guard !sidecars.isEmpty else { return }
        try write { database in
            let name = backend.description
            for sidecar in sidecars {
                try database.execute(
                    sql: "INSERT OR REPLACE INTO refused_sidecar VALUES (?, ?, ?, ?, ?)",
                    arguments: [
                        name, sidecar.manifestKey, sidecar.version, sidecar.refusedAt,
                        String(sidecar.detail.prefix(Self.refusalTextLimit)),
                    ])
            }
            let count =
                try Int.fetchOne(
                    database, sql: "SELECT count(*) FROM refused_sidecar WHERE backend = ?", arguments: [name]) ?? 0
            guard count > limit else { return }
            try database.execute(
                sql: """
                    DELETE FROM refused_sidecar WHERE backend = ? AND manifest_key IN (
                    SELECT manifest_key FROM refused_sidecar WHERE backend = ? ORDER BY refused_at LIMIT ?)
                    """, arguments: [name, name, count - limit])
        }
    }

    /// What is remembered of a backend, by key.
    package func refusedSidecars(at backend: ResourceName) throws(CatalogError) -> [RefusedSidecar] {
        try read { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM refused_sidecar WHERE backend = ? ORDER BY manifest_key",
                arguments: [backend.description]
            ).map(Self.refusedSidecar)
        }
    }

    private static func refusedSidecar(_ row: Row) throws -> RefusedSidecar {
        RefusedSidecar(
            manifestKey: try row.value("manifest_key"), version: try row.value("version"),
            refusedAt: try row.value("refused_at"), detail: try row.value("detail"))
    }
}
