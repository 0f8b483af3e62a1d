package import BackupEngine
package import DiskImage

/// The read-only checker that fits a file system, and what its exit code means: pure.
package struct FileSystemChecker: Sendable, Hashable {
    package let program: String
    private let options: [String]
    private let kind: FileSystemKind

    /// nil where there is none: the kind is known, and nothing that checks it without writing.
    package init?(for kind: FileSystemKind) {
        self.kind = kind
        switch kind {
        // -f: also where the superblock says that all is well.
        case .extended: (program, options) = ("e2fsck", ["-n", "-f"])
        case .xfs: (program, options) = ("xfs_repair", ["-n", "-f"])
        case .btrfs: (program, options) = ("btrfs", ["check", "--readonly"])
        case .ntfs: (program, options) = ("ntfsfix", ["-n"])
        case .fat: (program, options) = ("fsck.vfat", ["-n"])
        case .exfat: (program, options) = ("fsck.exfat", ["-n"])
        case .swap, .luks, .logicalVolume: return nil
        }
    }

    package func arguments(for file: String) -> [String] { options + [file] }

    /// What came of it. A file system that was mounted when the backup was made holds changes that only its journal has, or a mark;
    /// what a checker that may not write makes of that says nothing of the backup.
    package func outcome(exitCode: Int32, output: String) -> DrillCheck.Outcome {
        switch kind {
        case .extended(let needsRecovery):
            // e2fsck(8): 4 errors left uncorrected; 8 and more: it could not check.
            guard exitCode & ~4 == 0 else { return .bad }
            return needsRecovery ? .needsRecovery : exitCode == 0 ? .good : .bad
        case .xfs:
            // xfs_repair(8): with -n, 1 is corruption.
            let isIgnoringLog = output.contains("valuable metadata changes in a log")
            if isIgnoringLog, exitCode == 0 || exitCode == 1 { return .needsRecovery }
            return exitCode == 0 ? .good : .bad
        case .fat(let isDirty):
            // fsck.fat(8): 1 is what could be repaired, and the mark alone.
            if isDirty, exitCode <= 1 { return .needsRecovery }
            return exitCode == 0 ? .good : .bad
        case .btrfs, .ntfs, .exfat: return exitCode == 0 ? .good : .bad
        case .swap, .luks, .logicalVolume: return .notChecked
        }
    }
}
