internal import BackupEngine
internal import BackupNames

extension StagedFile {
    /// See the table at `StagedFile`.
    enum State: Sendable, Equatable {
        case empty
        case streaming
        case committing
        case held
        case committed(BackupIdentifier)
        case failed(String)
    }

    /// What everybody may look at without waiting.
    struct Facts: Sendable {
        var state = State.empty
        var name: StagedName
        var declaredByteCount: UInt64?
        var receivedByteCount: UInt64 = 0
        var identifier: BackupIdentifier?
        var modified: Int64
        var isRemoved = false
        /// Set while a session runs: to wake a blocked writer, and to tell progress.
        var session: BackupSession?
        /// Why that session was cancelled.
        var cancelReason: String?
    }
}
