internal import BackupNames
internal import Glibc
internal import SystemIO
internal import TOMLKit

extension Configuration {
    private static let systemPath = "/etc/holdfast/config.toml"
    private static let maximumByteCount = 1 << 20

    /// The value of an environment variable; nil for one that is not set.
    package typealias Environment = (_ name: String) -> String?

    /// Loads the file named, else $HOLDFAST_CONFIG, else /etc/holdfast/config.toml, else the embedded default. `-` means none
    /// was named.
    package static func load(
        path: String?, environment: Environment = processEnvironment
    ) throws(ConfigurationError) -> Configuration {
        if let path, path != "-" { return try read(path) }
        if let path = environment("HOLDFAST_CONFIG"), !path.isEmpty { return try read(path) }
        if access(systemPath, F_OK) == 0 { return try read(systemPath) }
        return embeddedDefault(environment: environment)
    }

    /// One directory backend named `local` under the state folder. Root's folders are the system's, others' are in their home.
    package static func embeddedDefault(environment: Environment = processEnvironment) -> Configuration {
        let home = environment("HOME") ?? "/"
        let isRoot = geteuid() == 0
        let state =
            isRoot ? "/var/lib/holdfast" : (environment("XDG_STATE_HOME") ?? home + "/.local/state") + "/holdfast"
        let keys =
            isRoot ? "/etc/holdfast/keys" : (environment("XDG_CONFIG_HOME") ?? home + "/.config") + "/holdfast/keys"
        guard let local = try? ResourceName("local") else { preconditionFailure("internal error: a name of ours") }
        return Configuration(
            stateDirectory: state, keysDirectory: keys,
            backends: [Backend(name: local, place: .directory(path: state + "/backups"))],
            isEmbeddedDefault: true)
    }

    package static func processEnvironment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    private static func read(_ path: String) throws(ConfigurationError) -> Configuration {
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try readWholeFile(path, maximumByteCount: maximumByteCount)
        } catch {
            throw ConfigurationError(
                code: .unreadable, file: path, line: nil, key: nil, detail: "cannot be read: \(error)")
        }
        return try parse(String(decoding: bytes, as: UTF8.self), file: path)
    }

    /// Parses the text of a file; relative paths in it are relative to the file's folder.
    package static func parse(_ text: String, file: String) throws(ConfigurationError) -> Configuration {
        let table: TOMLTable
        let lines = KeyLines(text)
        if let hazard = TOMLHazard.first(in: text) {
            throw ConfigurationError(code: .syntax, file: file, line: hazard.line, key: nil, detail: hazard.detail)
        }
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw ConfigurationError(
                code: .syntax, file: file, line: Int(error.source.begin.line), key: nil, detail: error.description)
        } catch {
            throw ConfigurationError(code: .syntax, file: file, line: nil, key: nil, detail: "\(error)")
        }
        let root = ConfigurationTable(table, path: [], file: file, lines: lines)
        try root.allow([
            "state_dir", "keys_dir", "backends", "orgs", "archive", "cache", "catalog", "memory", "drills", "status",
            "agent", "pools", "prices",
        ])
        var configuration = Configuration(
            stateDirectory: try root.path("state_dir"), keysDirectory: try root.path("keys_dir"), backends: [])
        for (name, backend) in try root.tables("backends") {
            configuration.backends.append(try parseBackend(name, backend))
        }
        guard !configuration.backends.isEmpty else {
            throw root.error(.missingKey, "backends", "at least one is needed")
        }
        for (name, org) in try root.tables("orgs") {
            let (org, disks) = try parseOrg(name, org, configuration)
            configuration.orgs.append(org)
            configuration.disks += disks
        }
        try configuration.parseAutomation(root)
        if let prices = try root.table("prices") { configuration.prices = try Prices(prices) }
        if let archive = try root.table("archive") {
            try archive.allow(["level", "frame_size"])
            if let level = try archive.optionalInteger("level") {
                guard (1...19).contains(level) else { throw archive.error(.invalidValue, "level", "must be 1 to 19") }
                configuration.archive.level = level
            }
            if let size = try archive.optionalSize("frame_size") {
                guard (64 << 10...16 << 20).contains(size), size.nonzeroBitCount == 1 else {
                    throw archive.error(.invalidValue, "frame_size", "must be a power of two from 64KiB to 16MiB")
                }
                configuration.archive.frameByteCount = size
            }
        }
        if let cache = try root.table("cache") {
            try cache.allow(["disk", "min_free", "foreign"])
            configuration.cache.diskByteCount =
                try cache.optionalSizeOrNothing("disk") ?? configuration.cache.diskByteCount
            configuration.cache.minimumFreeByteCount = try cache.optionalSizeOrNothing("min_free")
            configuration.cache.foreignByteCount =
                try cache.optionalSizeOrNothing("foreign") ?? configuration.cache.foreignByteCount
        }
        if let catalog = try root.table("catalog") {
            try catalog.allow(["copies", "refresh"])
            configuration.catalog.copyCount =
                try catalog.integer("copies", in: 0...100) ?? configuration.catalog.copyCount
            configuration.catalog.refreshSeconds =
                try catalog.seconds("refresh", in: 1...7 * 86_400) ?? configuration.catalog.refreshSeconds
        }
        if let memory = try root.table("memory") {
            try memory.allow(["budget"])
            if let budget = try memory.optionalSize("budget") {
                guard budget >= 64 << 20 else { throw memory.error(.invalidValue, "budget", "must be at least 64MiB") }
                configuration.memoryBudgetByteCount = budget
            }
        }
        if let drills = try root.table("drills") { configuration.drills = try Drills(drills) }
        if let status = try root.table("status") { configuration.status = try Status(status) }
        // A backup under way needs some dozen frames at once.
        guard configuration.archive.frameByteCount * 64 <= max(configuration.memoryBudgetByteCount, 64 << 20) else {
            let table = try root.table("archive") ?? root
            throw table.error(.invalidValue, "frame_size", "is too large for the memory budget: at most a 64th of it")
        }
        return configuration
    }

    private static func parseBackend(
        _ name: ResourceName, _ table: ConfigurationTable
    ) throws(ConfigurationError) -> Backend {
        let type = try table.string("type")
        let place: Backend.Place
        switch type {
        case "directory":
            try table.allow(["type", "path", "prefix", "region", "country", "dr", "minimum_billed_days", "price"])
            place = .directory(path: try table.path("path"))
        case "s3": place = .bucket(try parseBucket(table))
        default:
            throw table.error(
                .invalidValue, "type", "unknown type of backend \"\(type)\"; there are \"directory\" and \"s3\"")
        }
        var backend = Backend(name: name, place: place)
        backend.prefix = (try table.optionalString("prefix") ?? "").split(separator: "/").map(String.init)
        for part in backend.prefix {
            let hasControl = part.unicodeScalars.contains { $0.properties.generalCategory == .control }
            guard part != ".", part != "..", !hasControl, part.utf8.count <= 255 else {
                throw table.error(.invalidValue, "prefix", "cannot be the start of an object's key")
            }
        }
        backend.region = try table.optionalString("region")
        backend.country = try table.optionalString("country")
        backend.isDisasterRecovery = try table.optionalBoolean("dr") ?? false
        backend.minimumBilledDays = try table.integer("minimum_billed_days", in: 0...3650) ?? 0
        backend.price = try table.optionalPrice("price")
        return backend
    }

    private static func parseOrg(
        _ name: ResourceName, _ table: ConfigurationTable, _ configuration: Configuration
    ) throws(ConfigurationError) -> (Org, [Disk]) {
        try table.allow([
            "recovery_recipients", "backend", "drills", "vms", "status", "uid", "gid", "mode", "retention", "auto",
        ])
        var disks: [Disk] = []
        var org = Org(name: name)
        org.recoveryRecipients = try table.optionalStrings("recovery_recipients") ?? []
        if let backend = try table.optionalString("backend") {
            guard let known = configuration.backends.first(where: { $0.name.description == backend }) else {
                throw table.error(.invalidValue, "backend", "no backend is named \"\(backend)\"")
            }
            org.backend = known.name
        }
        if let drills = try table.table("drills") { org.drills = try Drills(drills) }
        for (vm, settings) in try table.tables("vms") {
            try settings.allow(["drills", "auto", "disks"])
            if let auto = try settings.table("auto") { org.vmAutos[vm] = try AutoBackup(auto, configuration) }
            for (disk, settings) in try settings.tables("disks") {
                disks.append(try parseDisk(DiskName(org: name, vm: vm, disk: disk), settings, configuration))
            }
            // A drill is due for a disk by its org: all of one org are kept alike.
            if let drills = try settings.table("drills") { org.vms[vm] = try Drills(drills, allowsEvery: false) }
        }
        if let status = try table.table("status") { org.status = try Status(status) }
        org.access = try Access(table)
        if let auto = try table.table("auto") { org.auto = try AutoBackup(auto, configuration) }
        if let preset = try AutoBackup.preset("retention", table) {
            guard org.auto.policy == nil else {
                throw table.error(
                    .invalidValue, "retention", "and the policy of the auto table overlap: leave one away")
            }
            org.auto.policy = preset
        }
        return (org, disks)
    }
}
