internal import BackupNames
internal import Catalog
internal import Storage

/// A sidecar as a listing shows it.
struct ListedSidecar: Sendable {
    let place: BackupPlace
    let facts: ObjectFacts

    var identifier: BackupIdentifier { place.identifier }
    var sidecarPlace: SidecarPlace { SidecarPlace(place, manifestKey: facts.key.string) }
}

/// What a page of a listing has for the catalog.
struct ListedPage: Sendable {
    var sidecars: [ListedSidecar] = []
    /// All archives, those without a sidecar among them.
    var archives: [ObjectKey] = []
    /// Archives whose folder holds no sidecar of theirs.
    var loneArchives: [ObjectKey] = []
    /// What has a mark of a hold beside it.
    var held: [BackupIdentifier] = []
}

/// Goes through all objects of a backend, page by page, and never holds more than one: there may be millions, and not all of
/// them need be ours. What is neither sidecar nor archive (the catalog's copies, other tools' objects) is passed over.
struct BackendListing {
    /// Some 5 MB in memory; a bucket gives a thousand at a time.
    private static let pageLimit = 20_000
    /// Names of one folder that are compared with each other. A date has two for each disk.
    private static let folderLimit = 4096

    private let backend: Backend
    /// The listing is sorted, so the names of a folder come one after the other.
    private var folder = Substring()
    private var manifestKeys: Set<String> = []
    private var archives: [ObjectKey] = []

    init(_ backend: Backend) { self.backend = backend }

    /// Calls `body` for each page, in order. Throws what the store or `body` throws: a listing is whole or an error.
    mutating func forEachPage(_ body: (ListedPage) throws -> Void) throws {
        var after: String?
        repeat {
            let listed = try backend.store.list(prefix: backend.prefixString, after: after, limit: Self.pageLimit)
            var page = ListedPage()
            for object in listed.objects { note(object, &page) }
            after = listed.next
            if after == nil { endFolder(&page) }
            try body(page)
        } while after != nil
    }

    private mutating func note(_ object: ObjectFacts, _ page: inout ListedPage) {
        let name = object.key.string
        let parent = name.prefix(upTo: name.utf8.lastIndex(of: UInt8(ascii: "/")) ?? name.startIndex)
        if !parent.utf8.elementsEqual(folder.utf8) {
            endFolder(&page)
            folder = parent
        }
        if let place = backend.place(ofManifestKey: object.key) {
            page.sidecars.append(ListedSidecar(place: place, facts: object))
            if manifestKeys.count < Self.folderLimit { manifestKeys.insert(name) }
        } else if let identifier = backend.identifier(ofHoldKey: object.key) {
            page.held.append(identifier)
        } else if name.hasSuffix(BackupIdentifier.archiveEnding) {
            page.archives.append(object.key)
            if archives.count < Self.folderLimit { archives.append(object.key) }
        }
    }

    private mutating func endFolder(_ page: inout ListedPage) {
        page.loneArchives += archives.filter { key in
            let stem = key.string.dropLast(BackupIdentifier.archiveEnding.count)
            return !manifestKeys.contains(stem + BackupIdentifier.manifestEnding)
        }
        manifestKeys.removeAll()
        archives.removeAll()
    }
}
