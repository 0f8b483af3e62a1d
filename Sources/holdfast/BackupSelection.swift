internal import BackupEngine
internal import BackupNames
internal import Catalog

/// The start of a backup's name, `[BACKEND:][ORG[/VM[/DATE[/DISK]]]]`: as many parts as are given must match.
struct ListFilter {
    fileprivate let backend: String?
    fileprivate let parts: [String]

    init(_ text: String) throws {
        var rest = Substring(text)
        if let colon = rest.firstIndex(of: ":") {
            backend = String(rest[..<colon])
            rest = rest[rest.index(after: colon)...]
        } else {
            backend = nil
        }
        parts = rest.split(separator: "/").map(String.init)
        guard parts.count <= 4 else {
            throw EngineError(.invalidName, "\"\(text)\" has more parts than ORG/VM/DATE/DISK")
        }
    }

    func matches(_ identifier: BackupIdentifier) -> Bool {
        if let backend, "\(identifier.backend)" != backend { return false }
        let own = ["\(identifier.org)", "\(identifier.vm)", "\(identifier.date)", "\(identifier.disk)"]
        return zip(parts, own).allSatisfy { $0 == $1 }
    }
}

extension ListFilter {
    /// Whether backups of a disk can match: a backend and a date name backups, not disks.
    func matches(_ disk: DiskName) -> Bool {
        let own = ["\(disk.org)", "\(disk.vm)", "\(disk.disk)"]
        return backend == nil && parts.count <= 3 && zip(parts, own).allSatisfy { $0 == $1 }
    }
}

extension Engine {
    /// All backups that names and patterns mean, oldest first; every backup without any. A pattern that means none is an error.
    func select(_ patterns: [String]) throws -> [BackupIdentifier] {
        let all = try catalog.allBackups().sorted {
            ($0.createdAt, "\($0.identifier)") < ($1.createdAt, "\($1.identifier)")
        }
        guard !patterns.isEmpty else { return all.map(\.identifier) }
        var selected: Set<BackupIdentifier> = []
        for pattern in patterns {
            // What names one backup, `latest` among it, means that one.
            if let name = try? BackupPattern(pattern), name.date == .latest || pattern.contains(":") {
                selected.insert(try find(pattern))
                continue
            }
            let filter = try ListFilter(pattern)
            let found = all.filter { filter.matches($0.identifier) }
            guard !found.isEmpty else {
                throw EngineError(
                    .notFound, "there is no backup \"\(pattern)\"", hint: "`holdfast list` shows what there is")
            }
            selected.formUnion(found.map(\.identifier))
        }
        return all.map(\.identifier).filter(selected.contains)
    }
}
