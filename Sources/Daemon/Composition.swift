internal import AgeFormat
internal import Archive
package import BackupEngine
internal import BackupNames
internal import Catalog
package import Configuration
package import Logging
internal import OrgKeys
internal import Storage
internal import SystemIO

/// Puts the parts together as the configuration says: the only place that knows all of them.
package enum Composition {
    /// The state folder is its owner's alone: the catalog holds the hashes and names of everything.
    package static func makeStateDirectory(_ configuration: Configuration) throws {
        try makeDirectories(configuration.stateDirectory, mode: 0o700)
    }

    /// Makes the state folder, opens the catalog, the backends and the keys. With `createsBackends` a missing folder of the
    /// embedded default's backend is made; a configured folder that is missing is an error of its backend, shown when it is
    /// used, for an unmounted disk must not silently become an empty backend.
    package static func engine(_ configuration: Configuration, log: Logger) throws -> Engine {
        try makeStateDirectory(configuration)
        let catalog = try Catalog(path: configuration.stateDirectory + "/catalog.sqlite")
        let backends = try configuration.backends.map { backend in
            let store = LocalDirectoryStore(name: backend.name.description, path: backend.path)
            if configuration.isEmbeddedDefault { try store.createRoot() }
            return Backend(
                name: backend.name, store: store, prefix: backend.prefix, region: backend.region,
                country: backend.country)
        }
        var orgs: [ResourceName: OrgSettings] = [:]
        for org in configuration.orgs {
            orgs[org.name] = OrgSettings(recoveryRecipients: try org.recoveryRecipients.map { try AgeRecipient($0) })
        }
        return Engine(
            catalog: catalog, backends: backends, keys: KeyDirectory(path: configuration.keysDirectory), orgs: orgs,
            archiveSettings: ArchiveSettings(
                frameByteCount: configuration.archive.frameByteCount, level: Int32(configuration.archive.level)),
            memoryBudgetByteCount: configuration.memoryBudgetByteCount, log: log)
    }
}
