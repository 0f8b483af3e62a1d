/// The full name of one backup: where it is kept, whose it is, and when it was made.
package struct BackupIdentifier: Hashable, Sendable, CustomStringConvertible {
    package let backend: ResourceName
    package let org: ResourceName
    package let vm: ResourceName
    package let date: BackupDate
    package let disk: ResourceName

    /// What the names of archives and sidecars end with.
    package static let archiveEnding = ".raw.zst.age"
    package static let manifestEnding = ".manifest.age"
    /// The mark of a legal hold beside them.
    package static let holdEnding = ".hold"

    package init(backend: ResourceName, org: ResourceName, vm: ResourceName, date: BackupDate, disk: ResourceName) {
        self.backend = backend
        self.org = org
        self.vm = vm
        self.date = date
        self.disk = disk
    }

    /// The backup whose sidecar of generation 0 has this key (below the backend's prefix); nil for any other key.
    package init?(backend: ResourceName, manifestKey: String) {
        self.init(backend, manifestKey, Self.manifestEnding)
    }

    /// The backup that the mark of a hold with this key (below the backend's prefix) is about; nil for any other key.
    package init?(backend: ResourceName, holdKey: String) {
        self.init(backend, holdKey, Self.holdEnding)
    }

    private init?(_ backend: ResourceName, _ key: String, _ ending: String) {
        let parts = key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4, parts[3].hasSuffix(ending), let org = try? ResourceName(parts[0]),
            let vm = try? ResourceName(parts[1]), let date = try? BackupDate(parts[2]),
            let disk = try? ResourceName(String(parts[3].dropLast(ending.count)))
        else { return nil }
        self.init(backend: backend, org: org, vm: vm, date: date, disk: disk)
    }

    package var description: String { "\(backend):\(org)/\(vm)/\(date)/\(disk)" }

    /// The disk that this is a backup of, wherever it is kept.
    package var diskName: DiskName { DiskName(org: org, vm: vm, disk: disk) }

    /// The image's path below the mountpoint.
    package var pathInTree: String { "\(backend)/\(org)/\(vm)/\(date)/\(disk).raw" }

    /// The archive's object key as it is made, generation 0; `BackupPlace` knows where it is.
    package var archiveKey: String { "\(org)/\(vm)/\(date)/\(disk)\(Self.archiveEnding)" }

    /// The same of the sidecar.
    package var manifestKey: String { "\(org)/\(vm)/\(date)/\(disk)\(Self.manifestEnding)" }

    /// The key of the mark of a hold, of every generation.
    package var holdKey: String { "\(org)/\(vm)/\(date)/\(disk)\(Self.holdEnding)" }
}

/// How a user names one backup: `[BACKEND:]ORG/VM/DATE[/DISK]`; DATE may be `latest`, DISK is `disk` unless said otherwise.
package struct BackupPattern: Hashable, Sendable {
    package enum Date: Hashable, Sendable {
        case latest
        case exactly(BackupDate)
    }

    package let backend: ResourceName?
    package let org: ResourceName
    package let vm: ResourceName
    package let date: Date
    package let disk: ResourceName

    package init(_ text: String) throws(NameError) {
        var rest = Substring(text)
        if let colon = rest.firstIndex(of: ":") {
            backend = try ResourceName(String(rest[..<colon]))
            rest = rest[rest.index(after: colon)...]
        } else {
            backend = nil
        }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3 || parts.count == 4 else {
            throw NameError(text, "is not a backup's name: [BACKEND:]ORG/VM/DATE[/DISK]")
        }
        org = try ResourceName(parts[0])
        vm = try ResourceName(parts[1])
        date = parts[2] == "latest" ? .latest : .exactly(try BackupDate(parts[2]))
        disk = try ResourceName(parts.count == 4 ? parts[3] : "disk")
    }

    /// Whether a backup has these names; `latest` matches any date.
    package func matches(_ identifier: BackupIdentifier) -> Bool {
        guard backend == nil || backend == identifier.backend, org == identifier.org, vm == identifier.vm,
            disk == identifier.disk
        else { return false }
        switch date {
        case .latest: return true
        case .exactly(let date): return date == identifier.date
        }
    }
}
