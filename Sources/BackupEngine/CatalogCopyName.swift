package import BackupNames
package import Storage

/// A copy of the catalog by the name of its object: `<prefix>/<org>/.catalog/<date>.<origin>.catalog.age`.
///
/// No vm is called so, for names of vms do not start with a dot; so nothing takes a copy for a part of a backup.
package struct CatalogCopyName: Sendable, Hashable {
    private static let folder = ".catalog"
    private static let ending = ".catalog.age"
    private static let dateByteCount = 20
    private static let originByteCount = 16

    package let backend: ResourceName
    package let org: ResourceName
    package let date: BackupDate
    /// The catalog it was made of.
    package let origin: String

    package init(backend: ResourceName, org: ResourceName, date: BackupDate, origin: String) {
        self.backend = backend
        self.org = org
        self.date = date
        self.origin = origin
    }

    /// What the keys of all copies of an org start with.
    static func prefix(of org: ResourceName, at backend: Backend) -> String {
        "\(backend.prefixString)\(org)/\(folder)/"
    }

    /// nil for the key of anything else.
    init?(_ key: ObjectKey, of org: ResourceName, at backend: Backend) {
        let prefix = Self.prefix(of: org, at: backend)
        let bytes = Array(key.string.utf8.dropFirst(prefix.utf8.count))
        guard key.string.utf8.starts(with: prefix.utf8),
            bytes.count == Self.dateByteCount + 1 + Self.originByteCount + Self.ending.utf8.count,
            bytes[Self.dateByteCount] == UInt8(ascii: "."),
            bytes.suffix(Self.ending.utf8.count).elementsEqual(Self.ending.utf8),
            let date = try? BackupDate(String(decoding: bytes[..<Self.dateByteCount], as: UTF8.self))
        else { return nil }
        let origin = bytes[(Self.dateByteCount + 1)...].prefix(Self.originByteCount)
        guard origin.allSatisfy(Self.isOriginByte) else { return nil }
        self.init(backend: backend.name, org: org, date: date, origin: String(decoding: origin, as: UTF8.self))
    }

    private static func isOriginByte(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    func key(at backend: Backend) throws(StorageError) -> ObjectKey {
        try ObjectKey("\(Self.prefix(of: org, at: backend))\(date).\(origin)\(Self.ending)")
    }
}

/// A copy as a listing shows it.
package struct ListedCopy: Sendable, Hashable {
    package let name: CatalogCopyName
    package let key: ObjectKey
    package let byteCount: UInt64
}

extension Engine {
    /// Copies of one catalog that are listed, the newest: more than a configuration may keep.
    private static let copiesOfOriginLimit = 128
    /// Catalogs whose copies are listed, those with the newest.
    static let originLimit = 256

    /// The copies of an org at a backend, the newest first. However many objects somebody puts there, the memory is bounded: of
    /// what is too much the oldest is left out.
    package func catalogCopies(of org: ResourceName, at backend: Backend) throws(EngineError) -> [ListedCopy] {
        var copies: [String: [ListedCopy]] = [:]
        var after: String?
        do throws(StorageError) {
            repeat {
                let page = try backend.store.list(
                    prefix: CatalogCopyName.prefix(of: org, at: backend), after: after, limit: 1000)
                for object in page.objects {
                    guard let name = CatalogCopyName(object.key, of: org, at: backend) else { continue }
                    let copy = ListedCopy(name: name, key: object.key, byteCount: object.byteCount)
                    // The listing is sorted by date: the first is the oldest.
                    if copies[name.origin]?.count == Self.copiesOfOriginLimit {
                        copies[name.origin]?.removeFirst()
                    }
                    copies[name.origin, default: []].append(copy)
                    if copies.count == 2 * Self.originLimit { Self.keepNewestOrigins(&copies) }
                }
                after = page.next
            } while after != nil
        } catch {
            throw EngineError(error, subject: "the catalog's copies at backend \"\(backend.name)\"")
        }
        Self.keepNewestOrigins(&copies)
        return copies.values.joined().sorted {
            ($1.name.date, $1.name.origin) < ($0.name.date, $0.name.origin)
        }
    }

    private static func keepNewestOrigins(_ copies: inout [String: [ListedCopy]]) {
        guard copies.count > originLimit else { return }
        let newestFirst = copies.compactMap { origin, list in list.last.map { (origin: origin, date: $0.name.date) } }
            .sorted { ($1.date, $1.origin) < ($0.date, $0.origin) }
        for (origin, _) in newestFirst.dropFirst(originLimit) { copies[origin] = nil }
    }
}
