package import CryptoPrimitives

/// Identity files as `age-keygen` writes and `age -i` reads them: comments, empty lines, one identity a line.
package enum AgeIdentityFile {
    /// An identity of a file, and what the comment `# created:` above it says; nil where there is none.
    package struct Entry: Sendable {
        package let identity: AgeIdentity
        package let createdAt: String?
    }

    /// What stands above an identity and belongs to it.
    private static let createdLabel = Array("# created: ".utf8)
    private static let publicKeyLabel = Array("# public key: ".utf8)
    /// A longer comment is no date.
    private static let maximumDateByteCount = 64

    /// At least one identity, in their order.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws(AgeError) -> [AgeIdentity] {
        try entries(bytes).map(\.identity)
    }

    /// The same, each with the date of its comment.
    package static func entries(_ bytes: UnsafeRawBufferPointer) throws(AgeError) -> [Entry] {
        let entries = try lines(bytes).compactMap { line in
            line.identity.map { Entry(identity: $0, createdAt: line.createdAt) }
        }
        guard !entries.isEmpty else { throw AgeError(.identity, "the file holds no age identity") }
        return entries
    }

    /// The text of a file with one identity. `createdAt` goes into its comment.
    package static func serialize(_ identity: AgeIdentity, createdAt: String?) -> SecretBytes {
        let created = createdAt.map { createdLabel + Array("\($0)\n".utf8) } ?? []
        let comments = created + publicKeyLabel + Array("\(identity.recipient)\n".utf8)
        let key = identity.encoded()
        return SecretBytes(count: comments.count + key.count + 1) { output in
            output.copyBytes(from: comments)
            key.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: output[comments.count...]).copyMemory(from: $0)
            }
            output[output.count - 1] = UInt8(ascii: "\n")
        }
    }

    /// The file without the identity of a recipient and the comments that belong to it; all else is kept as it is. Empty when
    /// it was the only one.
    package static func removing(
        _ recipient: AgeRecipient, from bytes: UnsafeRawBufferPointer
    ) throws(AgeError) -> SecretBytes {
        let lines = try lines(bytes)
        guard lines.contains(where: { $0.identity.map { $0.recipient != recipient } ?? false }) else {
            return SecretBytes(count: 0) { _ in }
        }
        let kept = lines.filter { $0.identity?.recipient != recipient }.map(\.range)
        return SecretBytes(count: kept.reduce(0) { $0 + $1.count }) { output in
            var offset = 0
            for range in kept {
                UnsafeMutableRawBufferPointer(rebasing: output[offset..<offset + range.count])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range]))
                offset += range.count
            }
        }
    }

    /// A line that is not part of an identity, or an identity with the comments right above that belong to it.
    private struct Line {
        /// With its line feed.
        let range: Range<Int>
        let identity: AgeIdentity?
        let createdAt: String?
    }

    private static func lines(_ bytes: UnsafeRawBufferPointer) throws(AgeError) -> [Line] {
        var lines: [Line] = []
        var number = 0
        var start = 0
        /// Comments that belong to the identity that follows.
        var comments: [Range<Int>] = []
        var createdAt: String?
        while start < bytes.count {
            number += 1
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            let range = start..<min(bytes.count, end + 1)
            var text = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
            if text.last == UInt8(ascii: "\r") { text = text.first(text.count - 1) }
            start = range.upperBound
            if text.starts(with: createdLabel) || text.starts(with: publicKeyLabel) {
                comments.append(range)
                if text.starts(with: createdLabel) { createdAt = date(text.dropping(createdLabel.count)) }
                continue
            }
            if text.isEmpty || text.first == UInt8(ascii: "#") {
                lines += comments.map { Line(range: $0, identity: nil, createdAt: nil) }
                lines.append(Line(range: range, identity: nil, createdAt: nil))
            } else {
                let identity: AgeIdentity
                do throws(AgeError) {
                    identity = try AgeIdentity(bech32: text)
                } catch {
                    throw AgeError(.identity, "line \(number) is not an age identity")
                }
                let first = comments.first?.lowerBound ?? range.lowerBound
                lines.append(Line(range: first..<range.upperBound, identity: identity, createdAt: createdAt))
            }
            comments = []
            createdAt = nil
        }
        return lines + comments.map { Line(range: $0, identity: nil, createdAt: nil) }
    }

    /// nil for what should not be shown on a terminal.
    private static func date(_ text: UnsafeRawBufferPointer) -> String? {
        guard text.count <= maximumDateByteCount, text.allSatisfy({ (0x20...0x7e).contains($0) }) else { return nil }
        return String(decoding: text, as: UTF8.self)
    }
}
