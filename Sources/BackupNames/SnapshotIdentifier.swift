/// The full name of one snapshot: the pool that it is in, whose it is, and when it was taken.
package struct SnapshotIdentifier: Hashable, Sendable, CustomStringConvertible {
    /// What is said of snapshots wherever one is shown.
    package static let label = "in-cluster copy, not a backup"
    /// The folder of the mount that shows them; no backend is called so where there are pools.
    package static let folderInTree = "snapshots"

    package let pool: ResourceName
    package let org: ResourceName
    package let vm: ResourceName
    package let date: BackupDate
    package let disk: ResourceName

    package init(pool: ResourceName, org: ResourceName, vm: ResourceName, date: BackupDate, disk: ResourceName) {
        self.pool = pool
        self.org = org
        self.vm = vm
        self.date = date
        self.disk = disk
    }

    package init(pool: ResourceName, disk: DiskName, date: BackupDate) {
        self.init(pool: pool, org: disk.org, vm: disk.vm, date: date, disk: disk.disk)
    }

    package var description: String { "\(pool):\(org)/\(vm)/\(date)/\(disk)" }

    /// The disk that this is a copy of.
    package var diskName: DiskName { DiskName(org: org, vm: vm, disk: disk) }
}

/// How a user names the disk of a snapshot: `[POOL:]ORG/VM[/DISK]`; DISK is `disk` unless said otherwise.
package struct SnapshotDiskPattern: Hashable, Sendable {
    package let pool: ResourceName?
    package let disk: DiskName

    package init(_ text: String) throws(NameError) {
        var rest = Substring(text)
        if let colon = rest.firstIndex(of: ":") {
            pool = try ResourceName(String(rest[..<colon]))
            rest = rest[rest.index(after: colon)...]
        } else {
            pool = nil
        }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3 else {
            throw NameError(text, "is not the name of a disk: [POOL:]ORG/VM[/DISK]")
        }
        disk = DiskName(
            org: try ResourceName(parts[0]), vm: try ResourceName(parts[1]),
            disk: try ResourceName(parts.count == 3 ? parts[2] : "disk"))
    }
}
