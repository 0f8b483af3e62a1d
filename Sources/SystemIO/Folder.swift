import Glibc

/// Folders by path.
package enum Folder {
    /// One name in a folder.
    package struct Entry: Hashable, Sendable {
        /// The name's bytes; they need not be UTF-8.
        package let nameBytes: [UInt8]
        /// The name, or nil if it is not UTF-8.
        package let name: String?
        /// Not following symbolic links.
        package let kind: FileFacts.Kind
    }

    /// All names of the folder but `.` and `..`, in no order. An error in the middle throws: no partial answer.
    ///
    /// A name that is removed while the folder is listed may be left out. The corresponding C function is `readdir`.
    package static func entries(of path: String) throws(Errno) -> [Entry] {
        guard let stream = opendir(path) else { throw Errno.current }
        defer { closedir(stream) }
        var entries: [Entry] = []
        while true {
            // readdir(3) tells the end from an error only by errno.
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw Errno.current }
                return entries
            }
            let nameBytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if nameBytes == [0x2e] || nameBytes == [0x2e, 0x2e] { continue }
            let type = Int32(entry.pointee.d_type)
            guard let kind = try kind(ofType: type, name: nameBytes, in: dirfd(stream)) else { continue }
            entries.append(Entry(nameBytes: nameBytes, name: String(validating: nameBytes, as: UTF8.self), kind: kind))
        }
    }

    /// Nil: the name is gone again.
    private static func kind(
        ofType type: Int32, name: [UInt8], in folder: Int32
    ) throws(Errno) -> FileFacts.Kind? {
        switch type {
        case Int32(DT_REG): return .regular
        case Int32(DT_DIR): return .directory
        case Int32(DT_LNK): return .symbolicLink
        case Int32(DT_BLK): return .blockDevice
        case Int32(DT_CHR): return .characterDevice
        case Int32(DT_FIFO): return .pipe
        case Int32(DT_SOCK): return .socket
        default: break
        }
        // DT_UNKNOWN: some file systems do not say.
        var status = stat()
        let path = name.map { CChar(bitPattern: $0) } + [0]
        do {
            try Errno.check { fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) }
        } catch {
            if error == .noEntry { return nil }
            throw error
        }
        return FileFacts(status).kind
    }

    /// Makes one folder. Returns false if there is one by that name; anything else by that name is `.exists`.
    @discardableResult
    package static func make(_ path: String, mode: UInt32) throws(Errno) -> Bool {
        do {
            try Errno.check { mkdir(path, mode) }
            return true
        } catch {
            guard error == .exists else { throw error }
            guard try FileFacts.of(path).kind == .directory else { throw Errno.exists }
            return false
        }
    }

    /// Removes an empty folder. The corresponding C function is `rmdir`.
    package static func remove(_ path: String) throws(Errno) {
        try Errno.check { rmdir(path) }
    }

    /// The folder that holds the last name of `path`: "." for a bare name, "/" for the root.
    package static func parentPath(of path: String) -> String {
        var bytes = Substring(path).utf8
        while bytes.count > 1, bytes.last == 0x2f { bytes.removeLast() }
        guard let slash = bytes.lastIndex(of: 0x2f) else { return "." }
        var parent = bytes[..<slash]
        while parent.count > 1, parent.last == 0x2f { parent.removeLast() }
        return parent.isEmpty || parent.elementsEqual([0x2f]) ? "/" : String(Substring(parent))
    }
}
