package import BackupNames
package import Retention

extension Configuration {
    /// Where automatic backups go.
    package enum AutomaticTarget: Sendable, Hashable {
        case backend(ResourceName)
        /// Spread over the DR backends that are there.
        case random
    }

    /// `[orgs.NAME.auto]`, `[orgs.NAME.vms.NAME.auto]`, `[orgs.NAME.vms.NAME.disks.NAME.auto]`: what is nil is taken from the
    /// table above; off where none says otherwise.
    package struct AutoBackup: Sendable, Hashable {
        package var policy: RetentionPolicy?
        package var window: BackupWindow?
        package var target: AutomaticTarget?
        /// As of `holdfast backup --consistency`.
        package var consistency: String?
        package var requiresConsistency: Bool?
        /// For how long the backend is asked to keep new backups, whoever wants them gone; empty: not at all.
        package var locks: RetentionLocks?

        package init() {}

        package func over(_ base: AutoBackup) -> AutoBackup {
            var result = base
            if let policy { result.policy = policy }
            if let window { result.window = window }
            if let target { result.target = target }
            if let consistency { result.consistency = consistency }
            if let requiresConsistency { result.requiresConsistency = requiresConsistency }
            if let locks { result.locks = locks }
            return result
        }
    }

    /// `[orgs.NAME.vms.NAME.disks.NAME]`: a disk that can be backed up without being told where it is.
    package struct Disk: Sendable, Hashable {
        package var name: DiskName
        /// As `holdfast backup SOURCE` takes it.
        package var source: String
        package var format: String?
        package var auto = AutoBackup()
    }

    /// `[pools.NAME]`: a folder of live images, whose disks are those of the configuration whose sources lie in it.
    package struct Pool: Sendable, Hashable {
        package var name: ResourceName
        package var path: String
        /// As /proc/mounts calls it; another one there is an error. nil: any.
        package var fileSystem: String?
        /// How often the agent makes snapshots, and how many of a disk it keeps; nil: it makes none.
        package var policy: SnapshotPolicy?
        package var window: BackupWindow?
    }

    package struct SnapshotPolicy: Sendable, Hashable {
        package enum Cadence: String, Sendable, CaseIterable { case daily, weekly }

        package var every: Cadence
        package var keep: Int

        package init(every: Cadence, keep: Int) {
            self.every = every
            self.keep = keep
        }
    }

    /// `[agent]`
    package struct Agent: Sendable, Hashable {
        /// Backups at once, of this host or, with `shared`, of all.
        package var concurrency = 2
        package var concurrencyPerBackend = 1
        /// The backend at which hosts that share the work agree who does what; nil: this host is the only one.
        package var sharedBackend: ResourceName?
        /// Of what all backups of a run of `prune` are, the share that may go without --force.
        package var pruneShare = 0.5
        /// How deep a new backup is checked by the agent before it counts: `presence`, `archive` or `raw`.
        package var verifyDepth = "presence"

        package init() {}
    }

    /// What holds for the automatic backups of a disk; nil: there are none.
    package func automation(of disk: Disk) -> AutoBackup? {
        let org = orgs.first { $0.name == disk.name.org }
        let vm = org?.vmAutos[disk.name.vm] ?? AutoBackup()
        let effective = disk.auto.over(vm.over(org?.auto ?? AutoBackup()))
        guard let policy = effective.policy, !policy.isOff else { return nil }
        return effective
    }

    /// What retention keeps of a disk's backups at DR backends, whether it is in the file or not; nil: all of them.
    package func retention(of disk: DiskName) -> (policy: RetentionPolicy, window: BackupWindow)? {
        let effective = auto(of: disk)
        guard let policy = effective.policy, !policy.isOff else { return nil }
        return (policy, effective.window ?? .allDay)
    }

    /// How the backups of a disk are locked that retention keeps; nil: not at all.
    package func locks(of disk: DiskName) -> RetentionLocks? {
        auto(of: disk).locks.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// What the tables of a disk, its vm and its org say together.
    package func auto(of disk: DiskName) -> AutoBackup {
        let org = orgs.first { $0.name == disk.org }
        let own = disks.first { $0.name == disk }?.auto ?? AutoBackup()
        return own.over((org?.vmAutos[disk.vm] ?? AutoBackup()).over(org?.auto ?? AutoBackup()))
    }

    package var disasterRecoveryBackends: [ResourceName] {
        backends.filter(\.isDisasterRecovery).map(\.name)
    }
}

// MARK: Parsing

extension Configuration.AutoBackup {
    private static let keys: Set<String> = [
        "preset", "daily", "weekly", "monthly", "yearly", "window", "weekdays", "time_zone", "backend", "consistency",
        "require_consistency", "lock",
    ]
    private static let consistencies = ["auto", "none", "reflink", "btrfs", "lvm", "zfs"]

    init(_ table: ConfigurationTable, _ configuration: Configuration) throws(ConfigurationError) {
        try table.allow(Self.keys)
        policy = try Self.policy(table)
        window = try BackupWindow(table)
        target = try Self.target(table, configuration)
        if let name = try table.optionalString("consistency") {
            guard Self.consistencies.contains(name) else {
                throw table.error(
                    .invalidValue, "consistency", "must be one of \(Self.consistencies.joined(separator: ", "))")
            }
            consistency = name
        }
        requiresConsistency = try table.optionalBoolean("require_consistency")
        guard requiresConsistency != true || consistency != "none" else {
            throw table.error(.invalidValue, "require_consistency", "cannot be had with consistency = \"none\"")
        }
        locks = try table.table("lock").map { table throws(ConfigurationError) in try RetentionLocks(table) }
    }

    /// `retention = "…"` of an org, the short form.
    static func preset(_ key: String, _ table: ConfigurationTable) throws(ConfigurationError) -> RetentionPolicy? {
        guard let name = try table.optionalString(key) else { return nil }
        guard let preset = RetentionPolicy(preset: name) else {
            throw table.error(.invalidValue, key, "must be \"off\", \"basic\", \"weekly\" or \"gfs\"")
        }
        return preset
    }

    private static func policy(_ table: ConfigurationTable) throws(ConfigurationError) -> RetentionPolicy? {
        let preset = try preset("preset", table)
        let limit = 0...10_000
        let counts = [
            try table.integer("daily", in: limit), try table.integer("weekly", in: limit),
            try table.integer("monthly", in: limit), try table.integer("yearly", in: limit),
        ]
        guard counts.contains(where: { $0 != nil }) else { return preset }
        guard preset == nil else {
            throw table.error(.invalidValue, "preset", "and own counts exclude each other: leave one away")
        }
        let policy = RetentionPolicy(
            daily: counts[0] ?? 0, weekly: counts[1] ?? 0, monthly: counts[2] ?? 0, yearly: counts[3] ?? 0)
        guard !policy.isOff else {
            throw table.error(
                .invalidValue, "daily", "counts that keep nothing are no policy: preset = \"off\" makes none")
        }
        return policy
    }

    private static func target(
        _ table: ConfigurationTable, _ configuration: Configuration
    ) throws(ConfigurationError) -> Configuration.AutomaticTarget? {
        guard let name = try table.optionalString("backend") else { return nil }
        if name == "random" {
            guard configuration.backends.contains(where: \.isDisasterRecovery) else {
                throw table.error(.invalidValue, "backend", "no backend has dr = true for \"random\" to choose")
            }
            return .random
        }
        guard let backend = configuration.backends.first(where: { $0.name.description == name }) else {
            throw table.error(.invalidValue, "backend", "no backend is named \"\(name)\"")
        }
        guard backend.isDisasterRecovery else {
            throw table.error(
                .invalidValue, "backend",
                "\"\(name)\" is no DR backend (dr = true): automatic backups go to those alone")
        }
        return .backend(backend.name)
    }
}

extension BackupWindow {
    /// `window`, `weekdays`, `time_zone`; nil where none is there.
    init?(_ table: ConfigurationTable) throws(ConfigurationError) {
        let text = try table.optionalString("window")
        let weekdays = try table.optionalString("weekdays")
        let zone = try table.optionalString("time_zone")
        guard text != nil || weekdays != nil || zone != nil else { return nil }
        do throws(RetentionError) {
            try self.init(text ?? "00:00-24:00", weekdays: weekdays, timeZone: zone ?? "UTC")
        } catch {
            let key =
                switch error.subject {
                case .window: "window"
                case .weekdays: "weekdays"
                case .timeZone: "time_zone"
                }
            throw table.error(.invalidValue, key, error.detail)
        }
    }
}

extension Configuration {
    /// Everything automatic, after backends and orgs: `[agent]`, `[pools]`, and what only the whole file shows to be wrong.
    mutating func parseAutomation(_ root: ConfigurationTable) throws(ConfigurationError) {
        if let table = try root.table("agent") { agent = try parseAgent(table) }
        for (name, table) in try root.tables("pools") { pools.append(try parsePool(name, table)) }
        if !pools.isEmpty, backends.contains(where: { $0.name.description == SnapshotIdentifier.folderInTree }) {
            throw root.error(
                .invalidValue, at: ["backends", SnapshotIdentifier.folderInTree],
                "is a name that the mount uses itself, where there are pools")
        }
        for (index, pool) in pools.enumerated() {
            if let other = pools[..<index].first(where: { Self.overlap($0.path, pool.path) }) {
                throw root.error(
                    .invalidValue, at: ["pools", pool.name.description, "path"],
                    "overlaps with the pool \"\(other.name)\": \(other.path)")
            }
        }
        for (index, disk) in disks.enumerated() {
            let name = disk.name
            if let other = disks[..<index].first(where: { $0.source == disk.source }) {
                throw root.error(
                    .invalidValue,
                    at: [
                        "orgs", name.org.description, "vms", name.vm.description, "disks", name.disk.description,
                        "source",
                    ], "is the source of \(other.name), too")
            }
            try demandTarget(disk, root)
        }
        try demandLocks(root)
    }

    /// An automatic backup must know where to go before its night comes.
    private func demandTarget(_ disk: Disk, _ root: ConfigurationTable) throws(ConfigurationError) {
        guard let automation = automation(of: disk), automation.target == nil else { return }
        guard automaticTarget(automation, of: disk.name.org) == nil else { return }
        throw root.error(
            .missingKey, at: ["orgs", disk.name.org.description, "auto", "backend"],
            "the automatic backups of \(disk.name) have no backend: set it here, or for the vm or disk")
    }

    /// Where automatic backups go: what is said, else the org's backend if it is a DR backend, else the only one that is.
    package func automaticTarget(_ automation: AutoBackup, of org: ResourceName) -> AutomaticTarget? {
        if let target = automation.target { return target }
        let candidates = disasterRecoveryBackends
        if let own = orgs.first(where: { $0.name == org })?.backend, candidates.contains(own) { return .backend(own) }
        return candidates.count == 1 ? .backend(candidates[0]) : nil
    }

    static func parseDisk(
        _ name: DiskName, _ table: ConfigurationTable, _ configuration: Configuration
    ) throws(ConfigurationError) -> Disk {
        try table.allow(["source", "format", "auto"])
        var disk = Disk(name: name, source: try table.string("source"))
        guard !disk.source.isEmpty, disk.source != "-" else {
            throw table.error(.invalidValue, "source", "must be a path or an address that can be opened again")
        }
        if GuestDrive.isURI(disk.source) {
            do throws(NameError) {
                _ = try GuestDrive(disk.source)
            } catch {
                throw table.error(.invalidValue, "source", error.reason)
            }
        }
        disk.format = try table.optionalString("format")
        if let auto = try table.table("auto") { disk.auto = try AutoBackup(auto, configuration) }
        return disk
    }

    private func parseAgent(_ table: ConfigurationTable) throws(ConfigurationError) -> Agent {
        try table.allow(["max_concurrent", "max_concurrent_per_backend", "shared", "prune_share", "verify"])
        var agent = Agent()
        agent.concurrency = try table.integer("max_concurrent", in: 1...64) ?? agent.concurrency
        agent.concurrencyPerBackend =
            try table.integer("max_concurrent_per_backend", in: 1...64) ?? agent.concurrencyPerBackend
        if let name = try table.optionalString("shared") {
            guard let backend = backends.first(where: { $0.name.description == name }) else {
                throw table.error(.invalidValue, "shared", "no backend is named \"\(name)\"")
            }
            agent.sharedBackend = backend.name
        }
        if let percent = try table.integer("prune_share", in: 1...100) { agent.pruneShare = Double(percent) / 100 }
        if let depth = try table.optionalString("verify") {
            guard ["presence", "archive", "raw"].contains(depth) else {
                throw table.error(.invalidValue, "verify", "must be \"presence\", \"archive\" or \"raw\"")
            }
            agent.verifyDepth = depth
        }
        return agent
    }

    private func parsePool(
        _ name: ResourceName, _ table: ConfigurationTable
    ) throws(ConfigurationError) -> Pool {
        try table.allow(["path", "file_system", "every", "keep", "window", "weekdays", "time_zone"])
        var pool = Pool(name: name, path: Self.withoutTrailingSlash(try table.path("path")))
        pool.fileSystem = try table.optionalString("file_system")
        pool.window = try BackupWindow(table)
        let keep = try table.integer("keep", in: 1...1000)
        if let text = try table.optionalString("every") {
            guard let every = SnapshotPolicy.Cadence(rawValue: text) else {
                throw table.error(.invalidValue, "every", "must be \"daily\" or \"weekly\"")
            }
            guard let keep else { throw table.error(.missingKey, "keep", "is missing: how many of a disk are kept") }
            pool.policy = SnapshotPolicy(every: every, keep: keep)
        } else if keep != nil {
            throw table.error(.missingKey, "every", "is missing: \"daily\" or \"weekly\"")
        }
        return pool
    }

    private static func withoutTrailingSlash(_ path: String) -> String {
        var path = Substring(path)
        while path.count > 1, path.hasSuffix("/") { path = path.dropLast() }
        return String(path)
    }

    private static func overlap(_ left: String, _ right: String) -> Bool {
        left == right || left.hasPrefix(right + "/") || right.hasPrefix(left + "/")
    }
}
