internal import AgeFormat
internal import Archive
package import BackupEngine
internal import BackupNames
internal import Catalog
package import Configuration
package import Logging
internal import OrgKeys
internal import RangeCache
internal import S3Storage
package import Snapshots
internal import Storage
internal import SystemIO
internal import Workers

/// Puts the parts together as the configuration says: the only place that knows all of them.
package enum Composition {
    /// The state folder is its owner's alone: the catalog holds the hashes and names of everything.
    package static func makeStateDirectory(_ configuration: Configuration) throws {
        try makeDirectories(configuration.stateDirectory, mode: 0o700)
    }

    /// Makes the state folder, opens the catalog, the backends and the keys. With `createsBackends` a missing folder of the
    /// embedded default's backend is made; a configured folder that is missing is an error of its backend, shown when it is
    /// used, for an unmounted disk must not silently become an empty backend.
    ///
    /// The disk cache is for those who read much: one process has it at a time.
    package static func engine(
        _ configuration: Configuration, usesRangeCache: Bool = false, log: Logger
    ) throws -> Engine {
        try StateFolder.makePrivate(configuration.stateDirectory, log)
        let catalog = try Catalog(path: catalogPath(configuration)) { log.error("\($0)") }
        return try engine(configuration, catalog, usesRangeCache: usesRangeCache, log)
    }

    static func catalogPath(_ configuration: Configuration) -> String {
        configuration.stateDirectory + "/catalog.sqlite"
    }

    static func engine(
        _ configuration: Configuration, _ catalog: Catalog, usesRangeCache: Bool = false, _ log: Logger
    ) throws -> Engine {
        let plan = MemoryPlan(budgetByteCount: configuration.memoryBudgetByteCount)
        let uploadMemory = BufferPool(capacityByteCount: plan.uploadByteCount)
        let isOnlyBucket = configuration.backends.count(where: { $0.path == nil }) <= 1
        let backends = try configuration.backends.map { backend in
            let (store, fetchThreadCount, patienceSeconds) = try makeStore(
                backend, configuration, UploadShare(of: uploadMemory, isOnlyOne: isOnlyBucket))
            return Backend(
                name: backend.name, store: store, prefix: backend.prefix, region: backend.region,
                country: backend.country, isDisasterRecovery: backend.isDisasterRecovery,
                isRemote: backend.path == nil, readPatienceSeconds: patienceSeconds,
                fetchThreadCount: fetchThreadCount, minimumBilledDays: backend.minimumBilledDays,
                price: backend.price ?? configuration.prices.backup, locksObjects: backend.locksObjects)
        }
        var orgs: [ResourceName: OrgSettings] = [:]
        for org in configuration.orgs {
            orgs[org.name] = OrgSettings(
                recoveryRecipients: try org.recoveryRecipients.map { try AgeRecipient($0) },
                thresholds: thresholds(configuration.status(org: org.name)),
                access: org.access.map {
                    OrgAccess(userID: $0.userID, groupID: $0.groupID, folderMode: $0.folderMode)
                })
        }
        var care = CatalogCareSettings()
        care.copyCount = configuration.catalog.copyCount
        care.refreshSeconds = configuration.catalog.refreshSeconds
        return Engine(
            catalog: catalog, backends: backends, keys: KeyDirectory(path: configuration.keysDirectory), orgs: orgs,
            thresholds: thresholds(configuration.status(org: nil)),
            archiveSettings: ArchiveSettings(
                frameByteCount: configuration.archive.frameByteCount, level: Int32(configuration.archive.level)),
            memoryBudgetByteCount: configuration.memoryBudgetByteCount,
            rangeCache: usesRangeCache ? rangeCache(configuration, log) : nil,
            stateDirectory: configuration.stateDirectory,
            foreignCopyByteCount: UInt64(configuration.cache.foreignByteCount), catalogCare: care, log: log)
    }
}

extension Composition {
    /// The snapshots in the pools of the configuration.
    package static func snapshots(_ configuration: Configuration, _ engine: Engine) -> Snapshots {
        Snapshots(
            configuration.pools.map { SnapshotPool(name: $0.name, path: $0.path, fileSystem: $0.fileSystem) },
            catalog: engine.catalog, clock: engine.clock, log: engine.log)
    }

    private static func thresholds(_ status: Configuration.Status) -> StatusThresholds {
        StatusThresholds(
            recoveryPoint: status.recoveryPoint?.seconds, verify: status.verify?.seconds, drill: status.drill?.seconds)
    }

    /// None where no backend is remote; but a cache that is switched off is removed.
    private static func rangeCache(_ configuration: Configuration, _ log: Logger) -> RangeCache? {
        guard configuration.backends.contains(where: { $0.path == nil }) else { return nil }
        return RangeCache(
            path: configuration.stateDirectory + "/cache", capacityByteCount: UInt64(configuration.cache.diskByteCount),
            freeSpaceFloorByteCount: configuration.cache.minimumFreeByteCount.map { UInt64($0) }, log: log)
    }

    private static func makeStore(
        _ backend: Configuration.Backend, _ configuration: Configuration, _ uploadMemory: UploadShare
    ) throws -> (any ObjectStore, fetchThreadCount: Int, patienceSeconds: Int) {
        switch backend.place {
        case .directory(let path):
            let store = LocalDirectoryStore(name: backend.name.description, path: path)
            if configuration.isEmbeddedDefault { try store.createRoot() }
            return (store, WorkerPool.processorCount + 2, 60)
        case .bucket(let bucket):
            let settings = try settings(of: bucket, backend)
            let store = S3Store(
                settings: settings, credentials: try credentials(of: bucket, backend.name),
                abilitiesPath: configuration.stateDirectory + "/backends/\(backend.name).json",
                uploadMemory: uploadMemory)
            // Some connections are left for what is no read.
            return (
                store, max(1, bucket.connections - min(8, bucket.connections / 4)),
                bucket.patienceSeconds + bucket.stallSeconds
            )
        }
    }

    private static func settings(
        of bucket: Configuration.Bucket, _ backend: Configuration.Backend
    ) throws -> S3Settings {
        guard let endpoint = S3Endpoint(bucket.endpoint) else {
            throw EngineError(
                .invalidName, "backend \"\(backend.name)\": endpoint \"\(bucket.endpoint)\" is no address of a server",
                hint: "set `endpoint` to https://HOST")
        }
        var settings = S3Settings(
            name: backend.name.description, endpoint: endpoint, bucket: bucket.name, region: bucket.region,
            addressing: bucket.addressing == .path ? .path : .virtualHost,
            prefix: backend.prefix.map { $0 + "/" }.joined())
        settings.certificateAuthorityPath = bucket.certificateAuthorityPath
        settings.connectMilliseconds = bucket.connectSeconds * 1000
        settings.stallSeconds = bucket.stallSeconds
        settings.connectionLimit = bucket.connections
        settings.readPatienceSeconds = bucket.patienceSeconds
        settings.uploadPatienceSeconds = bucket.uploadPatienceSeconds
        settings.uploadConcurrency = bucket.uploadConcurrency
        settings.partByteCount = bucket.uploadPartByteCount
        settings.storageClass = bucket.storageClass
        settings.serverSideEncryption = bucket.serverSideEncryption
        settings.serverSideEncryptionKey = bucket.serverSideEncryptionKey
        if let mode = bucket.objectLockMode.flatMap({ S3Settings.ObjectLock.Mode(rawValue: $0) }) {
            settings.objectLock = S3Settings.ObjectLock(mode: mode, days: bucket.objectLockDays)
        }
        return settings
    }

    private static func credentials(
        of bucket: Configuration.Bucket, _ name: ResourceName
    ) throws -> S3Credentials {
        var search = S3CredentialsSearch()
        search.filePath = bucket.credentialsFile
        search.profile = bucket.profile
        search.accessKeyVariable = bucket.accessKeyVariable
        search.secretKeyVariable = bucket.secretKeyVariable
        search.sessionTokenVariable = bucket.sessionTokenVariable
        do throws(S3CredentialsError) {
            return try search.find()
        } catch {
            throw EngineError(.backendDenied, "backend \"\(name)\": \(error)", hint: error.hint)
        }
    }
}
