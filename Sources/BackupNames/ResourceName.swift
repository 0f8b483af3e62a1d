/// A name that cannot be used, or a date or designation that is malformed.
package struct NameError: Error, Hashable, CustomStringConvertible {
    package let name: String
    package let reason: String

    package init(_ name: String, _ reason: String) {
        self.name = name
        self.reason = reason
    }

    package var description: String { "\"\(name)\" \(reason)" }
}

/// The name of an org, a vm, a disk or a backend: one component of a path and of an object key.
///
/// 1 to 200 bytes of UTF-8, so that `<disk>.raw.zst.age` and the names of staging stay below 255; no slash, no colon (it ends
/// a backend's name), no control character, no white space at an end, no dot at the start.
package struct ResourceName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package static let maximumByteCount = 200
    package let description: String

    package init(_ name: String) throws(NameError) {
        guard !name.isEmpty else { throw NameError(name, "is empty") }
        guard name.utf8.count <= Self.maximumByteCount else {
            throw NameError(name, "is longer than \(Self.maximumByteCount) bytes")
        }
        for scalar in name.unicodeScalars {
            if scalar == "/" || scalar == ":" { throw NameError(name, "contains \"\(scalar)\"") }
            if scalar.properties.generalCategory == .control { throw NameError(name, "contains a control character") }
        }
        // By scalar: with a combining mark behind it, a dot is part of another character.
        guard name.unicodeScalars.first != "." else { throw NameError(name, "starts with a dot") }
        guard name.first?.isWhitespace == false, name.last?.isWhitespace == false else {
            throw NameError(name, "starts or ends with white space")
        }
        guard name != "latest", name != "staging" else { throw NameError(name, "is a name the mount uses itself") }
        description = name
    }

    /// By bytes, as backends, file systems and the catalog compare: canonically equivalent texts are different names.
    package static func == (left: ResourceName, right: ResourceName) -> Bool {
        left.description.utf8.elementsEqual(right.description.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        for byte in description.utf8 { hasher.combine(byte) }
        hasher.combine(0xff as UInt8)
    }

    package static func < (left: ResourceName, right: ResourceName) -> Bool {
        left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
    }
}

/// A disk of a vm of an org.
package struct DiskName: Hashable, Sendable, CustomStringConvertible {
    package let org: ResourceName
    package let vm: ResourceName
    package let disk: ResourceName

    package init(org: ResourceName, vm: ResourceName, disk: ResourceName) {
        self.org = org
        self.vm = vm
        self.disk = disk
    }

    package var description: String { "\(org)/\(vm)/\(disk)" }
}
