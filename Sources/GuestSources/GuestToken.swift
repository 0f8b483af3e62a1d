internal import BackupEngine
internal import Workers

/// Whose something in a guest's QEMU is: a process of ours, and which of its backups. It is in every name that we give there.
///
/// A node's name has at most 31 bytes: `holdfast-` and 20 more, of which the process takes 5, its start 7 (as long as a machine is up for
/// less than 24 years), the boot 4, the backup 2 and the role 1.
struct GuestToken: Hashable, Sendable {
    /// What is named, by its letter.
    enum Role: Character, Sendable, CaseIterable {
        case overlay = "o"
        case filter = "f"
        case snapshot = "s"
        case export = "e"
        /// The exports of the filter and of the overlay.
        case present = "p"
        case changes = "c"
        /// The listening socket of the NBD server.
        case server = "n"
    }

    private static let prefix = "holdfast-"
    private static let alive = Monitor<Set<GuestToken>>([])
    /// What can follow each other in one process without the same name: 36 squared.
    private static let serialLimit: UInt64 = 1296

    private let process: Int32
    private let startTicks: UInt64
    private let boot: String
    private let serial: UInt64

    private init(_ identity: ProcessIdentity, serial: UInt64) {
        (process, startTicks, boot) = (identity.process, identity.startTicks, Self.boot(of: identity))
        self.serial = serial
    }

    /// A new one of this process, in use until `end`.
    static func begin() -> GuestToken {
        alive.withLock { alive in
            for serial in 0..<serialLimit {
                let token = GuestToken(.current, serial: serial)
                if alive.insert(token).inserted { return token }
            }
            preconditionFailure("internal error: more than \(serialLimit) guests are backed up at once")
        }
    }

    func end() { Self.alive.withLock { _ = $0.remove(self) } }

    /// Whether the backup that it is of goes on.
    var isAlive: Bool {
        if Self.alive.withLock({ $0.contains(self) }) { return true }
        let current = ProcessIdentity.current
        guard boot == Self.boot(of: current) else { return false }
        let owner = ProcessIdentity(
            process: process, startTicks: startTicks, bootIdentifier: current.bootIdentifier)
        return owner != current && owner.isAlive
    }

    /// The name of a thing in QEMU.
    func name(_ role: Role) -> String {
        let digits = String(serial, radix: 36)
        let number = String(process, radix: 36) + "-" + String(startTicks, radix: 36)
        return "\(Self.prefix)\(number)-\(boot)\(digits.count < 2 ? "0" : "")\(digits)\(role.rawValue)"
    }

    /// For the journal.
    var text: String { String(name(.overlay).dropLast()) }

    /// Takes a name apart; nil if it is none of ours.
    static func parse(_ name: String) -> (token: GuestToken, role: Role)? {
        guard name.hasPrefix(prefix), let last = name.last, let role = Role(rawValue: last) else { return nil }
        return GuestToken(String(name.dropLast())).map { ($0, role) }
    }

    init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2].utf8.count == 6, let process = Int32(parts[0], radix: 36), process > 0,
            let ticks = UInt64(parts[1], radix: 36), let serial = UInt64(parts[2].suffix(2), radix: 36)
        else { return nil }
        (self.process, startTicks, boot) = (process, ticks, String(parts[2].prefix(4)))
        self.serial = serial
    }

    /// Enough of it to tell this boot from the last.
    private static func boot(of identity: ProcessIdentity) -> String {
        let digits = identity.bootIdentifier.filter(\.isHexDigit).prefix(4)
        return digits + String(repeating: "0", count: 4 - digits.count)
    }
}
