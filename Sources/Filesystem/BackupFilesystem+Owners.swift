internal import BackupEngine
internal import BackupNames

/// Who may do what: attributes only, for the kernel enforces them (`default_permissions`). The rules: `Semantics.md`, "Owners".
extension BackupFilesystem {
    /// `status.json` and `metrics.prom` name every org, its disks and its errors: for the mount's owner and group alone.
    static let overviewPermissions: UInt32 = 0o440

    /// The attributes of a node with the owner, group and mode of its org.
    func owned(_ plain: Attributes, _ node: Node) -> Attributes {
        var attributes = plain
        guard let org = node.orgName else {
            // Whatever the umask takes away for the sake of orgs without an owner, those that have one get to their folders.
            if plain.kind == .directory, isShared { attributes.keptPermissions = 0o111 }
            return attributes
        }
        guard let access = engine.orgs[org]?.access else { return attributes }
        attributes.userID = access.userID
        attributes.groupID = access.groupID
        let possible: UInt32 =
            switch plain.kind {
            case .directory: node.canBeWritten ? 0o777 : 0o555
            case .regular: node.canBeWritten ? 0o666 : 0o444
            case .symbolicLink: 0
            }
        if plain.kind != .symbolicLink { attributes.permissions = access.folderMode & possible }
        attributes.keptPermissions = attributes.permissions
        return attributes
    }

    /// Whether any org has an owner or a mode of its own.
    private var isShared: Bool { engine.orgs.values.contains { $0.access != nil } }
}

extension Node {
    /// The org that a node belongs to; nil above the orgs.
    fileprivate var orgName: ResourceName? {
        switch self {
        case .root, .status, .metrics, .backend, .staging, .stagingBackend: nil
        case .snapshot(let node): node.org
        case .org(_, let org), .stagingOrg(_, let org): org
        case .vm(let vm), .latest(let vm), .date(let vm, _), .sums(let vm, _), .stagingVM(let vm): vm.org
        case .raw(let identifier), .partition(let identifier, _), .archive(let identifier), .manifest(let identifier):
            identifier.org
        case .staged(let name), .stagedStatus(let name): name.folder.org
        }
    }

    /// Whether its folder's owner may ever change it.
    fileprivate var canBeWritten: Bool {
        switch self {
        case .stagingOrg, .stagingVM, .staged: true
        case .root, .status, .metrics, .backend, .org, .vm, .latest, .date, .raw, .partition, .archive, .manifest,
            .sums, .staging, .stagingBackend, .stagedStatus, .snapshot:
            false
        }
    }
}
