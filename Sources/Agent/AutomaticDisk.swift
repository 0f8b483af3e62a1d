package import BackupEngine
package import BackupNames
package import Catalog
package import Retention

/// A source that is open for one backup, and what has to be undone after it.
package struct OpenedSource {
    package let image: any ImageSource
    /// Called once, whatever became of the backup.
    package let release: () -> Void

    package init(_ image: any ImageSource, release: @escaping () -> Void = {}) {
        self.image = image
        self.release = release
    }
}

/// A disk that is backed up without anybody asking.
package struct AutomaticDisk: Sendable {
    package let name: DiskName
    package let policy: RetentionPolicy
    package let window: BackupWindow
    /// Where its backups go: one, or those of which one is chosen.
    package let targets: [ResourceName]
    /// How its backups are locked; empty: not at all.
    package let locks: RetentionLocks
    /// Reaches the consistent point and opens it.
    package let open: @Sendable () throws -> OpenedSource

    package init(
        name: DiskName, policy: RetentionPolicy, window: BackupWindow, targets: [ResourceName],
        locks: RetentionLocks = RetentionLocks(), open: @escaping @Sendable () throws -> OpenedSource
    ) {
        self.name = name
        self.policy = policy
        self.window = window
        self.targets = targets
        self.locks = locks
        self.open = open
    }

    /// The same for a name on every host: FNV-1a, 64 bits.
    var seed: UInt64 { Self.seed(of: "\(name.org)/\(name.vm)/\(name.disk)") }

    static func seed(of text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

package struct AgentSettings: Sendable, Hashable {
    package var limits = AgentPlan.Limits(overall: 2, perTarget: 1)
    /// How deep a new backup is checked before it counts.
    package var verifyDepth = CheckDepth.presence
    package var pruneShare = 0.5

    package init() {}
}
