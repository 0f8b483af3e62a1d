internal import BackupEngine
internal import Glibc
internal import SystemIO

/// How a disk is laid out in a file.
///
/// What a file begins with never decides alone. The first bytes of a raw image are its guest's to write: one that writes a header of
/// qcow2 there, which names a file of this host as its backing file, would have that file in its next backup (as CVE-2008-2004 and
/// its likes had it). The name of a file is the host's. So a format is used if the user says so, or with `auto` if suffix and first
/// bytes agree.
package enum ImageFormat: String, Sendable, CaseIterable {
    case auto, raw, qcow2, vmdk, vdi, vhdx

    /// What the first 512 bytes say; nil if they say nothing known.
    static func magic(of head: [UInt8]) -> ImageFormat? {
        func has(_ text: String, at offset: Int = 0) -> Bool { head.dropFirst(offset).starts(with: text.utf8) }
        // qcow2.txt of QEMU: "QFI\xfb", then version 2 or 3.
        if head.starts(with: [0x51, 0x46, 0x49, 0xfb]), head.count >= 8, [2, 3].contains(head[7]) { return .qcow2 }
        // VMware's Virtual Disk Format 5.0: a sparse extent, one of ESX, a text that names extents.
        if has("KDMV") || has("COWD") || has("# Disk DescriptorFile") { return .vmdk }
        // The signature of VirtualBox's header, 0xbeda107f, stands behind 64 bytes of text.
        if head.dropFirst(64).starts(with: [0x7f, 0x10, 0xda, 0xbe]) { return .vdi }
        // MS-VHDX 2.2.1.
        return has("vhdxfile") ? .vhdx : nil
    }

    /// What the name says; nil where it says nothing.
    static func suffix(of path: String) -> ImageFormat? {
        // VMware's raw extents, which a text beside them describes.
        if path.hasSuffix("-flat.vmdk") { return nil }
        return [.qcow2, .vmdk, .vdi, .vhdx].first { path.hasSuffix(".\($0.rawValue)") }
    }

    /// What `auto` means for a file; `notice` is told of what a user might have meant otherwise.
    static func detect(_ path: String, head: [UInt8], notice: (String) -> Void) throws(EngineError) -> ImageFormat {
        let (suffix, magic) = (suffix(of: path), magic(of: head))
        if let suffix {
            guard magic == suffix else {
                throw EngineError(
                    .source, "\"\(path)\" is called .\(suffix.rawValue) and does not begin like one",
                    hint: "--format raw, if its bytes are the disk's")
            }
            return suffix
        }
        if let magic {
            notice(
                "\"\(path)\" begins like \(magic.rawValue) and is read as it is, for its guest could have written that; "
                    + "if it is one, say --format \(magic.rawValue)")
        }
        return .raw
    }
}

extension ImageFormat {
    /// The first bytes of a file or device.
    static func head(of path: String) throws(EngineError) -> [UInt8] {
        do throws(Errno) {
            let file = try OwnedFile(opening: path, for: .read)
            var head = [UInt8](repeating: 0, count: 512)
            var result: Result<Int, Errno> = .success(0)
            head.withUnsafeMutableBytes { bytes in
                do throws(Errno) { result = .success(try file.read(at: 0, into: bytes)) } catch {
                    result = .failure(error)
                }
            }
            return Array(head.prefix(try result.get()))
        } catch {
            throw EngineError(.source, "\"\(path)\" cannot be read: \(error)", cause: error)
        }
    }
}
