internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Glibc
internal import Logging
internal import SystemIO

/// One backup of a guest's disk, from the first word with QEMU to the last.
///
/// The filter `copy-before-write` is put between the guest's device and its node: what the guest overwrites is copied to the overlay first.
/// The node `snapshot-access` above it shows the disk as it was, and is what QEMU's own NBD server exports to us. The job
/// `blockdev-backup`, which could do the same, is not used: where its overlay is full the guest's write fails (QEMU 7.2); of this
/// filter QEMU breaks the snapshot instead (`on-cbw-error`, from 7.1 on).
///
/// What the guest leaves or makes empty later is a hole now, and what was one may be none any more. QEMU 7.2 mixes that up when it tells
/// the holes of a snapshot, and even reads it wrongly where a request begins in a cluster that was copied and goes on behind it
/// (hbitmap_status(), mended in QEMU 8.0). So no request here crosses a cluster, and holes are asked for in two steps: first of the filter,
/// which tells the disk as it is now, then of the overlay. What is empty now, and of which nothing was copied until then, was empty at
/// the moment, for QEMU copies before it writes. That holds as long as the snapshot is not broken, which the last read shows.
///
/// | state | in QEMU | on this host | we fail: | we are killed: |
/// |---|---|---|---|---|
/// | connected | nothing | a lock | | the kernel takes the lock back |
/// | noted | nothing | and a note | `end` removes it | the next look finds nothing in QEMU, and removes it |
/// | prepared | descriptor, overlay, filter, beside the guest's way | and the overlay's memory | `end`: `GuestTrace` | the next look: `GuestTrace` |
/// | frozen | the same; the guest's file systems stand still | and the agent in the note, and a `FreezeGuard` | thawed at once | thawed by the guard at once, and by the next look |
/// | switched | the filter is in the guest's way | as prepared | `end` | the guest goes on over the filter; the next look |
/// | exported | and the snapshot node, NBD server, three exports | and our connection | `end` | the connection is closed; the next look |
/// | ended | nothing | nothing | | |
///
/// The next look is the start of any backup and of the agent on this host; the start of a backup of this guest also removes what is in
/// no note of this host, by its name. If QEMU ends all of it ends; our connection to it does, and the backup fails. What could not be
/// removed stays noted. Until it is, the overlay is bounded, the guest is not.
final class GuestSession {
    /// The first QEMU whose filter lets the guest go on where the overlay does not.
    private static let oldestVersion = QMPConnection.Version(major: 7, minor: 1)
    /// Before it the NBD server ended QEMU by an assertion when the client of a disk that an iothread serves went away.
    private static let iothreadVersion = QMPConnection.Version(major: 8, minor: 2)
    /// How long a write of the guest may wait for its copy. QEMU has it in nanoseconds, at first in 32 bits: more would be less.
    private static let copySeconds = 4

    /// How long an end of QEMU may take, from its first closed connection to the last.
    private static let endingPatience = Duration.seconds(5)

    private let drive: GuestDrive
    private let owner: GuestSources
    private let token = GuestToken.begin()
    private var lock: GuestLock?
    private var monitor: QMPConnection?
    private var overlay: FleecingOverlay?
    private var isNoted = false
    private var hasServer = false
    private(set) var byteCount: UInt64 = 0
    /// How long the guest's file systems stood still.
    private(set) var frozenTime: Duration?

    init(_ drive: GuestDrive, _ owner: GuestSources, lock: GuestLock) {
        self.drive = drive
        self.owner = owner
        self.lock = lock
    }

    deinit { end() }

    // MARK: Beginning

    /// Gets to the state "exported". Everything that can be known to be wrong is, before anything is done.
    func begin() throws -> NBDSource {
        let monitor = try QMPConnection(drive.socket, patience: owner.patience)
        self.monitor = monitor
        guard monitor.version >= Self.oldestVersion else {
            throw ConversationFailure(
                description: "its QEMU is \(monitor.version), and one from \(Self.oldestVersion) on is needed")
        }
        try owner.recover(drive.socket, monitor)
        let device = try GuestDevice.find(drive.drive, among: GuestDevice.all(monitor))
        guard let path = device.path, let node = device.node else {
            preconditionFailure("internal error: a drive without a device")
        }
        byteCount = device.byteCount
        try check(device, node, monitor)
        let agent = try drive.agent.map { try preparedAgent($0) }
        try owner.journal.write(GuestJournal.Note(socket: drive.socket), token)
        isNoted = true
        try prepare(node, monitor)
        let moment = try freezing(agent) { deadline in
            let now = owner.clock.secondsSince1970
            try monitor.execute(
                "qom-set", ["path": .text(path), "property": "drive", "value": .text(token.name(.filter))],
                deadline: deadline)
            return now
        }
        return try export(monitor, moment, agent == nil ? "qmp" : "guest-agent")
    }

    private func check(_ device: GuestDevice, _ node: String, _ monitor: QMPConnection) throws {
        guard GuestToken.parse(node) == nil else {
            throw EngineError(.busy, "another backup of this drive is under way, by another socket")
        }
        if monitor.version < Self.iothreadVersion, let thread = try device.iothread(monitor) {
            throw ConversationFailure(
                description:
                    "the drive is served by the iothread \"\(thread)\", and the NBD server of QEMU \(monitor.version) cannot export such a drive safely",
                hint: "QEMU \(Self.iothreadVersion) or newer can; or leave the iothread of this drive away")
        }
        // What the removal needs has to work.
        _ = try trace(monitor).node(below: node)
        try ServerProbe.checkIsFree(monitor, token)
    }

    private func preparedAgent(_ path: String) throws -> GuestAgent {
        let agent = try GuestAgent(path, patience: owner.agentPatience)
        // One that is frozen allows little else.
        if try agent.isFrozen {
            throw ConversationFailure(
                description: "the guest is frozen already, by somebody else", hint: "thaw it first: guest-fsfreeze-thaw"
            )
        }
        guard try agent.canFreeze else {
            throw ConversationFailure(
                description: "the guest agent refuses to freeze: guest-fsfreeze-freeze is disabled in the guest",
                hint:
                    "allow it there (block-rpcs of qemu-ga), or leave agent= away: the backup is then as after a power cut"
            )
        }
        return agent
    }

    /// Puts the overlay and the filter beside the guest's way.
    private func prepare(_ node: String, _ monitor: QMPConnection) throws {
        let overlay = try FleecingOverlay(imageByteCount: byteCount, byteCount: drive.overlayByteCount)
        self.overlay = overlay
        let added = try monitor.execute(
            "add-fd", ["opaque": .text(token.name(.overlay))], with: overlay.file.descriptor)
        guard let set = added["fdset-id"].integer else {
            throw ConversationFailure(description: "QEMU does not say where it has put a descriptor")
        }
        // Its length is fixed by the node in the middle. What is in memory need not be flushed.
        try monitor.execute(
            "blockdev-add",
            [
                "driver": "qcow2", "node-name": .text(token.name(.overlay)),
                "cache": ["direct": false, "no-flush": true],
                "file": [
                    "driver": "raw", "size": .number(Int64(overlay.byteCount)),
                    "file": ["driver": "file", "filename": "/dev/fdset/\(set)", "locking": "off"],
                ],
            ])
        try monitor.execute(
            "blockdev-add",
            [
                "driver": "copy-before-write", "node-name": .text(token.name(.filter)), "file": .text(node),
                "target": .text(token.name(.overlay)), "on-cbw-error": "break-snapshot",
                "cbw-timeout": .number(Int64(Self.copySeconds)),
            ])
    }

    private func export(_ monitor: QMPConnection, _ moment: Int64, _ consistency: String) throws -> NBDSource {
        try monitor.execute(
            "blockdev-add",
            [
                "driver": "snapshot-access", "node-name": .text(token.name(.snapshot)), "read-only": true,
                "file": .text(token.name(.filter)),
            ])
        let exports: [(role: GuestToken.Role, node: GuestToken.Role)] = [
            (.export, .snapshot), (.present, .filter), (.changes, .overlay),
        ]
        let socket = try HandedSocket(clientCount: exports.count)
        var clients = socket.clients[...]
        // Before `end`: QEMU 7.2 stands still in nbd-server-stop for as long as a client is connected that has not agreed with it yet.
        defer { for client in clients { close(client) } }
        do {
            let listener = OwnedFile(adopting: socket.listener)
            hasServer = true
            try monitor.execute("getfd", ["fdname": .text(token.name(.server))], with: listener.descriptor)
            try monitor.execute(
                "nbd-server-start", ["addr": ["type": "fd", "data": ["str": .text(token.name(.server))]]])
        }
        for (role, node) in exports {
            let name = QMPValue.text(token.name(role))
            try monitor.execute(
                "block-export-add",
                [
                    "type": "nbd", "id": name, "name": name, "node-name": .text(token.name(node)), "writable": false,
                ])
        }
        let opened = exports.compactMap { export in
            clients.popFirst().map { NBDSource.Export($0, token.name(export.role)) }
        }
        return try NBDSource.open(
            adopting: opened[0], tellers: Array(opened[1...]), name: drive.description, consistency: consistency,
            consistentAt: moment, requestByteCount: FleecingOverlay.clusterByteCount)
    }

    // MARK: Freezing

    /// Does `body` while the guest's file systems stand still, if there is an agent; with the moment by which it must be done.
    private func freezing(_ agent: GuestAgent?, _ body: (ContinuousClock.Instant?) throws -> Int64) throws -> Int64 {
        guard let agent else { return try body(nil) }
        try owner.journal.write(GuestJournal.Note(socket: drive.socket, frozenAgent: drive.agent), token)
        let watch = try FreezeGuard(agent, seconds: drive.freezeSeconds)
        let limit = Duration.seconds(drive.freezeSeconds)
        let start = ContinuousClock.now
        let result = Result {
            let frozen = try agent.ask("guest-fsfreeze-freeze", within: limit).integer ?? 0
            guard frozen > 0 else {
                throw ConversationFailure(
                    description: "the guest agent froze no file system",
                    hint: "leave agent= away: the backup is then as after a power cut")
            }
            let moment = try body(start + limit)
            guard try agent.isFrozen else {
                throw ConversationFailure(description: "the guest was thawed before the moment was reached")
            }
            return moment
        }
        let thawed = Result { try thaw(agent, until: start + limit * 2) }
        watch.end()
        let time = ContinuousClock.now - start
        frozenTime = time
        if case .failure(let error) = thawed {
            throw ConversationFailure(
                description: "the guest may still be frozen: \(error)",
                hint: "the next backup thaws it; by hand: guest-fsfreeze-thaw")
        }
        try owner.journal.write(GuestJournal.Note(socket: drive.socket), token)
        owner.log.info("\(drive.drive): the guest stood still for \(time / .milliseconds(1)) ms")
        guard time < limit else {
            throw ConversationFailure(
                description: "the guest was frozen for \(limit) without reaching the moment, and thawed")
        }
        do {
            return try result.get()
        } catch let error as QMPRefusal {
            throw ConversationFailure(
                description: "freezing the guest or taking the moment was refused: \(error)",
                hint: "leave agent= away: the backup is then as after a power cut")
        }
    }

    /// Tries until the guest is thawed: an agent that is busy with freezing answers later.
    private func thaw(_ agent: GuestAgent, until deadline: ContinuousClock.Instant) throws {
        while true {
            do {
                return try agent.thaw()
            } catch {
                guard ContinuousClock.now < deadline else { throw error }
                usleep(100_000)
            }
        }
    }

    // MARK: Reading and ending

    /// Called as the reading goes on.
    func goesOn() { monitor?.drain() }

    /// Why the reading failed, where that is known.
    func explained(_ error: EngineError) -> EngineError {
        guard let overlay, overlay.isFull else { return error }
        return EngineError(
            .source,
            "\(error.detail): the guest overwrote more than \(overlay.byteCount >> 20) MiB while its disk was read",
            hint: "overlay=4GiB in the URI, for example, allows more memory for that", cause: error)
    }

    /// Removes everything. Called when nothing is read any more; more than once is no harm.
    func end() {
        guard lock != nil else { return }
        defer {
            monitor = nil
            // QEMU keeps a descriptor that was given back for as long as its guest is paused.
            try? overlay?.file.truncate(to: 0)
            overlay = nil
            token.end()
            lock = nil
        }
        guard isNoted else { return }
        do {
            try removeTrace()
        } catch let error as ConversationFailure where error.isGone {
            // All of it has ended with QEMU.
        } catch {
            owner.log.error("the backup of \(drive) has left something in QEMU, which the next one removes: \(error)")
            return
        }
        do throws(Errno) { try owner.journal.remove(token) } catch {
            owner.log.warning("the note \(token.text) of the backup of a guest is not removed: \(error)")
        }
    }

    /// A conversation that has ended, or ends now, is begun anew: QEMU may be about to end, which its socket then tells.
    private func removeTrace() throws {
        let deadline = ContinuousClock.now + Self.endingPatience
        while true {
            do {
                let monitor = try usableMonitor()
                return try trace(monitor).remove()
            } catch let error as ConversationFailure where error.hasEnded && ContinuousClock.now < deadline {
                usleep(100_000)
            }
        }
    }

    private func usableMonitor() throws(ConversationFailure) -> QMPConnection {
        if let monitor, monitor.isUsable { return monitor }
        monitor = nil
        let again = try QMPConnection(drive.socket, patience: owner.patience)
        monitor = again
        return again
    }

    private func trace(_ monitor: QMPConnection) -> GuestTrace {
        GuestTrace(monitor, hasServer: hasServer) { [token] in $0 == token }
    }
}
