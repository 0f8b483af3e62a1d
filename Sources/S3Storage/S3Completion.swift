internal import HTTPTransport
internal import Storage

/// The end of a multipart upload: the one request that makes the object, and the certainty that it did.
///
/// The request is not simply repeated when its answer is lost: the object is looked for first. It is there (done), or the upload
/// still is (again), or neither (somebody aborted it).
struct S3Completion {
    let store: S3Store
    let key: ObjectKey
    let identifier: String
    let abilities: S3Abilities
    let parts: [(number: Int, tag: String)]
    let byteCount: UInt64

    private enum Outcome {
        case done(ObjectFacts)
        case pending
    }

    func run() throws(StorageError) -> ObjectFacts {
        if abilities.completeIfAbsent != .honoured { try store.demandAbsent(key) }
        let end = ContinuousClock.now + store.uploadPatience
        var tag: String?
        attempts: while true {
            do throws(S3Failure) {
                tag = try send()
                break attempts
            } catch {
                if error.response?.status == 412, !error.mayHaveHappened { throw exists }
                guard error.retry != .never || error.word == "NoSuchUpload" || error.response?.status == 412 else {
                    throw try store.meaning(of: error, key)
                }
                if case .done(let facts) = try outcome(end - .now) { return facts }
                guard ContinuousClock.now < end else { throw error.storageError(key.string) }
                store.client.pauseBriefly()
            }
        }
        store.forget(key)
        let facts = try store.head(key, patience: store.uploadPatience)
        let isTagRight = tag.map { $0 == facts.version } ?? true
        guard facts.byteCount == byteCount, isTagRight, expectedTag.map({ $0 == facts.version }) ?? true else {
            // It was made by us an instant ago, and nobody was told of it.
            try? store.delete(key)
            throw StorageError(
                .corrupt, key.string,
                "\(byteCount) bytes were sent in \(parts.count) parts, and \(facts.byteCount) bytes \"\(facts.version)\" are stored"
            )
        }
        return facts
    }

    private var exists: StorageError { StorageError(.alreadyExists, key.string, "the object exists") }

    /// What AWS's rule makes of the parts' entity tags, where the server keeps it.
    private var expectedTag: String? {
        abilities.entityTagOfPartsIsMD5 ? S3EntityTag.ofParts(parts.map(\.tag)) : nil
    }

    /// Sends the request once; the object's entity tag, if the answer has it.
    private func send() throws(S3Failure) -> String? {
        var request = S3Request(.post, key, query: [("uploadId", identifier)], patience: .zero)
        if abilities.completeIfAbsent == .honoured { request.headers.append(("If-None-Match", "*")) }
        // The server may take a long time to put large objects together.
        let response = try store.client.send(request, bytes: S3Documents.completion(parts)) { response in
            guard let document = XMLTree(response.body) else {
                var failure = S3Failure(.corrupt, .later, "the answer to the completion cannot be understood")
                failure.mayHaveHappened = true
                return failure
            }
            // An error can come after a 200, for the status was sent before the work was done.
            guard document.name != "Error" else {
                var failure = S3Failure(response, store.client.settings, document: document)
                failure.mayHaveHappened = true
                return failure
            }
            return nil
        }
        return abilities.completionTagIsFinal ? Self.tag(in: response.body) : nil
    }

    /// The entity tag in an answer. Ceph leaves it empty.
    static func tag(in body: [UInt8]) -> String? {
        let tag = XMLTree(body)?["ETag"].map(S3EntityTag.trimmed)
        return tag?.isEmpty == false ? tag : nil
    }

    /// What has become of a completion whose answer was not heard, or was an error of the server's own.
    private func outcome(_ patience: Duration) throws(StorageError) -> Outcome {
        do throws(StorageError) {
            store.forget(key)
            let facts = try store.head(key, patience: patience)
            guard facts.byteCount == byteCount, expectedTag.map({ $0 == facts.version }) ?? true else { throw exists }
            return .done(facts)
        } catch {
            guard error.code == .absent else { throw error }
        }
        do throws(S3Failure) {
            let query = [("uploadId", identifier), ("max-parts", "1")].map { (name: $0.0, value: $0.1) }
            _ = try store.client.send(S3Request(.get, key, query: query, patience: patience))
            return .pending
        } catch {
            if error.code == .changed || error.code == .absent {
                throw StorageError(.changed, key.string, "the upload is not there any more")
            }
            throw error.storageError(key.string)
        }
    }
}
