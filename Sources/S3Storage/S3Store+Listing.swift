internal import HTTPTransport
package import Storage

extension S3Store {
    /// The largest page that S3 gives.
    private static let pageLimit = 1000
    /// A page of 1000 keys of 1024 bytes, each byte escaped, and what is around them.
    private static let pageByteLimit = 16 << 20
    /// Objects of an unsorted listing that are held to be sorted: about 200 bytes each.
    private static let sortedLimit = 1_000_000
    /// Pages in a row that name no object of ours: removed ones may fill some. A server could send them for ever.
    private static let emptyPageLimit = 1000

    package func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        precondition(limit > 0, "internal error: a page of a listing needs a positive limit")
        // No key begins like this; some servers refuse the question.
        let folders = prefix.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).dropLast()
        guard folders.allSatisfy({ ObjectKey.isValidComponent(String(Substring($0))) }) else {
            return ObjectPage(objects: [], next: nil)
        }
        var isSorted = false
        do {
            isSorted = try abilities().listsInByteOrder
        } catch {
            // Who may not write cannot probe; then the careful way is taken.
            if error.code != .denied { throw error }
        }
        return isSorted
            ? try listSorted(prefix: prefix, after: after, limit: limit)
            : try listAll(prefix: prefix, after: after, limit: limit)
    }

    private func listSorted(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        let page = try page(prefix: prefix, from: .key(after), limit: min(limit, Self.pageLimit))
        return ObjectPage(objects: page.objects, next: page.isTruncated ? page.lastKey : nil)
    }

    /// Where the server sorts otherwise, or nobody knows how: all of it, sorted here.
    private func listAll(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        var objects: [ObjectFacts] = []
        var token: String?
        var emptyPages = 0
        repeat {
            let page = try page(prefix: prefix, from: .token(token), limit: Self.pageLimit)
            emptyPages = page.objects.isEmpty ? emptyPages + 1 : 0
            guard emptyPages <= Self.emptyPageLimit else {
                throw StorageError(.corrupt, name, "the listing of \"\(prefix)\" goes on without naming an object")
            }
            objects += page.objects.filter { object in
                after.map { $0.utf8.lexicographicallyPrecedes(object.key.string.utf8) } ?? true
            }
            guard objects.count <= Self.sortedLimit else {
                throw StorageError(
                    .unavailable, name, "the server does not sort its listing, and \"\(prefix)\" holds too many objects"
                )
            }
            token = page.isTruncated ? page.token : nil
        } while token != nil
        objects.sort { $0.key < $1.key }
        guard objects.count > limit else { return ObjectPage(objects: objects, next: nil) }
        return ObjectPage(objects: Array(objects[..<limit]), next: objects[limit - 1].key.string)
    }

    /// Removes the objects of probes that were cut off.
    func removeProbes(startedBefore: Int64) throws(StorageError) {
        let prefix = client.settings.prefix + S3Prober.folderName
        for object in try listAll(prefix: prefix, after: nil, limit: Self.pageLimit).objects
        where object.modified < startedBefore { try delete(object.key) }
    }

    private func page(
        prefix: String, from start: S3ListingPage.Start, limit: Int
    ) throws(StorageError) -> S3ListingPage {
        var request = S3Request(.get, nil, patience: readPatience)
        request.query = [("list-type", "2"), ("max-keys", "\(limit)"), ("prefix", prefix)]
        switch start {
        case .token(let token?): request.query.append(("continuation-token", token))
        case .key(let key?): request.query.append(("start-after", key))
        case .token(nil), .key(nil): break
        }
        do throws(S3Failure) {
            let response = try client.send(request, limit: Self.pageByteLimit) { response in
                XMLTree(response.body)?.name == "ListBucketResult"
                    ? nil : S3Failure(.corrupt, .later, "the answer is no listing")
            }
            return try S3ListingPage(parsing: response.body, prefix: prefix, from: start)
        } catch {
            throw error.storageError(prefix.isEmpty ? name : prefix)
        }
    }
}
