package import BackupEngine
internal import BackupNames
internal import Glibc
package import Logging
internal import SystemIO

/// Opens disks of running QEMU guests, and removes what backups of them left that were killed.
package struct GuestSources: Sendable {
    /// How long QEMU may be silent, and an agent.
    let patience: Duration
    let agentPatience: Duration
    let journal: GuestJournal
    let clock: any WallClock
    let log: Logger
    /// How long another backup of the same guest is waited for.
    private let lockPatience: Duration

    package init(
        stateDirectory: String, patience: Duration = .seconds(30), agentPatience: Duration = .seconds(5),
        lockPatience: Duration = .seconds(60), clock: any WallClock = SystemClock(), log: Logger
    ) {
        journal = GuestJournal(path: stateDirectory + "/guests")
        (self.patience, self.agentPatience, self.lockPatience) = (patience, agentPatience, lockPatience)
        self.clock = clock
        self.log = log
    }

    /// Reaches a consistent point of a disk, and opens it. Whatever fails leaves nothing, or a note.
    package func open(_ text: String, notice: (String) -> Void = { _ in }) throws(EngineError) -> GuestSource {
        let drive: GuestDrive
        do throws(NameError) {
            drive = try GuestDrive(text)
        } catch {
            throw EngineError(.source, "\(error)", cause: error)
        }
        cleanUpAfterCrash()
        let session = GuestSession(drive, self, lock: try lock(drive, notice))
        do {
            return GuestSource(session, try session.begin())
        } catch {
            session.end()
            let subject = "\"\(drive)\" cannot be backed up"
            switch error {
            case let error as EngineError:
                throw EngineError(error.code, "\(subject): \(error)", hint: error.hint, cause: error)
            case let error as ConversationFailure:
                throw EngineError(.source, "\(subject): \(error)", hint: error.hint, cause: error)
            default: throw EngineError(.source, "\(subject): QEMU refuses: \(error)", cause: error)
            }
        }
    }

    private func lock(_ drive: GuestDrive, _ notice: (String) -> Void) throws(EngineError) -> GuestLock {
        let deadline = ContinuousClock.now + lockPatience
        var isTold = false
        do throws(Errno) {
            while true {
                if let lock = try journal.lock(drive.socket) { return lock }
                guard ContinuousClock.now < deadline else { break }
                if !isTold {
                    notice("another backup of the guest at \"\(drive.socket)\" is under way: it is waited for")
                }
                isTold = true
                usleep(200_000)
            }
        } catch {
            throw EngineError(.source, "\"\(journal.path)\" cannot be used: \(error)", cause: error)
        }
        throw EngineError(
            .busy, "\"\(drive)\" cannot be backed up: another backup of this guest is under way",
            hint: "one disk of a guest at a time")
    }

    // MARK: After a crash

    /// Thaws the guests that processes which are no more have frozen, and removes what they left in QEMU.
    package func cleanUpAfterCrash() {
        for socket in Set(journal.notes().filter { !$0.token.isAlive }.map(\.note.socket)) {
            do {
                guard let lock = try journal.lock(socket) else { continue }
                // A monitor may be somebody else's for long; whoever backs up that guest waits for it.
                try withExtendedLifetime(lock) {
                    try recover(socket) { try QMPConnection(socket, patience: agentPatience) }
                }
            } catch {
                log.warning("what a backup of the guest at \"\(socket)\" left is not removed yet: \(error)")
            }
        }
    }

    /// The same for one guest, whose lock and monitor the caller has; what is ours there is found by its name, noted or not.
    func recover(_ socket: String, _ monitor: QMPConnection) throws {
        try GuestTrace(monitor, hasServer: false) { !$0.isAlive }.remove()
        try recover(socket) { monitor }
    }

    private func recover(_ socket: String, _ connect: () throws -> QMPConnection) throws {
        let notes = journal.notes().filter { $0.note.socket == socket && !$0.token.isAlive }
        guard !notes.isEmpty else { return }
        do {
            // First of all the guest has to go on.
            for agent in Set(notes.compactMap(\.note.frozenAgent)) { try thaw(agent) }
            try GuestTrace(try connect(), hasServer: true) { !$0.isAlive }.remove()
            log.notice("removed what an interrupted backup left in the guest at \"\(socket)\"")
        } catch let error as ConversationFailure where error.isGone {
            // With the guest all of it is gone.
        }
        for (token, _) in notes { try journal.remove(token) }
    }

    private func thaw(_ path: String) throws {
        do {
            let agent = try GuestAgent(path, patience: agentPatience)
            guard try agent.isFrozen else { return }
            try agent.thaw()
            log.warning("a guest that an interrupted backup had frozen is thawed: \"\(path)\"")
        } catch let error as ConversationFailure where error.isGone {
            // With the guest its file systems are gone.
        }
    }
}
