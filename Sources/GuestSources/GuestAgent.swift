internal import Glibc
internal import SystemIO

/// A conversation with the agent in a guest (docs/interop/qemu-ga-ref of QEMU). One thread at a time.
///
/// The other end of its socket is there without it, too: only an answer shows that it runs. So every conversation begins with a question
/// that no old answer can be taken for an answer to.
final class GuestAgent {
    /// Precedes and, in answers, follows a flush of both sides' parsers (guest-sync-delimited).
    private static let sentinel: UInt8 = 0xff

    private let socket: LocalSocket
    private let patience: Duration

    /// For who has to thaw the guest where we cannot.
    var descriptor: Int32 { socket.descriptor }

    init(_ path: String, patience: Duration) throws(ConversationFailure) {
        self.patience = patience
        socket = try LocalSocket(path, patience: patience)
        try synchronize()
    }

    /// Makes sure that the agent is there, and that the next answer is that of the next question.
    func synchronize() throws(ConversationFailure) {
        let number = Int64.random(in: 1...Int64(Int32.max))
        try socket.send(
            [Self.sentinel] + request("guest-sync-delimited", ["id": .number(number)]))
        let deadline = ContinuousClock.now + patience
        while true {
            let line: [UInt8]
            do throws(ConversationFailure) {
                line = try socket.line(patience: patience, deadline: deadline)
            } catch {
                throw ConversationFailure(
                    description: "the guest agent does not answer: \(error)",
                    hint:
                        "does qemu-guest-agent run in the guest? Its socket serves one client at a time: libvirt has those of its own channels"
                )
            }
            // What comes before is of others.
            let answer = line.split(separator: Self.sentinel).last.map { Array($0) } ?? []
            if QMPValue(parsing: answer)?["return"] == .number(number) { return }
        }
    }

    /// Whether the agent would freeze the guest: it may have been told not to.
    var canFreeze: Bool {
        get throws {
            try ask("guest-info")["supported_commands"].elements.contains {
                $0["name"] == "guest-fsfreeze-freeze" && $0["enabled"] == .flag(true)
            }
        }
    }

    var isFrozen: Bool {
        get throws { try ask("guest-fsfreeze-status").string == "frozen" }
    }

    /// Has it do something. Throws `QMPRefusal` if it would not, `ConversationFailure` if nobody knows whether it did.
    @discardableResult
    func ask(_ command: String, within time: Duration? = nil) throws -> QMPValue {
        try socket.send(request(command))
        let time = time ?? patience
        let line = try socket.line(patience: time, deadline: ContinuousClock.now + time)
        guard let answer = QMPValue(parsing: line) else {
            throw ConversationFailure(description: "the guest agent's answer is not JSON")
        }
        guard answer["error"] == .null else {
            throw QMPRefusal(description: answer["error"]["desc"].string ?? "no reason was given")
        }
        return answer["return"]
    }

    /// Thaws the guest, whatever was asked before and not answered.
    func thaw() throws {
        try synchronize()
        try ask("guest-fsfreeze-thaw")
    }

    private func request(_ command: String, _ arguments: QMPValue? = nil) -> [UInt8] {
        let bare: QMPValue = ["execute": .text(command)]
        return (arguments.map { ["execute": .text(command), "arguments": $0] } ?? bare).encoded + [UInt8(ascii: "\n")]
    }
}
