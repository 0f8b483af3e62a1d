/// The name of an object: components with `/` between them, as in `acme/web/2026-11-20T02-00-00Z/disk.raw.zst.age`.
///
/// Valid in every store: each component has 1 to 255 bytes of UTF-8, is not `.` or `..`, and holds no `/` and no control
/// character (U+0000…U+001F, U+007F…U+009F); the whole has at most ``maximumByteCount`` bytes. Two keys are equal when
/// their bytes are: unlike Swift's strings, keys that differ in Unicode normalization only are different objects.
package struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The limit of S3, and well below Linux's `PATH_MAX`.
    package static let maximumByteCount = 1024
    /// `NAME_MAX` of Linux.
    package static let maximumComponentByteCount = 255

    package let string: String

    /// `.invalidKey` for what is not a key.
    package init(_ string: String) throws(StorageError) {
        try self.init(
            components: string.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map { component in
                String(Substring(component))
            })
    }

    /// `.invalidKey` if there is no component, or one is not valid.
    package init(components: [String]) throws(StorageError) {
        let string = components.joined(separator: "/")
        guard !components.isEmpty else { throw StorageError(.invalidKey, string, "a key needs a component") }
        for component in components where !Self.isValidComponent(component) {
            throw StorageError(.invalidKey, string, "\"\(component)\" cannot be a component of a key")
        }
        guard string.utf8.count <= Self.maximumByteCount else {
            throw StorageError(.invalidKey, string, "a key has at most \(Self.maximumByteCount) bytes")
        }
        self.string = string
    }

    package static func isValidComponent(_ component: String) -> Bool {
        guard (1...maximumComponentByteCount).contains(component.utf8.count) else { return false }
        if component.utf8.elementsEqual(".".utf8) || component.utf8.elementsEqual("..".utf8) { return false }
        // The usual case, without the tables of Unicode.
        if component.utf8.allSatisfy({ (0x20..<0x7f).contains($0) && $0 != 0x2f }) { return true }
        return component.unicodeScalars.allSatisfy { scalar in
            scalar != "/" && scalar.properties.generalCategory != .control
        }
    }

    package var components: [String] {
        string.utf8.split(separator: 0x2f).map { String(Substring($0)) }
    }

    /// The object's name in its folder.
    package var lastComponent: String { components.last ?? string }

    package var description: String { string }

    package static func == (left: Self, right: Self) -> Bool {
        left.string.utf8.elementsEqual(right.string.utf8)
    }

    /// The order of listings: by bytes.
    package static func < (left: Self, right: Self) -> Bool {
        left.string.utf8.lexicographicallyPrecedes(right.string.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        for byte in string.utf8 { hasher.combine(byte) }
    }
}
