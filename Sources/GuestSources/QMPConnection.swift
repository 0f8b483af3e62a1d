internal import SystemIO

/// QEMU's no to a command, in its words.
struct QMPRefusal: Error, CustomStringConvertible {
    let description: String
}

/// A conversation with QEMU over a monitor that speaks QMP (docs/interop/qmp-spec of QEMU). One thread at a time.
///
/// A monitor serves one client at a time: while this lives, nobody else has this socket. Each exchange ends when nothing came for
/// `patience`; after that the connection is of no use any more, for a late answer would be taken for that of another command.
final class QMPConnection {
    struct Version: Comparable, CustomStringConvertible {
        let major: Int64
        let minor: Int64

        var description: String { "\(major).\(minor)" }
        static func < (left: Version, right: Version) -> Bool { (left.major, left.minor) < (right.major, right.minor) }
    }

    let version: Version
    private let patience: Duration
    private let socket: LocalSocket
    private var lastCommand: Int64 = 0
    private(set) var isUsable = true

    /// Connects and agrees with QEMU.
    init(_ path: String, patience: Duration) throws(ConversationFailure) {
        self.patience = patience
        socket = try LocalSocket(path, patience: patience)
        let line: [UInt8]
        do throws(ConversationFailure) {
            line = try socket.line(patience: patience)
        } catch {
            throw ConversationFailure(
                description: "the QMP socket \"\(path)\" says nothing: \(error)",
                hint:
                    "a monitor serves one client at a time: if somebody else has this one, give the guest a second, by -qmp",
                hasEnded: error.hasEnded)
        }
        let greeting = QMPValue(parsing: line)?["QMP"]
        guard let number = greeting?["version"]["qemu"], let major = number["major"].integer,
            let minor = number["minor"].integer
        else {
            throw ConversationFailure(
                description: "\"\(path)\" is no QMP socket: it begins otherwise",
                hint: "-qmp unix:PATH,server=on,wait=off makes one; -monitor makes one for people")
        }
        version = Version(major: major, minor: minor)
        do {
            try execute("qmp_capabilities")
        } catch let error as ConversationFailure {
            throw error
        } catch {
            throw ConversationFailure(description: "\"\(path)\" refuses to speak QMP: \(error)")
        }
    }

    /// Has QEMU carry out a command, and gives its answer. `descriptor` goes with it. Throws `QMPRefusal` if QEMU would not, and
    /// `ConversationFailure` if nobody knows whether it did.
    @discardableResult
    func execute(
        _ command: String, _ arguments: QMPValue = [:], with descriptor: Int32? = nil,
        deadline: ContinuousClock.Instant? = nil
    ) throws -> QMPValue {
        guard isUsable else { throw ConversationFailure(description: "the conversation with QEMU has ended") }
        lastCommand += 1
        let request: QMPValue = ["execute": .text(command), "arguments": arguments, "id": .number(lastCommand)]
        let answer: QMPValue
        do throws(ConversationFailure) {
            try socket.send(request.encoded + [UInt8(ascii: "\n")], with: descriptor)
            answer = try self.answer(deadline)
        } catch {
            isUsable = false
            throw ConversationFailure(
                description: "QEMU, asked for \(command): \(error)", hint: error.hint, hasEnded: error.hasEnded)
        }
        guard answer["error"] == .null else {
            throw QMPRefusal(description: answer["error"]["desc"].string ?? "no reason was given")
        }
        return answer["return"]
    }

    private func answer(_ deadline: ContinuousClock.Instant?) throws(ConversationFailure) -> QMPValue {
        while true {
            let line = try socket.line(patience: patience, deadline: deadline)
            guard let answer = QMPValue(parsing: line) else {
                throw ConversationFailure(description: "what came is not JSON")
            }
            // What is no answer is an event.
            if answer["id"] == .number(lastCommand) { return answer }
        }
    }

    /// Events that nobody waits for must not pile up in QEMU.
    func drain() {
        guard isUsable else { return }
        do throws(ConversationFailure) { try socket.drain() } catch { isUsable = false }
    }
}
