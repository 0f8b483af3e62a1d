internal import HTTPTransport
package import Storage

/// One page of a listing (`ListObjectsV2`), as a server answered it.
package struct S3ListingPage: Sendable {
    /// Where a page was asked to begin; nil: at the start.
    package enum Start: Sendable, Hashable {
        case token(String?)
        /// Behind this key. Only of a server that lists in byte order.
        case key(String?)
    }

    package let objects: [ObjectFacts]
    package let isTruncated: Bool
    package let token: String?
    /// Also of what is no object of ours.
    package let lastKey: String?

    /// Throws for what is no listing; for "there is more" without a way to it, which would be a short listing; and with the same way
    /// again, which would be one that never ends.
    package init(parsing body: [UInt8], prefix: String, from start: Start) throws(S3Failure) {
        guard let document = XMLTree(body), document.name == "ListBucketResult" else {
            throw S3Failure(.corrupt, "the answer is no listing")
        }
        let contents = document.all("Contents")
        // A server that keeps keys in folders may take "a//" for "a/".
        objects = contents.compactMap(Self.object).filter { $0.key.string.utf8.starts(with: prefix.utf8) }
        isTruncated = document["IsTruncated"] == "true"
        token = document["NextContinuationToken"]
        lastKey = contents.last?["Key"]
        guard isTruncated else { return }
        guard let token, let lastKey else {
            throw S3Failure(.corrupt, "a listing is cut off without saying where it goes on")
        }
        let goesOn =
            switch start {
            case .token(let before): !token.utf8.elementsEqual((before ?? "").utf8)
            case .key(let before): (before ?? "").utf8.lexicographicallyPrecedes(lastKey.utf8)
            }
        guard goesOn else { throw S3Failure(.corrupt, "a listing goes on where it has been") }
    }

    /// nil for names that are no keys of ours: folders that other tools make, for example.
    private static func object(_ element: XMLTree) -> ObjectFacts? {
        guard let name = element["Key"], let key = try? ObjectKey(name),
            let count = element["Size"].flatMap({ UInt64($0) })
        else { return nil }
        return ObjectFacts(
            key: key, byteCount: count, modified: element["LastModified"].flatMap(HTTPDate.secondsOfISO) ?? 0,
            version: element["ETag"].map(S3EntityTag.trimmed) ?? "")
    }
}

/// One page of the uploads that were begun (`ListMultipartUploads`), as a server answered it.
package struct S3UnfinishedUploads: Sendable {
    package struct Upload: Sendable {
        package let key: String
        package let identifier: String
        package let startedAt: Int64
    }

    package let uploads: [Upload]
    /// Where the next page starts; nil for the last.
    package let next: (key: String, upload: String)?

    package init(parsing body: [UInt8]) throws(S3Failure) {
        guard let document = XMLTree(body), document.name == "ListMultipartUploadsResult" else {
            throw S3Failure(.corrupt, "the answer is no list of uploads")
        }
        uploads = document.all("Upload").compactMap { element in
            guard let key = element["Key"], let identifier = element["UploadId"] else { return nil }
            // Without its time it might be a new one.
            let startedAt = element["Initiated"].flatMap(HTTPDate.secondsOfISO) ?? .max
            return Upload(key: key, identifier: identifier, startedAt: startedAt)
        }
        if document["IsTruncated"] == "true", let key = document["NextKeyMarker"],
            let upload = document["NextUploadIdMarker"]
        {
            next = (key, upload)
        } else {
            next = nil
        }
    }
}
