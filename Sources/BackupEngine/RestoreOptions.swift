package import BackupNames
package import CryptoPrimitives

/// How a restore is made.
package struct RestoreOptions: Sendable {
    package enum Mode: Sendable {
        /// All of the backup is verified before what was on the target is touched.
        case verifyFirst
        /// One pass: each frame is authenticated before it is written, the whole hash comes at the end. Until then, and after a
        /// mismatch, the target is unusable.
        case stream
        /// One pass that goes on past damage, with zeros in its place.
        case salvage
    }

    package var mode = Mode.verifyFirst
    /// Overwrites a file that has data, or a device that is not empty.
    package var force = false
    /// Goes on where an interrupted restore of the same backup to the same target stopped.
    package var resumes = false
    /// Told what the user should know beforehand.
    package var notice: @Sendable (String) -> Void = { _ in }

    package init(mode: Mode = .verifyFirst, force: Bool = false, resumes: Bool = false) {
        self.mode = mode
        self.force = force
        self.resumes = resumes
    }
}

/// What a restore did.
package struct RestoreResult: Sendable {
    package let identifier: BackupIdentifier
    package let rawByteCount: UInt64
    package let dataByteCount: UInt64
    /// nil where bytes were lost: the target has zeros in their place.
    package let rawSHA256: SHA256Digest?
    /// What was damaged, healed from a replica or lost.
    package let damage: [ArchiveDamage]
    package let lostByteCount: UInt64
    /// Raw bytes that the target had already.
    package let resumedByteCount: UInt64
    /// Of the pass that wrote; fetched bytes are those of all passes.
    package let timings: ScanTimings
    package let fetchedByteCount: UInt64

    package var isComplete: Bool { lostByteCount == 0 }
}

/// Where a restore is.
package enum RestorePhase: String, Sendable { case verify, write }
