package import BackupNames

/// How often something is wanted; `off` is a word of the file.
package enum Interval: Sendable, Hashable {
    case off
    case every(seconds: Int64)

    /// nil for off.
    package var seconds: Int64? {
        switch self {
        case .off: nil
        case .every(let seconds): seconds
        }
    }
}

extension Configuration {
    /// `[drills]`, `[orgs.NAME.drills]`, `[orgs.NAME.vms.NAME.drills]`: what is nil is taken from the table above.
    package struct Drills: Sendable, Equatable {
        package enum Firmware: String, Sendable, CaseIterable { case bios, uefi }
        package enum Bus: String, Sendable, CaseIterable { case virtio, sata }

        /// After how long a disk's drill is due again.
        package var every: Interval?
        /// What a guest that has booted writes to its serial console.
        package var expect: String?
        package var firmware: Firmware?
        /// How the guest sees its disk.
        package var bus: Bus?
        /// Of the guest that is booted.
        package var memoryByteCount: Int?

        package init(
            every: Interval? = nil, expect: String? = nil, firmware: Firmware? = nil, bus: Bus? = nil,
            memoryByteCount: Int? = nil
        ) {
            self.every = every
            self.expect = expect
            self.firmware = firmware
            self.bus = bus
            self.memoryByteCount = memoryByteCount
        }

        package static let standard = Drills(
            every: .every(seconds: 30 * 86_400), firmware: .bios, bus: .virtio, memoryByteCount: 1 << 30)

        package func over(_ base: Drills) -> Drills {
            Drills(
                every: every ?? base.every, expect: expect ?? base.expect, firmware: firmware ?? base.firmware,
                bus: bus ?? base.bus,
                memoryByteCount: memoryByteCount ?? base.memoryByteCount)
        }
    }

    /// `[status]`, `[orgs.NAME.status]`: when something is overdue.
    package struct Status: Sendable, Equatable {
        package var recoveryPoint: Interval?
        package var verify: Interval?
        package var drill: Interval?

        /// A day and two hours: a daily backup that takes its time is not late.
        package static let standard = Status(
            recoveryPoint: .every(seconds: 26 * 3600), verify: .every(seconds: 8 * 86_400),
            drill: .every(seconds: 35 * 86_400))

        package func over(_ base: Status) -> Status {
            Status(
                recoveryPoint: recoveryPoint ?? base.recoveryPoint, verify: verify ?? base.verify,
                drill: drill ?? base.drill)
        }
    }

    /// What holds for the drills of a vm.
    package func drills(org name: ResourceName, vm: ResourceName? = nil) -> Drills {
        let org = orgs.first { $0.name == name }
        let own = vm.flatMap { org?.vms[$0] } ?? Drills()
        return own.over((org?.drills ?? Drills()).over(drills).over(.standard))
    }

    /// What is overdue of an org.
    package func status(org name: ResourceName?) -> Status {
        let org = orgs.first { $0.name == name }
        return (org?.status ?? Status()).over(status).over(.standard)
    }
}

extension Configuration.Drills {
    init(_ table: ConfigurationTable, allowsEvery: Bool = true) throws(ConfigurationError) {
        try table.allow(Set(["expect", "firmware", "bus", "memory"] + (allowsEvery ? ["every"] : [])))
        every = try table.optionalInterval("every")
        expect = try table.optionalString("expect")
        guard expect.map({ (1...1000).contains($0.utf8.count) }) ?? true else {
            throw table.error(.invalidValue, "expect", "must be 1 to 1000 bytes")
        }
        if let name = try table.optionalString("firmware") {
            guard let known = Firmware(rawValue: name) else {
                throw table.error(.invalidValue, "firmware", "must be \"bios\" or \"uefi\"")
            }
            firmware = known
        }
        if let name = try table.optionalString("bus") {
            guard let known = Bus(rawValue: name) else {
                throw table.error(.invalidValue, "bus", "must be \"virtio\" or \"sata\"")
            }
            bus = known
        }
        memoryByteCount = try table.optionalSize("memory")
        guard memoryByteCount.map({ (16 << 20...1 << 40).contains($0) }) ?? true else {
            throw table.error(.invalidValue, "memory", "must be 16MiB to 1TiB")
        }
    }
}

extension Configuration.Status {
    init(_ table: ConfigurationTable) throws(ConfigurationError) {
        try table.allow(["rpo", "verify", "drill"])
        recoveryPoint = try table.optionalInterval("rpo")
        verify = try table.optionalInterval("verify")
        drill = try table.optionalInterval("drill")
    }
}

extension ConfigurationTable {
    /// `"26h"`, `"8d"`, … or `"off"`.
    func optionalInterval(_ key: String) throws(ConfigurationError) -> Interval? {
        guard let text = try optionalString(key) else { return nil }
        if text == "off" { return .off }
        guard let seconds = DurationText.seconds(text) else {
            throw error(.invalidValue, key, "must be a length of time such as \"26h\" or \"8d\", or \"off\"")
        }
        return .every(seconds: seconds)
    }

    /// `"5m"`, …; 0 seconds for `0` or `"off"`.
    func seconds(_ key: String, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int? {
        if holdsZero(key) { return 0 }
        guard let interval = try optionalInterval(key) else { return nil }
        guard let seconds = interval.seconds else { return 0 }
        guard let count = Int(exactly: seconds), range.contains(count) else {
            throw error(.invalidValue, key, "must be 0, or \(range.lowerBound) to \(range.upperBound) seconds")
        }
        return count
    }
}
