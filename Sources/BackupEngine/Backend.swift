package import BackupNames
package import Retention
package import Storage
internal import Workers

/// A place archives are kept, as the configuration names it.
package struct Backend: Sendable {
    package let name: ResourceName
    package let store: any ObjectStore
    /// Path components before `<org>/…` in every object key.
    package let prefix: [String]
    package let region: String?
    package let country: String?
    /// Whether it counts as disaster recovery: another provider, another country.
    package let isDisasterRecovery: Bool
    /// Whether ranges of its archives are worth a place in the disk cache: it is far away.
    package let isRemote: Bool
    /// How long a reader waits while nothing comes. Longer than its store repeats a read, so that the store's own error is told.
    package let readPatienceSeconds: Int
    /// How many reads of the store may block at once: threads of its own, so that a dead backend holds up no other.
    package let fetchThreadCount: Int
    /// Days for which the provider bills an object, however early it goes.
    package let minimumBilledDays: Int
    /// What it bills for stored bytes.
    package let price: Price
    /// Whether its archives can be locked: then their locks are asked for and kept.
    package let locksObjects: Bool

    package init(
        name: ResourceName, store: any ObjectStore, prefix: [String] = [], region: String? = nil,
        country: String? = nil, isDisasterRecovery: Bool = false, isRemote: Bool = false,
        readPatienceSeconds: Int = 60,
        fetchThreadCount: Int = WorkerPool.processorCount + 2, minimumBilledDays: Int = 0,
        price: Price = Price(centsPerTerabyteMonth: 3500), locksObjects: Bool = false
    ) {
        self.name = name
        self.store = store
        self.prefix = prefix
        self.region = region
        self.country = country
        self.isDisasterRecovery = isDisasterRecovery
        self.isRemote = isRemote
        self.readPatienceSeconds = readPatienceSeconds
        self.fetchThreadCount = fetchThreadCount
        self.minimumBilledDays = minimumBilledDays
        self.price = price
        self.locksObjects = locksObjects
    }

    /// `<prefix>/<org>/<vm>/<date>/…<disk>.raw.zst.age`.
    package func archiveKey(of place: BackupPlace) throws(StorageError) -> ObjectKey {
        try key(place.archiveKey)
    }

    /// `<prefix>/<org>/<vm>/<date>/…<disk>.manifest.age`.
    package func manifestKey(of place: BackupPlace) throws(StorageError) -> ObjectKey {
        try key(place.manifestKey)
    }

    /// The backup, and its generation, whose sidecar lies at this key; nil for any other object.
    package func place(ofManifestKey key: ObjectKey) -> BackupPlace? {
        let start = prefixString
        guard key.string.hasPrefix(start) else { return nil }
        return BackupPlace(backend: name, manifestKey: String(key.string.dropFirst(start.count)))
    }

    /// `<prefix>/<org>/<vm>/<date>/<disk>.hold`.
    package func holdKey(of identifier: BackupIdentifier) throws(StorageError) -> ObjectKey {
        try key(identifier.holdKey)
    }

    /// The backup whose mark of a hold this key is; nil for any other object.
    package func identifier(ofHoldKey key: ObjectKey) -> BackupIdentifier? {
        let start = prefixString
        guard key.string.hasPrefix(start) else { return nil }
        return BackupIdentifier(backend: name, holdKey: String(key.string.dropFirst(start.count)))
    }

    /// What all our keys start with: empty, or the prefix with a slash.
    package var prefixString: String { prefix.map { $0 + "/" }.joined() }

    private func key(_ path: String) throws(StorageError) -> ObjectKey {
        try ObjectKey(prefixString + path)
    }
}
