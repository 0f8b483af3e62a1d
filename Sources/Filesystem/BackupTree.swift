internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Manifest
internal import Synchronization

/// The read-only part of the tree: what stands where, answered from the catalog alone, never waiting for a network.
struct BackupTree: Sendable {
    let engine: Engine
    let manifests: ManifestCache

    init(engine: Engine) {
        self.engine = engine
        manifests = ManifestCache(engine: engine)
    }

    // MARK: Folders

    func backends() -> [ResourceName] { engine.backends.keys.sorted() }

    func orgs(_ backend: ResourceName) throws -> [ResourceName] { try engine.catalog.orgs(backend: backend) }

    func vms(_ backend: ResourceName, _ org: ResourceName) throws -> [ResourceName] {
        try engine.catalog.vms(backend: backend, org: org)
    }

    func dates(_ vm: VMPath) throws -> [BackupDate] {
        try engine.catalog.dates(backend: vm.backend, org: vm.org, vm: vm.vm)
    }

    func backups(_ vm: VMPath, _ date: BackupDate) throws -> [BackupSummary] {
        try engine.catalog.backups(backend: vm.backend, org: vm.org, vm: vm.vm, date: date)
    }

    func summary(_ identifier: BackupIdentifier) throws -> BackupSummary {
        guard let summary = try engine.catalog.backup(identifier) else {
            throw FileSystemError(.notFound, "\(identifier)")
        }
        return summary
    }

    // MARK: Names in a date's folder

    /// The files of a date, by name: per disk the image, its partitions, the archive and the manifest; the sums for all.
    func files(_ vm: VMPath, _ date: BackupDate) throws -> [(name: String, node: Node)] {
        let backups = try backups(vm, date)
        guard !backups.isEmpty else { return [] }
        var files: [(String, Node)] = []
        for backup in backups {
            let identifier = backup.identifier
            let disk = identifier.disk
            files.append(("\(disk).raw", .raw(identifier)))
            for partition in partitions(identifier) {
                files.append(("\(disk).raw.p\(partition.number)", .partition(identifier, partition.number)))
            }
            files.append(("\(disk).raw.zst.age", .archive(identifier)))
            files.append((Self.manifestName(disk), .manifest(identifier)))
        }
        files.append(("SHA256SUMS", .sums(vm, date)))
        return files
    }

    /// The root disk's manifest is `manifest.json`; other disks' carry their names.
    private static func manifestName(_ disk: ResourceName) -> String {
        disk.description == "disk" ? "manifest.json" : "\(disk).manifest.json"
    }

    /// The partitions that the verified manifest lists; none where it cannot be verified (opening the image says why).
    func partitions(_ identifier: BackupIdentifier) -> [ManifestPartition] {
        (try? manifests.manifest(identifier))?.manifest.partitions ?? []
    }

    func partition(_ identifier: BackupIdentifier, _ number: Int) throws -> ManifestPartition {
        guard
            let partition = try manifests.manifest(identifier).manifest.partitions.first(where: { $0.number == number })
        else { throw FileSystemError(.notFound, "\(identifier) has no partition \(number)") }
        return partition
    }

    func child(_ name: String, of node: Node) throws -> Node {
        let missing = FileSystemError(.notFound, name)
        switch node {
        case .root:
            if name == "status.json" { return .status }
            if name == "metrics.prom" { return .metrics }
            if name == "staging" { return .staging }
            guard let backend = try? ResourceName(name), engine.backends[backend] != nil else { throw missing }
            return .backend(backend)
        case .backend(let backend):
            guard let org = try? ResourceName(name), try orgs(backend).contains(org) else { throw missing }
            return .org(backend, org)
        case .org(let backend, let org):
            guard let vm = try? ResourceName(name), try vms(backend, org).contains(vm) else { throw missing }
            return .vm(VMPath(backend: backend, org: org, vm: vm))
        case .vm(let vm):
            if name == "latest" {
                guard try !dates(vm).isEmpty else { throw missing }
                return .latest(vm)
            }
            guard let date = try? BackupDate(name), try !backups(vm, date).isEmpty else { throw missing }
            return .date(vm, date)
        case .date(let vm, let date):
            guard let file = try files(vm, date).first(where: { $0.name == name }) else { throw missing }
            return file.node
        case .status, .metrics, .latest, .raw, .partition, .archive, .manifest, .sums, .staging, .stagingBackend,
            .stagingOrg,
            .stagingVM, .staged, .stagedStatus, .snapshot:
            throw missing
        }
    }

    // MARK: Generated files

    /// `sha256sum -c` reads this.
    func sums(_ vm: VMPath, _ date: BackupDate) throws -> [UInt8] {
        var text = ""
        for backup in try backups(vm, date) {
            let manifest = try manifests.manifest(backup.identifier).manifest
            let disk = backup.identifier.disk
            text += "\(manifest.rawSHA256.hexadecimal)  \(disk).raw\n"
            text += "\(manifest.archiveSHA256.hexadecimal)  \(disk).raw.zst.age\n"
        }
        return Array(text.utf8)
    }

    /// The verified manifest, the last check of each depth, and the end of the lock.
    func manifestJSON(_ identifier: BackupIdentifier) throws -> [UInt8] {
        try manifests.manifest(identifier).shown(
            try engine.catalog.checks(identifier), lockedUntil: try engine.catalog.backup(identifier)?.lockEnd)
    }

    /// The extended attributes of an image, its partitions and its archive.
    func extendedAttributes(_ identifier: BackupIdentifier) throws -> [(name: String, value: String)] {
        let manifest = try manifests.manifest(identifier).manifest
        return [
            ("user.holdfast.id", "\(identifier)"),
            ("user.holdfast.created_at", BackupDate(secondsSince1970: manifest.createdAt).description),
            ("user.holdfast.raw_size", "\(manifest.rawByteCount)"),
            ("user.holdfast.raw_sha256", manifest.rawSHA256.hexadecimal),
            ("user.holdfast.archive_size", "\(manifest.archiveByteCount)"),
            ("user.holdfast.archive_sha256", manifest.archiveSHA256.hexadecimal),
            ("user.holdfast.header_sha256", manifest.headerSHA256.hexadecimal),
        ]
            + (try engine.catalog.checks(identifier)).map { check in
                let time = BackupDate(secondsSince1970: check.checkedAt)
                return ("user.holdfast.check.\(check.depth.rawValue)", "\(check.outcome) \(time)")
            }
            + [try engine.catalog.backup(identifier)?.lockEnd].compactMap(\.self).map {
                ("user.holdfast.locked_until", $0)
            }
    }
}

/// Verified manifests of late, so that listing a folder does not check the same MACs again and again.
final class ManifestCache: Sendable {
    /// Manifests are small (about 1 KiB); a whole year of one vm fits.
    private static let limit = 512

    private struct State {
        var manifests: [BackupIdentifier: VerifiedManifest] = [:]
        var token: Int64 = 0
    }

    private let engine: Engine
    private let state = Mutex(State())

    init(engine: Engine) {
        self.engine = engine
    }

    /// Anything that changes in the catalog empties the cache: a withdrawn backup and a new one may share a name.
    func manifest(_ identifier: BackupIdentifier) throws -> VerifiedManifest {
        let token = try engine.catalog.changeToken()
        let known = state.withLock { state -> VerifiedManifest? in
            if state.token != token || state.manifests.count >= Self.limit {
                state.manifests = [:]
                state.token = token
            }
            return state.manifests[identifier]
        }
        if let known { return known }
        guard let record = try engine.catalog.access(identifier) else {
            throw FileSystemError(.notFound, "\(identifier)")
        }
        let manifest = try engine.manifest(of: record)
        state.withLock { state in
            if state.token == token { state.manifests[identifier] = manifest }
        }
        return manifest
    }
}
