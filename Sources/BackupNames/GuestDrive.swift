/// A disk of a running QEMU guest, as a user names it: `qmp+unix:///DRIVE?socket=PATH[&agent=PATH][&freeze=10][&overlay=1GiB]`.
///
/// | item | meaning |
/// |---|---|
/// | `DRIVE` | the id of the guest's device, its path in QEMU's tree of objects, or the name of its block node or block device |
/// | `socket` | the guest's QMP monitor |
/// | `agent` | the socket of its guest agent, by which its file systems are frozen for a moment |
/// | `freeze` | how many seconds they may be, 1 to 60; 10 where it is not said |
/// | `overlay` | how much of what the guest overwrites meanwhile is kept in memory: a number of MiB or GiB |
///
/// `%XX` stands for a byte, as in any URI.
package struct GuestDrive: Hashable, Sendable, CustomStringConvertible {
    package static let prefix = "qmp+unix://"
    /// What fits into an address of unix(7), with its end.
    private static let socketByteCount = 107

    /// As it was given.
    package let description: String
    package let drive: String
    package let socket: String
    package let agent: String?
    package let freezeSeconds: Int
    /// nil: what the memory of this machine allows, at most 1 GiB.
    package let overlayByteCount: UInt64?

    /// Whether a text is meant as one.
    package static func isURI(_ text: String) -> Bool { text.hasPrefix(prefix) }

    package init(_ text: String) throws(NameError) {
        func refusal(_ reason: String) -> NameError { NameError(text, reason) }
        let form = "must be \(Self.prefix)/DRIVE?socket=PATH, with agent=PATH where the guest has one"
        guard Self.isURI(text) else { throw refusal(form) }
        let rest = text.dropFirst(Self.prefix.count)
        guard rest.first == "/", let mark = rest.firstIndex(of: "?") else { throw refusal(form) }
        guard let drive = Self.decoded(rest[rest.index(after: rest.startIndex)..<mark]), !drive.isEmpty else {
            throw refusal("names no drive: \(form)")
        }
        var items: [String: String] = [:]
        for item in rest[rest.index(after: mark)...].split(separator: "&", omittingEmptySubsequences: false) {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let key = String(parts[0])
            guard ["socket", "agent", "freeze", "overlay"].contains(key) else {
                throw refusal("has an unknown \"\(key)\": socket, agent, freeze and overlay are known")
            }
            guard parts.count == 2, let value = Self.decoded(parts[1]), !value.isEmpty else {
                throw refusal("has no value for \"\(key)\"")
            }
            guard items.updateValue(value, forKey: key) == nil else { throw refusal("has \"\(key)\" twice") }
        }
        guard let socket = items["socket"] else { throw refusal("names no socket: \(form)") }
        for path in [socket, items["agent"]].compactMap({ $0 }) where path.utf8.count > Self.socketByteCount {
            throw refusal("has a path of more than \(Self.socketByteCount) bytes: no socket can be called so")
        }
        if socket == items["agent"] { throw refusal("has one socket for two purposes") }
        freezeSeconds =
            try items["freeze"].map { (value) throws(NameError) in
                guard let seconds = Int(value), (1...60).contains(seconds) else {
                    throw refusal("may freeze for 1 to 60 seconds, not for \"\(value)\"")
                }
                return seconds
            } ?? 10
        overlayByteCount = try items["overlay"].map { (value) throws(NameError) in
            guard let byteCount = Self.byteCount(value) else {
                throw refusal("has an overlay of \"\(value)\": 16MiB to 1024GiB will do")
            }
            return byteCount
        }
        description = text
        (self.drive, self.socket, agent) = (drive, socket, items["agent"])
    }

    private static func byteCount(_ text: String) -> UInt64? {
        for (unit, shift) in [("MiB", 20), ("GiB", 30)] where text.hasSuffix(unit) {
            guard let number = UInt64(text.dropLast(unit.count)), number <= 1 << 20 else { return nil }
            let byteCount = number << shift
            return (16 << 20...1 << 40).contains(byteCount) ? byteCount : nil
        }
        return nil
    }

    /// nil where it is no text, or no name of a file could be so.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard rest.count >= 2, let value = UInt8(String(Substring(rest.prefix(2))), radix: 16) else {
                    return nil
                }
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }
}
