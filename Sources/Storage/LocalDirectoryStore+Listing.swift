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

        func wants(object key: some Collection<UInt8>) -> Bool {
            guard key.starts(with: prefix) else { return false }
            return after.map { $0.lexicographicallyPrecedes(key) } ?? true
        }

        /// `path` ends with a slash. All keys in it lie before `after` when it does and does not lead there.
        func wants(folder path: some Collection<UInt8>) -> Bool {
            guard path.starts(with: prefix) || prefix.starts(with: path) else { return false }
            guard let after else { return true }
            return after.lexicographicallyPrecedes(path) || after.starts(with: path)
        }
    }

    /// Goes through a folder (empty, or ending with a slash) in the order of keys.
    private func visit(folder: String, depth: Int, _ walk: inout Walk) throws(StorageError) {
        let entries: [Folder.Entry]
        do {
            entries = try Folder.entries(of: path + "/" + folder)
        } catch {
            // Removed since it was seen.
            if error == .noEntry || error == .notDirectory, depth > 0 { return }
            if depth == 0 { throw rootError(error) }
            throw StorageError(error, folder, "list the folder")
        }
        var names: [(string: String, isFolder: Bool)] = []
        for entry in entries {
            guard let name = entry.name, ObjectKey.isValidComponent(name) else { continue }
            if depth == 0, Self.isReserved(rootName: name) { continue }
            switch entry.kind {
            // Sorted with its slash, a folder comes where its keys do: "a.b" < "a/b" < "a0".
            case .directory where walk.wants(folder: (folder + name + "/").utf8):
                names.append((folder + name + "/", true))
            case .regular where walk.wants(object: (folder + name).utf8):
                names.append((folder + name, false))
            case .directory, .regular, .symbolicLink, .blockDevice, .characterDevice, .pipe, .socket, .other:
                continue
            }
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
