package import BackupNames
internal import Catalog
internal import Logging
internal import Storage

extension Engine {
    /// Looks at the DR backends for backups of one disk that other hosts have made: a listing of its vm alone at each. Returns whether
    /// something was taken in. A backend that is away is passed over.
    package func refresh(_ disk: DiskName) throws(EngineError) -> Bool {
        var isChanged = false
        for backend in backends.values where backend.isDisasterRecovery {
            do {
                var after: String?
                repeat {
                    let page = try backend.store.list(
                        prefix: backend.prefixString + "\(disk.org)/\(disk.vm)/", after: after, limit: 1000)
                    let sidecars = page.objects.compactMap { object in
                        backend.place(ofManifestKey: object.key).flatMap {
                            $0.identifier.diskName == disk ? ListedSidecar(place: $0, facts: object) : nil
                        }
                    }
                    let standing = try catalog.standing(of: sidecars.map(\.sidecarPlace), at: backend.name)
                    for (sidecar, standing) in zip(sidecars, standing) where standing == .new {
                        if case .registered = takeIn(sidecar, from: backend) { isChanged = true }
                    }
                    after = page.next
                } while after != nil
            } catch let error as CatalogError {
                throw EngineError(error, subject: "\(disk)")
            } catch {
                log.warning("\(backend.name) is not looked at for backups of \(disk): \(error)")
            }
        }
        return isChanged
    }
}
