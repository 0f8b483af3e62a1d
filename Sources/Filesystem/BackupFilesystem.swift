package import BackupEngine
internal import BackupNames
internal import Catalog
internal import Glibc
internal import Logging
internal import Manifest
package import ReadTrace
internal import SeekableZstd
package import Snapshots
internal import Storage
internal import Synchronization
internal import Workers

/// The tree as a file system: what each file operation does, without FUSE. Nodes and handles are numbers, errors are
/// `FileSystemError` (or an error of the engine, which `FileSystemError.init(_:)` takes over). Any thread may call anything;
/// writes and closes in staging may block, and nothing else: a read that has to wait is promised.
package final class BackupFilesystem: Sendable {
    let engine: Engine
    let tree: BackupTree
    let staging: StagingArea
    let nodes = NodeTable()
    let handles = HandleTable()
    let readPath: ReadPath
    let resources: ResourceList
    /// Those in the pools; nil where none are to be seen.
    let snapshots: Snapshots?
    private let reads = Atomic<UInt64>(0)
    private let disks: OpenDisks
    private let started: Int64
    let errors = RecentErrors()

    /// - Parameters:
    ///   - snapshots: those in the pools, which are shown beside the backups.
    ///   - trace: notes what is read of the images
    package init(engine: Engine, snapshots: Snapshots? = nil, trace: TraceRecorder? = nil) {
        self.engine = engine
        self.snapshots = snapshots
        tree = BackupTree(engine: engine)
        staging = StagingArea(engine: engine)
        resources = ResourceList(engine: engine)
        let (errors, clock) = (errors, engine.clock)
        let pending = PendingReads { errors.note("\($0)", at: clock.secondsSince1970) }
        readPath = ReadPath(engine: engine, pending: pending, trace: trace)
        disks = OpenDisks(engine: engine, readPath: readPath)
        started = engine.clock.secondsSince1970
    }

    /// Ends what waits: reads that are not answered and writers get an error, nothing half-done stays. What is cached can
    /// still be read. Waits for no store.
    package func close() {
        engine.giveUpLocalCopies()
        readPath.close()
        staging.close()
    }

    // MARK: Names

    package func lookUp(_ name: String, in parent: UInt64) throws -> Attributes {
        let node = try child(name, of: nodes.node(parent))
        var attributes = try attributes(of: node)
        attributes.number = nodes.remember(node)
        return attributes
    }

    package func forget(_ number: UInt64, lookups: UInt64) { nodes.forget(number, lookups: lookups) }

    package func attributes(_ number: UInt64) throws -> Attributes {
        var attributes = try attributes(of: nodes.node(number))
        attributes.number = number
        return attributes
    }

    package func readLink(_ number: UInt64) throws -> String {
        guard case .latest(let vm) = try nodes.node(number) else {
            throw FileSystemError(.invalid, "not a symbolic link")
        }
        guard let newest = try tree.dates(vm).max() else { throw FileSystemError(.notFound, "latest") }
        return newest.description
    }

    package func list(_ number: UInt64) throws -> [DirectoryEntry] {
        let children = try children(of: nodes.node(number))
        return children.map {
            DirectoryEntry(name: $0.name, kind: Self.kind(of: $0.node), number: nodes.knownNumber(of: $0.node))
        }
    }

    private func child(_ name: String, of node: Node) throws -> Node {
        guard name.utf8.count <= 255 else { throw FileSystemError(.nameTooLong, name) }
        switch node {
        case .staging, .stagingBackend, .stagingOrg, .stagingVM: return try stagingChild(name, of: node)
        case .root where name == Self.snapshotFolderName && showsSnapshots: return .snapshot(.top)
        case .snapshot(let node): return try snapshotChild(name, of: node)
        default: return try tree.child(name, of: node)
        }
    }

    private func children(of node: Node) throws -> [(name: String, node: Node)] {
        switch node {
        case .root:
            return tree.backends().map { ($0.description, .backend($0)) } + [("metrics.prom", .metrics)]
                + (showsSnapshots ? [(Self.snapshotFolderName, .snapshot(.top))] : [])
                + [("staging", .staging), ("status.json", .status)]
        case .backend(let backend): return try tree.orgs(backend).map { ($0.description, .org(backend, $0)) }
        case .org(let backend, let org):
            return try tree.vms(backend, org).map {
                ($0.description, .vm(VMPath(backend: backend, org: org, vm: $0)))
            }
        case .vm(let vm):
            let dates = try tree.dates(vm).sorted()
            return dates.map { ($0.description, .date(vm, $0)) } + (dates.isEmpty ? [] : [("latest", .latest(vm))])
        case .date(let vm, let date): return try tree.files(vm, date)
        case .staging, .stagingBackend, .stagingOrg, .stagingVM: return try stagingChildren(of: node)
        case .snapshot(let node): return try snapshotChildren(of: node)
        case .status, .metrics, .latest, .raw, .partition, .archive, .manifest, .sums, .staged, .stagedStatus:
            throw FileSystemError(.notADirectory, "not a folder")
        }
    }

    static func kind(of node: Node) -> FileKind {
        switch node {
        case .root, .backend, .org, .vm, .date, .staging, .stagingBackend, .stagingOrg, .stagingVM: .directory
        case .latest: .symbolicLink
        case .snapshot(let node): node.isFolder ? .directory : .regular
        case .status, .metrics, .raw, .partition, .archive, .manifest, .sums, .staged, .stagedStatus: .regular
        }
    }

    // MARK: Attributes

    func attributes(of node: Node) throws -> Attributes { owned(try plainAttributes(of: node), node) }

    /// How long the kernel may believe what can change at any time, and what hardly ever does (a backup that is withdrawn or
    /// pruned). Seconds.
    private static let briefly = 1.0
    private static let longer = 10.0

    /// As if no org had an owner or a mode of its own.
    private func plainAttributes(of node: Node) throws -> Attributes {
        switch node {
        case .root, .backend, .staging, .stagingBackend:
            return Attributes(
                .directory, permissions: 0o755, modified: started, validSeconds: Self.longer)
        case .org(let backend, let org):
            guard try tree.orgs(backend).contains(org) else { throw FileSystemError(.notFound, "\(org)") }
            return Attributes(.directory, permissions: 0o555, modified: started, validSeconds: Self.briefly)
        case .vm(let vm):
            guard let newest = try tree.dates(vm).max() else { throw FileSystemError(.notFound, "\(vm.vm)") }
            return Attributes(
                .directory, permissions: 0o555, modified: newest.secondsSince1970, validSeconds: Self.briefly)
        case .stagingOrg, .stagingVM:
            return Attributes(.directory, permissions: 0o755, modified: started, validSeconds: Self.briefly)
        case .date(let vm, let date):
            guard try !tree.backups(vm, date).isEmpty else { throw FileSystemError(.notFound, "\(date)") }
            return Attributes(
                .directory, permissions: 0o555, modified: date.secondsSince1970, validSeconds: Self.briefly)
        case .latest(let vm):
            guard let newest = try tree.dates(vm).max() else { throw FileSystemError(.notFound, "latest") }
            return Attributes(
                .symbolicLink, permissions: 0o777, byteCount: UInt64(newest.description.utf8.count),
                modified: newest.secondsSince1970, validSeconds: 0)
        case .raw(let identifier):
            let backup = try tree.summary(identifier)
            return Attributes(
                .regular, permissions: 0o444, byteCount: backup.rawByteCount, dataByteCount: backup.dataByteCount,
                modified: backup.createdAt, validSeconds: Self.longer)
        case .partition(let identifier, let number):
            let backup = try tree.summary(identifier)
            let partition = try tree.partition(identifier, number)
            return Attributes(
                .regular, permissions: 0o444, byteCount: partition.byteCount,
                dataByteCount: min(partition.byteCount, backup.dataByteCount), modified: backup.createdAt,
                validSeconds: Self.longer)
        case .archive(let identifier):
            let backup = try tree.summary(identifier)
            return Attributes(
                .regular, permissions: 0o444, byteCount: backup.archiveByteCount, modified: backup.createdAt,
                validSeconds: Self.longer)
        case .manifest(let identifier):
            let manifest = try tree.manifests.manifest(identifier).manifest
            return Attributes(
                .regular, permissions: 0o444, byteCount: UInt64(try tree.manifestJSON(identifier).count),
                modified: manifest.createdAt, validSeconds: Self.briefly)
        case .sums(let vm, let date):
            return Attributes(
                .regular, permissions: 0o444, byteCount: UInt64(try tree.sums(vm, date).count),
                modified: date.secondsSince1970, validSeconds: Self.briefly)
        case .status:
            return Attributes(
                .regular, permissions: Self.overviewPermissions, byteCount: UInt64(try statusJSON().count),
                modified: engine.clock.secondsSince1970, validSeconds: 0)
        case .metrics:
            return Attributes(
                .regular, permissions: Self.overviewPermissions, byteCount: UInt64(try metricsText().count),
                modified: engine.clock.secondsSince1970, validSeconds: 0)
        case .staged(let name): return try stagedAttributes(name)
        case .snapshot(let node): return try snapshotAttributes(of: node, started: started)
        case .stagedStatus(let name):
            guard let file = staging.file(name) else { throw FileSystemError(.notFound, name.fileName + ".status") }
            return Attributes(
                .regular, permissions: 0o444, byteCount: UInt64(file.statusText.utf8.count),
                modified: file.snapshot.modified, validSeconds: 0)
        }
    }

    // MARK: Reading

    /// Opens a file. Everything but staging is read-only (EROFS).
    ///
    /// Opening the image of a foreign archive waits for its local copy; `call` can be interrupted meanwhile.
    package func open(_ number: UInt64, _ intent: OpenIntent, _ call: StagedCall? = nil) throws -> UInt64 {
        let node = try nodes.node(number)
        if case .staged(let name) = node { return try openStaged(name, intent) }
        guard !intent.forWriting, !intent.truncates else {
            throw FileSystemError(.readOnly, "only staging can be written to")
        }
        return handles.add(try content(of: node, call))
    }

    private func content(of node: Node, _ call: StagedCall?) throws -> HandleTable.Content {
        switch node {
        case .raw(let identifier):
            let disk = try disks.disk(identifier, .image, call)
            return .disk(makeView(disk, 0..<disk.byteCount))
        case .partition(let identifier, let number):
            let partition = try tree.partition(identifier, number)
            return .disk(
                makeView(
                    try disks.disk(identifier, .image, call),
                    partition.rawOffset..<partition.rawOffset + partition.byteCount))
        case .archive(let identifier):
            let disk = try disks.disk(identifier, .archive)
            return .disk(makeView(disk, 0..<disk.byteCount))
        case .manifest(let identifier): return .bytes(try tree.manifestJSON(identifier))
        case .sums(let vm, let date): return .bytes(try tree.sums(vm, date))
        case .status: return .bytes(try statusJSON())
        case .metrics: return .bytes(try metricsText())
        case .stagedStatus(let name):
            guard let file = staging.file(name) else { throw FileSystemError(.notFound, name.fileName + ".status") }
            return .bytes(Array(file.statusText.utf8))
        case .snapshot(let node): return try openSnapshot(node)
        case .staged: preconditionFailure("internal error: staged files are opened elsewhere")
        case .root, .backend, .org, .vm, .latest, .date, .staging, .stagingBackend, .stagingOrg, .stagingVM:
            throw FileSystemError(.isADirectory, "a folder")
        }
    }

    func disk(_ identifier: BackupIdentifier) throws -> OpenDisk { try disks.disk(identifier) }

    func makeView(_ disk: OpenDisk, _ range: Range<UInt64>) -> DiskView { DiskView(disk: disk, range: range) }

    /// Starts to read up to `count` bytes; fewer only at the end of the file. Does not block: what is not at hand is promised.
    package func read(_ handle: UInt64, at offset: UInt64, count: Int) throws -> ReadStart {
        switch try handles.content(handle) {
        case .disk(let view):
            reads.add(1, ordering: .relaxed)
            return view.read(at: offset, count: count)
        case .bytes(let bytes):
            guard offset < UInt64(bytes.count) else { return .ready([]) }
            let start = Int(offset)
            return .ready([ReadSlice(copying: bytes[start..<min(bytes.count, start + count)])])
        case .staged(let file, _):
            return try readStaged(file, at: offset, count: count)
        case .file(let file): return .ready(try noting { try file.slices(at: offset, count: count) })
        }
    }

    /// `lseek` with SEEK_DATA or SEEK_HOLE; ENXIO at and behind the end.
    package func seek(_ handle: UInt64, _ target: SeekTarget, from offset: UInt64) throws -> UInt64 {
        let end: UInt64
        switch try handles.content(handle) {
        case .disk(let view): return try view.seek(target, from: offset)
        case .file(let file): return try file.seek(target, from: offset)
        case .bytes(let bytes): end = UInt64(bytes.count)
        case .staged(let file, _):
            if case .committed(let identifier) = file.snapshot.state {
                let disk = try disk(identifier)
                return try makeView(disk, 0..<disk.byteCount).seek(target, from: offset)
            }
            end = file.snapshot.declaredByteCount ?? file.snapshot.receivedByteCount
        }
        guard offset < end else { throw FileSystemError(.noSuchOffset, "behind the end") }
        return target == .data ? offset : end
    }

    package func release(_ handle: UInt64) {
        guard let content = handles.remove(handle) else { return }
        if case .staged(let file, _) = content { file.release(handle: handle) }
    }

    // MARK: Attributes beside

    package func extendedAttributes(_ number: UInt64) throws -> [(name: String, value: String)] {
        switch try nodes.node(number) {
        case .raw(let identifier), .partition(let identifier, _), .archive(let identifier), .manifest(let identifier):
            return try tree.extendedAttributes(identifier)
        case .staged(let name):
            guard case .committed(let identifier)? = staging.file(name)?.snapshot.state else { return [] }
            return try tree.extendedAttributes(identifier)
        case .snapshot(let node): return try snapshotExtendedAttributes(node)
        case .root, .status, .metrics, .backend, .org, .vm, .latest, .date, .sums, .staging, .stagingBackend,
            .stagingOrg,
            .stagingVM,
            .stagedStatus:
            return []
        }
    }

    /// The space of the backend that a node belongs to; of all backends together at the top.
    package func space(_ number: UInt64) throws -> SpaceFigures {
        let node = try nodes.node(number)
        if case .snapshot(let node) = node { return try snapshotSpace(node) }
        var figures = SpaceFigures(totalByteCount: 0, availableByteCount: 0, fileCount: 0)
        for backend in engine.backends.values {
            if let own = node.backendName, own != backend.name { continue }
            // One that cannot be asked now has no room for anybody.
            guard let space = try? backend.store.space() else { continue }
            figures.totalByteCount += space.totalByteCount
            figures.availableByteCount += space.availableByteCount
        }
        return figures
    }

    /// How often images have been read from: it tells whether somebody who reads them gets on.
    package var readCount: UInt64 { reads.load(ordering: .relaxed) }

    func noting<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch {
            throw noted(error)
        }
    }

    func noted(_ error: any Error) -> any Error {
        errors.note("\(error)", at: engine.clock.secondsSince1970)
        return error
    }
}

extension Node {
    /// The backend that a node belongs to; nil at the top.
    var backendName: ResourceName? {
        switch self {
        case .root, .status, .metrics, .staging, .snapshot: nil
        case .backend(let name), .org(let name, _), .stagingBackend(let name), .stagingOrg(let name, _): name
        case .vm(let vm), .latest(let vm), .date(let vm, _), .sums(let vm, _), .stagingVM(let vm): vm.backend
        case .raw(let identifier), .partition(let identifier, _), .archive(let identifier), .manifest(let identifier):
            identifier.backend
        case .staged(let name), .stagedStatus(let name): name.folder.backend
        }
    }
}
