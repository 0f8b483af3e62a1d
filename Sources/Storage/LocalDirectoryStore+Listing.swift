internal import SystemIO

extension LocalDirectoryStore {
    package func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        precondition(limit > 0, "internal error: a page of a listing needs a positive limit")
        openObjects.dropRemoved()
        try checkRoot()
        // One more than the page, to know whether it is the last.
        var walk = Walk(prefix: Array(prefix.utf8), after: after.map { Array($0.utf8) }, limit: limit + 1)
        try visit(folder: "", depth: 0, &walk)
        if walk.objects.count <= limit {
            // What went away during the walk may have been the whole store.
            try checkRoot()
            return ObjectPage(objects: walk.objects, next: nil)
        }
        walk.objects.removeLast()
        return ObjectPage(objects: walk.objects, next: walk.objects.last?.key.string)
    }

    private struct Walk {
        let prefix: [UInt8]
        let after: [UInt8]?
        let limit: Int
        var objects: [ObjectFacts] = []

        var isFull: Bool { objects.count >= limit }

        /// What of the prefix and of `after` concerns names in a folder that is wanted itself.
        func inside(folder: String) -> Part {
            let path = folder.utf8
            return Part(
                prefix: prefix.starts(with: path) ? prefix.dropFirst(path.count) : [],
                after: after.flatMap { $0.starts(with: path) ? $0.dropFirst(path.count) : nil })
        }
    }

    /// The end of a prefix and of a key, behind a folder's path.
    private struct Part {
        let prefix: ArraySlice<UInt8>
        /// nil: all of the folder's keys lie behind.
        let after: ArraySlice<UInt8>?

        func wants(object name: [UInt8]) -> Bool {
            guard name.starts(with: prefix) else { return false }
            return after.map { $0.lexicographicallyPrecedes(name) } ?? true
        }

        /// `name` ends with a slash. All keys in it lie before `after` when it does and does not lead there.
        func wants(folder name: [UInt8]) -> Bool {
            guard name.starts(with: prefix) || prefix.starts(with: name) else { return false }
            guard let after else { return true }
            return after.lexicographicallyPrecedes(name) || after.starts(with: name)
        }
    }

    /// Goes through a folder (empty, or ending with a slash) in the order of keys.
    private func visit(folder: String, depth: Int, _ walk: inout Walk) throws(StorageError) {
        let entries: [Folder.Entry]
        do throws(Errno) {
            // Not held while what is in it is visited: a tree may be deeper than there are descriptors.
            let names = folder.utf8.split(separator: 0x2f).map { String(Substring($0)) }
            entries = try HeldFolder(names, beneath: path).here(Folder.entries)
        } catch {
            // Removed since it was seen.
            if error == .noEntry || error == .notDirectory, depth > 0 { return }
            if depth == 0 { throw rootError(error) }
            throw StorageError(error, folder, "list the folder")
        }
        var names: [(string: String, isFolder: Bool)] = []
        let part = walk.inside(folder: folder)
        for entry in entries {
            let isWanted =
                switch entry.kind {
                case .directory: part.wants(folder: entry.nameBytes + [0x2f])
                case .regular: part.wants(object: entry.nameBytes)
                case .symbolicLink, .blockDevice, .characterDevice, .pipe, .socket, .other: false
                }
            guard isWanted, let name = entry.name, ObjectKey.isValidComponent(name) else { continue }
            if depth == 0, Self.isReserved(rootName: name) { continue }
            // Sorted with its slash, a folder comes where its keys do: "a.b" < "a/b" < "a0".
            let isFolder = entry.kind == .directory
            names.append((folder + name + (isFolder ? "/" : ""), isFolder))
        }
        names.sort { $0.string.utf8.lexicographicallyPrecedes($1.string.utf8) }
        for name in names where !walk.isFull {
            if name.isFolder {
                // No key is longer, and a cycle of bind mounts is not followed for ever.
                if name.string.utf8.count < ObjectKey.maximumByteCount {
                    try visit(folder: name.string, depth: depth + 1, &walk)
                }
            } else if let facts = try listedFacts(name.string) {
                walk.objects.append(facts)
            }
        }
    }

    /// Nil for what was removed since it was seen, and for names that are too long to be keys.
    private func listedFacts(_ string: String) throws(StorageError) -> ObjectFacts? {
        guard let key = try? ObjectKey(string) else { return nil }
        do {
            return try head(key)
        } catch {
            if error.code == .absent { return nil }
            throw error
        }
    }
}
