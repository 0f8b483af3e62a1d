internal import GRDB
internal import Glibc
internal import Synchronization

/// What becomes of a catalog whose file goes or is replaced while it is open: nobody writes into a file that has no name any more,
/// or reads on from it while all others have another.
extension Catalog {
    /// The connections to the file that the path names now.
    ///
    /// A file that was removed is written again from what is open here, so that nothing is lost; where another one has its place, that
    /// one counts from now on. Either is told to `notice`. Throws where neither can be done; the next call tries again.
    func connections() throws -> CatalogConnections {
        let known = current.withLock { $0 }
        let place = FilePlace.of(path)
        if place == known.place || place == .unknown { return known }
        return try following.withLock { _ in try follow() }
    }

    private func follow() throws -> CatalogConnections {
        let known = current.withLock { $0 }
        var what = "was replaced by another file while it was in use: what that one holds counts from now on"
        switch FilePlace.of(path) {
        case known.place, .unknown: return known
        case .absent:
            if try CatalogFile.save(known.pool, as: path) {
                what = "was removed while it was in use: it is written again, nothing is lost"
            }
        case .file: break
        }
        let next = try CatalogConnections(path: path, number: known.number + 1)
        current.withLock { $0 = next }
        notice("the catalog \"\(path)\" \(what)")
        return next
    }
}
