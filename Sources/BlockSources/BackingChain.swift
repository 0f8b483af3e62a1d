internal import BackupEngine
internal import Glibc
internal import SystemIO

/// The files below a qcow2 image, as docs/interop/qcow2.txt of QEMU has their names in its header.
///
/// QEMU guesses the format of a backing file that has none recorded from its first bytes, which may be a guest's (see `ImageFormat`).
/// So such a chain is refused, and a file that is missing is named, before QEMU is asked.
enum BackingChain {
    /// More than anybody stacks; a circle ends here.
    private static let limit = 256
    /// The longest name that the format allows.
    private static let nameLimit = 1023
    /// The header extension with the backing file's format, and that which ends them.
    private static let formatExtension: UInt32 = 0xe279_2aca
    private static let headerByteCount = 64 << 10

    static func check(_ path: String) throws(EngineError) {
        var (image, depth) = (path, 0)
        while true {
            guard let backing = try backing(of: image, top: path) else { return }
            guard let format = backing.format else {
                throw EngineError(
                    .source,
                    "\"\(path)\" cannot be read: \"\(image)\" does not say of what format its backing file \"\(backing.name)\" is",
                    hint: "qemu-img rebase -u -f qcow2 -F raw|qcow2 -b \(backing.name) \(image)")
            }
            // A protocol, or options in JSON: QEMU's affair.
            let first = backing.name.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)[0]
            if first.contains(":") { return }
            let below =
                backing.name.hasPrefix("/") ? backing.name : Folder.parentPath(of: image) + "/" + backing.name
            guard access(below, F_OK) == 0 else {
                throw EngineError(
                    .source, "\"\(path)\" cannot be read: the backing file \"\(below)\": \(Errno.current)")
            }
            guard format == "qcow2" else { return }
            depth += 1
            guard depth < limit else {
                throw EngineError(.source, "\"\(path)\" cannot be read: its backing files have no end")
            }
            image = below
        }
    }

    /// nil if it has none.
    private static func backing(
        of image: String, top: String
    ) throws(EngineError) -> (name: String, format: String?)? {
        let header: [UInt8]
        var name: [UInt8] = []
        do throws(Errno) {
            let file = try OwnedFile(opening: image, for: .read)
            header = try bytes(of: file, at: 0, count: headerByteCount)
            if let place = namePlace(header) { name = try bytes(of: file, at: place.offset, count: place.count) }
        } catch {
            throw EngineError(.source, "\"\(top)\" cannot be read: \"\(image)\": \(error)", cause: error)
        }
        guard ImageFormat.magic(of: header) == .qcow2 else {
            throw EngineError(
                .source, "\"\(top)\" cannot be read: \"\(image)\" is not the qcow2 image it is said to be")
        }
        return name.isEmpty ? nil : (String(decoding: name, as: UTF8.self), format(header))
    }

    private static func namePlace(_ header: [UInt8]) -> (offset: UInt64, count: Int)? {
        guard let high = number(header, 8), let low = number(header, 12), let count = number(header, 16),
            high != 0 || low != 0
        else { return nil }
        return (UInt64(high) << 32 | UInt64(low), min(Int(count), nameLimit))
    }

    private static func format(_ header: [UInt8]) -> String? {
        // Version 3 says how long its header is.
        var offset = number(header, 4) == 2 ? 72 : Int(number(header, 100) ?? 0)
        while let type = number(header, offset), let count = number(header, offset + 4), type != 0 {
            let start = offset + 8
            guard Int(count) <= header.count - start else { return nil }
            if type == formatExtension {
                return String(decoding: header[start..<start + Int(count)], as: UTF8.self)
            }
            offset = start + (Int(count) + 7) / 8 * 8
        }
        return nil
    }

    /// Big-endian.
    private static func number(_ bytes: [UInt8], _ offset: Int) -> UInt32? {
        guard offset >= 0, offset + 4 <= bytes.count else { return nil }
        return bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func bytes(
        of file: borrowing OwnedFile, at offset: UInt64, count: Int
    ) throws(Errno) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        return Array(buffer.prefix(try file.read(at: offset, into: buffer)))
    }
}
