internal import CryptoPrimitives
internal import Glibc
internal import HTTPTransport
package import Storage

extension S3Store {
    /// How long giving an upload up may take when nobody waits for the result.
    static let abortMilliseconds = 5000
    private static let abandonedPageLimit = 1000

    /// The upload has its identifier when this returns. Nothing was sent of its bytes.
    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload {
        try upload(key, lockedUntil: nil)
    }

    package func upload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> any ObjectUpload {
        let end = try lockEnd(key, lockedUntil)
        let abilities = try abilities()
        return S3Upload(
            store: self, key: key, identifier: try createUpload(key, lockedUntil: end), abilities: abilities,
            lockedUntil: end)
    }

    private func createUpload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> String {
        var request = S3Request(
            .post, key, query: [("uploads", "")], headers: objectHeaders(lockedUntil: lockedUntil), patience: .zero)
        let end = ContinuousClock.now + uploadPatience
        while true {
            do throws(S3Failure) {
                // Repeated here and not there: each that was made and not heard of would stay.
                let response = try client.send(request) { response in
                    XMLTree(response.body)?["UploadId"]?.isEmpty == false
                        ? nil : S3Failure(response, self.client.settings)
                }
                noteBucket()
                guard let identifier = XMLTree(response.body)?["UploadId"] else {
                    preconditionFailure("internal error: an upload without its identifier")
                }
                return identifier
            } catch {
                guard error.retry != .never, ContinuousClock.now < end else {
                    // How servers refuse a lock in a bucket that was not made for it; SeaweedFS says no more than that.
                    if lockedUntil != nil, error.word == "InvalidRequest" {
                        throw StorageError(
                            .denied, key.string, "object_lock_mode: \(error.detail)",
                            hint: "was the bucket made with object lock?")
                    }
                    throw try meaning(of: error, key)
                }
                client.pauseBriefly()
                request.patience = .zero
                if error.mayHaveHappened { try abortAll(of: key, patience: end - .now) }
                // While the store is away, wait as an upload does.
                _ = try? head(key, patience: end - .now)
            }
        }
    }

    /// The key belongs to this backup alone, so every upload to it is one whose creation was not heard of.
    private func abortAll(of key: ObjectKey, patience: Duration) throws(StorageError) {
        for upload in try unfinishedUploads(prefix: key.string, patience: patience) where upload.key == key.string {
            try abort(upload.identifier, key, patience: patience)
        }
    }

    // MARK: Giving up

    package func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        try abort(identifier, key, patience: readPatience)
    }

    func abort(_ identifier: String, _ key: ObjectKey, patience: Duration, milliseconds: Int? = nil)
        throws(StorageError)
    {
        // Without one the request would remove the object.
        guard !identifier.isEmpty else {
            throw StorageError(.invalidKey, key.string, "not the identifier of an upload")
        }
        var request = S3Request(.delete, key, query: [("uploadId", identifier)], patience: patience)
        request.totalMilliseconds = milliseconds
        do throws(S3Failure) {
            _ = try client.send(request)
        } catch {
            // Completed or aborted before.
            if error.word == "NoSuchUpload" { return }
            let meaning = try meaning(of: error, key)
            if meaning.code != .absent { throw meaning }
        }
    }

    package func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        var removed: [String] = []
        for upload in try unfinishedUploads(prefix: prefix, patience: readPatience)
        where upload.startedAt < startedBefore && !alive.contains(upload.identifier) && upload.key.hasPrefix(prefix) {
            guard let key = try? ObjectKey(upload.key) else { continue }
            try abort(upload.identifier, key, patience: readPatience)
            removed.append(upload.identifier)
        }
        try removeProbes(startedBefore: startedBefore)
        return removed
    }

    private func unfinishedUploads(prefix: String, patience: Duration) throws(StorageError) -> [S3UnfinishedUploads
        .Upload]
    {
        var uploads: [S3UnfinishedUploads.Upload] = []
        var marker: (key: String, upload: String)?
        for _ in 0..<Self.abandonedPageLimit {
            var request = S3Request(.get, nil, patience: patience)
            request.query = [("uploads", ""), ("prefix", prefix), ("max-uploads", "1000")]
            if let marker { request.query += [("key-marker", marker.key), ("upload-id-marker", marker.upload)] }
            do throws(S3Failure) {
                let response = try client.send(request, limit: 8 << 20)
                let page = try S3UnfinishedUploads(parsing: response.body)
                uploads += page.uploads
                guard let next = page.next, marker?.key != next.key || marker?.upload != next.upload else {
                    return uploads
                }
                marker = next
            } catch {
                throw error.storageError(name)
            }
        }
        return uploads
    }

    // MARK: Small objects

    package func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        let abilities = try abilities()
        let tag = S3EntityTag.ofObject(bytes)
        let lockEnd = try lockEnd(key, nil)
        var request = S3Request(
            .put, key, headers: objectHeaders(lockedUntil: lockEnd), patience: uploadPatience)
        if !abilities.checksPayloadHash || client.settings.objectLock != nil {
            request.headers.append(S3Documents.contentMD5(bytes))
        }
        if abilities.putIfAbsent == .honoured { request.headers.append(("If-None-Match", "*")) }
        return try publications.withLock(key) { () throws(StorageError) in
            if abilities.putIfAbsent != .honoured { try demandAbsent(key) }
            do throws(S3Failure) {
                _ = try client.send(request, body: bytes)
            } catch {
                guard error.response?.status == 412 || error.response?.status == 409 else {
                    throw try meaning(of: error, key)
                }
                // After an answer that was not heard, what is there may be ours.
                var isOurs = false
                if error.mayHaveHappened { isOurs = try head(key, patience: uploadPatience).version == tag }
                guard isOurs else { throw StorageError(.alreadyExists, key.string, "the object exists") }
            }
            forget(key)
            let facts = try head(key, patience: uploadPatience)
            guard facts.byteCount == UInt64(bytes.count), !abilities.entityTagIsMD5 || facts.version == tag else {
                throw StorageError(.corrupt, key.string, "other bytes are stored than were sent")
            }
            if let lockEnd { try demandLock(key, until: lockEnd) }
            return facts
        }
    }

    func demandAbsent(_ key: ObjectKey) throws(StorageError) {
        do {
            _ = try head(key, patience: uploadPatience)
        } catch {
            if error.code == .absent { return }
            throw error
        }
        throw StorageError(.alreadyExists, key.string, "the object exists")
    }

    /// What the configuration says of new objects.
    func objectHeaders(lockedUntil: Int64?) -> [(name: String, value: String)] {
        let settings = client.settings
        var headers: [(name: String, value: String)] = []
        if let value = settings.storageClass { headers.append(("x-amz-storage-class", value)) }
        if let value = settings.serverSideEncryption { headers.append(("x-amz-server-side-encryption", value)) }
        if let value = settings.serverSideEncryptionKey {
            headers.append(("x-amz-server-side-encryption-aws-kms-key-id", value))
        }
        if let lock = settings.objectLock, let lockedUntil {
            headers.append(("x-amz-object-lock-mode", lock.mode.rawValue))
            headers.append(("x-amz-object-lock-retain-until-date", HTTPDate.iso(lockedUntil)))
        }
        return headers
    }
}
