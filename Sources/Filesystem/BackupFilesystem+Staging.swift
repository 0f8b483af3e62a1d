internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Logging
internal import OrgKeys
internal import Workers

/// The writable folder. Rules and states: `StagedFile`.
extension BackupFilesystem {
    // MARK: Folders

    /// A folder for an org or a vm. An org without a key is refused here already (ENOKEY). Backends are configured, not
    /// made: their folders are always there.
    package func makeDirectory(_ name: String, in parent: UInt64) throws -> Attributes {
        let node: Node
        switch try nodes.node(parent) {
        case .staging:
            if (try? stagingChild(name, of: .staging)) != nil { throw FileSystemError(.exists, name) }
            throw FileSystemError(.notPermitted, "no backend is named \"\(name)\" in the configuration")
        case .stagingBackend(let backend):
            let org = try resourceName(name)
            do throws(EngineError) {
                _ = try engine.key(of: org)
            } catch {
                engine.log.error("staging/\(backend)/\(org): \(error)")
                throw noted(FileSystemError(error))
            }
            node = .stagingOrg(backend, org)
            try refuseExisting(name, in: .stagingBackend(backend))
            try engine.catalog.addFolder(backend: backend, org: org, vm: nil)
        case .stagingOrg(let backend, let org):
            let vm = try resourceName(name)
            node = .stagingVM(VMPath(backend: backend, org: org, vm: vm))
            try refuseExisting(name, in: .stagingOrg(backend, org))
            try engine.catalog.addFolder(backend: backend, org: org, vm: vm)
        case .stagingVM, .staged, .stagedStatus:
            throw FileSystemError(.notPermitted, "a vm's staging folder holds images, not folders")
        default:
            throw FileSystemError(.readOnly, "only staging can be written to")
        }
        var attributes = try attributes(of: node)
        attributes.number = nodes.remember(node)
        return attributes
    }

    package func removeDirectory(_ name: String, in parent: UInt64) throws {
        let node = try nodes.node(parent)
        guard case .stagingBackend = node else {
            guard case .stagingOrg = node else {
                if case .staging = node { throw FileSystemError(.notPermitted, "backends are configured") }
                throw FileSystemError(.readOnly, "only staging can be written to")
            }
            guard case .stagingVM(let folder) = try stagingChild(name, of: node) else {
                throw FileSystemError(.notFound, name)
            }
            guard staging.names(in: folder).isEmpty else { throw FileSystemError(.notEmpty, name) }
            return try engine.catalog.removeFolder(backend: folder.backend, org: folder.org, vm: folder.vm)
        }
        guard case .stagingOrg(let backend, let org) = try stagingChild(name, of: node) else {
            throw FileSystemError(.notFound, name)
        }
        guard try stagingChildren(of: .stagingOrg(backend, org)).isEmpty else { throw FileSystemError(.notEmpty, name) }
        try engine.catalog.removeFolder(backend: backend, org: org, vm: nil)
    }

    private func resourceName(_ name: String) throws -> ResourceName {
        do {
            return try ResourceName(name)
        } catch {
            throw FileSystemError(.invalid, "\(error)")
        }
    }

    private func refuseExisting(_ name: String, in node: Node) throws {
        if (try? stagingChild(name, of: node)) != nil { throw FileSystemError(.exists, name) }
    }

    /// Folders that were made, and those of vms that have backups: a new backup needs no `mkdir` then.
    func stagingChildren(of node: Node) throws -> [(name: String, node: Node)] {
        switch node {
        case .staging: return tree.backends().map { ($0.description, .stagingBackend($0)) }
        case .stagingBackend(let backend):
            let made = try engine.catalog.folders().filter { $0.backend == backend }.map(\.org)
            return Set(made + (try tree.orgs(backend))).sorted().map { ($0.description, .stagingOrg(backend, $0)) }
        case .stagingOrg(let backend, let org):
            let made = try engine.catalog.folders().filter { $0.backend == backend && $0.org == org }.compactMap(\.vm)
            return Set(made + (try tree.vms(backend, org))).sorted().map {
                ($0.description, .stagingVM(VMPath(backend: backend, org: org, vm: $0)))
            }
        case .stagingVM(let folder):
            return staging.names(in: folder).sorted { $0.fileName < $1.fileName }.flatMap { name in
                [(name.fileName, Node.staged(name)), (name.fileName + ".status", Node.stagedStatus(name))]
            }
        default: throw FileSystemError(.notADirectory, "not a folder")
        }
    }

    func stagingChild(_ name: String, of node: Node) throws -> Node {
        let missing = FileSystemError(.notFound, name)
        if case .stagingVM(let folder) = node {
            if let staged = StagedName(name, in: folder), staging.file(staged) != nil { return .staged(staged) }
            let ending = ".status"
            guard name.hasSuffix(ending), let staged = StagedName(String(name.dropLast(ending.count)), in: folder),
                staging.file(staged) != nil
            else { throw missing }
            return .stagedStatus(staged)
        }
        guard let child = try stagingChildren(of: node).first(where: { $0.name == name }) else { throw missing }
        return child.node
    }

    // MARK: Files

    /// `open` with O_CREAT.
    package func create(_ name: String, in parent: UInt64, exclusive: Bool, _ intent: OpenIntent) throws -> (
        Attributes, UInt64
    ) {
        guard case .stagingVM(let folder) = try nodes.node(parent) else {
            throw FileSystemError(.readOnly, "images are written below staging/<backend>/<org>/<vm>/")
        }
        guard let staged = StagedName(name, in: folder), !name.hasSuffix(".status") else {
            throw FileSystemError(.invalid, "\"\(name)\": a staged image is named <disk>.raw")
        }
        do throws(EngineError) {
            _ = try engine.key(of: folder.org)
        } catch {
            engine.log.error("staging/\(folder.backend)/\(folder.org): \(error)")
            throw noted(FileSystemError(error))
        }
        let (file, isNew) = staging.create(staged)
        if !isNew {
            guard !exclusive else { throw FileSystemError(.exists, name) }
            if intent.truncates { try file.truncateForNewImage() }
        }
        let handle = handles.add(.staged(file, canWrite: intent.forWriting))
        var attributes = try attributes(of: .staged(staged))
        attributes.number = nodes.remember(.staged(staged))
        return (attributes, handle)
    }

    func openStaged(_ name: StagedName, _ intent: OpenIntent) throws -> UInt64 {
        guard let file = staging.file(name) else { throw FileSystemError(.notFound, name.fileName) }
        if intent.forWriting { try file.checkWritable() }
        if intent.truncates { try file.truncateForNewImage() }
        if !intent.forWriting, case .committed(let identifier) = file.snapshot.state {
            let disk = try disk(identifier)
            return handles.add(.disk(makeView(disk, 0..<disk.byteCount)))
        }
        return handles.add(.staged(file, canWrite: intent.forWriting))
    }

    package func write(_ handle: UInt64, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, _ call: StagedCall) throws
        -> Int
    {
        guard case .staged(let file, true) = try handles.content(handle) else {
            throw FileSystemError(.badHandle, "not open for writing")
        }
        do {
            return try file.write(bytes, at: offset, handle: handle, call)
        } catch let error as FileSystemError where error.code == .interrupted {
            throw error
        } catch {
            throw noted(error)
        }
    }

    /// The kernel says that the caller has a signal. Any thread; does not wait.
    package func interrupt(_ call: StagedCall, _ handle: UInt64) {
        // An `open` has no handle yet, and nobody's backup ends with it.
        if handle == 0 { return call.watch {} }
        guard case .staged(let file, true)? = try? handles.content(handle) else { return }
        call.watch { file.cancel("process \(call.thread), which waited, was ended by a signal") }
    }

    package func flush(_ handle: UInt64, _ call: StagedCall) throws {
        guard case .staged(let file, true) = try handles.content(handle) else { return }
        try noting { try file.flush(handle: handle, call) }
    }

    package func synchronize(_ handle: UInt64, _ call: StagedCall) throws {
        guard case .staged(let file, true) = try handles.content(handle) else { return }
        try noting { try file.synchronize(handle: handle, call) }
    }

    /// `truncate` and `ftruncate`.
    package func setByteCount(_ number: UInt64, _ byteCount: UInt64, handle: UInt64?) throws -> Attributes {
        guard case .staged(let name) = try nodes.node(number) else {
            throw FileSystemError(.readOnly, "only staging can be written to")
        }
        // `ftruncate` means the file that was opened, which may have lost its name to another.
        var file = staging.file(name)
        if let handle, case .staged(let opened, _) = try handles.content(handle) { file = opened }
        guard let file else { throw FileSystemError(.notFound, name.fileName) }
        try noting { try file.setByteCount(byteCount, handle: handle) }
        return try attributes(number)
    }

    /// Modes, owners and times are not kept in staging; setting them is accepted, for `cp -p` and `rsync` do.
    package func setOtherAttributes(_ number: UInt64) throws -> Attributes {
        switch try nodes.node(number) {
        case .staged, .stagingVM, .stagingOrg: return try attributes(number)
        default: throw FileSystemError(.readOnly, "only staging can be written to")
        }
    }

    /// `fallocate` without a mode: declares the size when nothing was written yet.
    package func allocate(_ handle: UInt64, byteCount: UInt64) throws {
        guard case .staged(let file, true) = try handles.content(handle) else {
            throw FileSystemError(.badHandle, "not open for writing")
        }
        let now = file.snapshot
        guard now.state == .empty else {
            throw FileSystemError(.notSupported, "space is not set aside while streaming")
        }
        if byteCount > now.declaredByteCount ?? 0 { try file.setByteCount(byteCount, handle: handle) }
    }

    package func removeFile(_ name: String, in parent: UInt64) throws {
        let node = try nodes.node(parent)
        guard case .stagingVM = node else { throw FileSystemError(.readOnly, "only staging can be written to") }
        switch try stagingChild(name, of: node) {
        case .staged(let staged): try staging.remove(staged, reason: "the staged file was removed")
        default: throw FileSystemError(.notPermitted, "a status file goes with its image")
        }
    }

    package func rename(_ name: String, in parent: UInt64, to newName: String, in newParent: UInt64, replacing: Bool)
        throws
    {
        guard case .stagingVM(let folder) = try nodes.node(parent) else {
            throw FileSystemError(.readOnly, "only staging can be written to")
        }
        guard try nodes.node(newParent) == .stagingVM(folder) else {
            throw FileSystemError(.crossDevice, "an image stays in its vm's staging folder")
        }
        guard let old = StagedName(name, in: folder), let new = StagedName(newName, in: folder) else {
            throw FileSystemError(.invalid, "\"\(newName)\": a staged image is named <disk>.raw")
        }
        guard old != new else { return }
        try noting { try staging.rename(old, to: new, replacing: replacing) }
        nodes.rename(.staged(old), to: .staged(new))
    }

    // MARK: What a staged file shows

    func stagedAttributes(_ name: StagedName) throws -> Attributes {
        guard let file = staging.file(name) else { throw FileSystemError(.notFound, name.fileName) }
        let now = file.snapshot
        if case .committed(let identifier) = now.state, let backup = try engine.catalog.backup(identifier) {
            return Attributes(
                .regular, permissions: 0o644, byteCount: backup.rawByteCount, dataByteCount: backup.dataByteCount,
                modified: backup.createdAt, validSeconds: 0)
        }
        let size = max(now.receivedByteCount, now.state == .empty ? now.declaredByteCount ?? 0 : 0)
        return Attributes(
            .regular, permissions: 0o644, byteCount: size, dataByteCount: now.receivedByteCount, modified: now.modified,
            validSeconds: 0)
    }

    /// After the commit, the committed image; before the first write, the zeros of the declared size; in between the bytes
    /// have gone into the stream and cannot be had back (EBUSY).
    func readStaged(_ file: StagedFile, at offset: UInt64, count: Int) throws -> ReadStart {
        let now = file.snapshot
        switch now.state {
        case .committed(let identifier):
            let disk = try disk(identifier)
            return makeView(disk, 0..<disk.byteCount).read(at: offset, count: count)
        case .empty:
            let size = now.declaredByteCount ?? 0
            guard offset < size else { return .ready([]) }
            var slices: [ReadSlice] = []
            var rest = Int(min(UInt64(count), size - offset))
            while rest > 0 {
                slices.append(ReadSlice(zeros: min(rest, Zeros.byteCount)))
                rest -= min(rest, Zeros.byteCount)
            }
            return .ready(slices)
        case .streaming, .committing, .held:
            throw FileSystemError(.busy, "\(now.name.fileName) can be read once it is committed")
        case .failed(let reason):
            throw FileSystemError(.inputOutput, reason)
        }
    }
}
