internal import CryptoPrimitives
internal import HTTPTransport
internal import SignatureV4
internal import Storage

/// Finds out what a server can do, by doing it with small objects under `<prefix>.holdfast-probe-…/`, which it removes.
///
/// About thirty requests, one after another. Only what cannot be asked at all is an error: a bucket that is not there,
/// credentials that may not write.
struct S3Prober {
    private static let patience = Duration.seconds(30)
    private static let clearingPatience = Duration.seconds(2)
    /// So often an error of the server's own is no accident.
    private static let errorLimit = 4
    /// What the folder of every probe starts with, behind the prefix of the settings.
    static let folderName = ".holdfast-probe-"

    private let client: S3Client
    private let folder: String
    /// Of the whole probe.
    private let end: ContinuousClock.Instant
    private let body = Array("holdfast asks what this server can do\n".utf8)

    init(client: S3Client) {
        self.client = client
        end = .now + min(Self.patience, .seconds(client.settings.uploadPatienceSeconds))
        let number = String(UInt64.random(in: .min ... .max), radix: 16)
        folder = client.settings.prefix + Self.folderName + number
    }

    func probe() throws(S3Failure) -> S3Abilities {
        var objects: [ObjectKey] = []
        defer { clear(objects) }
        let single = try key("single")
        objects.append(single)
        let (putIfAbsent, tag) = try probePut(single)
        let parts = try key("parts")
        objects.append(parts)
        let (completeIfAbsent, isMD5OfParts, isFinal) = try probeComplete(parts)
        let checksPayloadHash = try probePayloadHash(&objects)
        let getIfMatch = try condition(
            ask(.get, single, headers: [("If-Match", "\"\(String(repeating: "0", count: 32))\"")]))
        let listsInByteOrder = try probeOrder(&objects)
        let copiesParts = try probeCopy(of: single, isMD5OfParts: isMD5OfParts, &objects)
        let deletesMany = try probeDeleteMany(&objects)
        return S3Abilities(
            putIfAbsent: putIfAbsent, completeIfAbsent: completeIfAbsent, checksPayloadHash: checksPayloadHash,
            entityTagIsMD5: tag == S3EntityTag.ofObject(body), entityTagOfPartsIsMD5: isMD5OfParts,
            getIfMatch: getIfMatch, listsInByteOrder: listsInByteOrder, completionTagIsFinal: isFinal,
            deletesMany: deletesMany, copiesParts: copiesParts)
    }

    /// What stays because the store has gone away meanwhile, `S3Store.removeProbes` removes.
    private func clear(_ objects: [ObjectKey]) {
        for key in objects {
            guard (try? client.send(S3Request(.delete, key, patience: Self.clearingPatience))) != nil else { return }
        }
    }

    private func key(_ name: String) throws(S3Failure) -> ObjectKey {
        do {
            return try ObjectKey(folder + "/" + name)
        } catch {
            throw S3Failure(.invalidKey, "\(error)")
        }
    }

    // MARK: The questions

    private func probePut(_ key: ObjectKey) throws(S3Failure) -> (S3Abilities.Condition, tag: String?) {
        let first = try put(key, headers: [("If-None-Match", "*")])
        var meaning = S3Abilities.Condition.refused
        var response = first.response
        if first.isSuccess {
            meaning = try condition(put(key, headers: [("If-None-Match", "*")]))
        } else {
            // Without the condition it must work, or nothing does.
            let plain = try put(key)
            guard plain.isSuccess else { throw plain.failure }
            response = plain.response
        }
        return (meaning, response.flatMap { S3EntityTag.of($0) })
    }

    private func probeComplete(_ key: ObjectKey) throws(S3Failure) -> (
        S3Abilities.Condition, isMD5: Bool, isFinal: Bool
    ) {
        let first = try uploadInParts(key, headers: [])
        guard first.isSuccess else { throw first.failure }
        let tag = try ask(.head, key).response.flatMap { S3EntityTag.of($0) }
        let said = first.response.flatMap { S3Completion.tag(in: $0.body) }
        // The condition fails, as it should.
        let meaning = try condition(uploadInParts(key, headers: [("If-None-Match", "*")]))
        return (meaning, tag == S3EntityTag.ofParts([S3EntityTag.ofObject(body)]), said == nil || said == tag)
    }

    private func uploadInParts(_ key: ObjectKey, headers: [(name: String, value: String)]) throws(S3Failure) -> Reply {
        let created = try ask(.post, key, query: [("uploads", "")])
        guard created.isSuccess, let text = created.response?.body, let upload = XMLTree(text)?["UploadId"] else {
            throw created.failure
        }
        let part = try ask(.put, key, query: [("partNumber", "1"), ("uploadId", upload)], body: body)
        guard let tag = part.response.flatMap({ S3EntityTag.of($0) }) else { throw part.failure }
        let list = S3Documents.completion([(1, tag)])
        let completed = try ask(.post, key, query: [("uploadId", upload)], headers: headers, body: list)
        if !completed.isSuccess { _ = try ask(.delete, key, query: [("uploadId", upload)]) }
        return completed
    }

    /// A part that is a copy of the middle of an object. All of it must be right, for it is only a gain.
    private func probeCopy(
        of source: ObjectKey, isMD5OfParts: Bool, _ objects: inout [ObjectKey]
    ) throws(S3Failure) -> Bool {
        let key = try key("copy")
        objects.append(key)
        let created = try ask(.post, key, query: [("uploads", "")])
        guard created.isSuccess, let text = created.response?.body, let upload = XMLTree(text)?["UploadId"] else {
            throw created.failure
        }
        let headers = S3Documents.copySource(source, 1..<UInt64(body.count - 1), bucket: client.settings.bucket)
        let part = try ask(.put, key, query: [("partNumber", "1"), ("uploadId", upload)], headers: headers)
        if let tag = part.response.flatMap({ S3Documents.copiedPartTag($0.body) }) {
            let list = S3Documents.completion([(1, tag)])
            if try ask(.post, key, query: [("uploadId", upload)], body: list).isSuccess {
                let copy = try ask(.get, key).response
                // A server may take the request for one of an empty part, or leave the range away.
                guard let copy, copy.body == Array(body[1..<body.count - 1]) else { return false }
                return !isMD5OfParts || S3EntityTag.of(copy) == S3EntityTag.ofParts([tag])
            }
        }
        _ = try ask(.delete, key, query: [("uploadId", upload)])
        return false
    }

    private func probePayloadHash(_ objects: inout [ObjectKey]) throws(S3Failure) -> Bool {
        let key = try key("hash")
        objects.append(key)
        var request = S3Request(.put, key, patience: .zero)
        request.payloadHash = SHA256Hasher.digest(of: Array("other bytes".utf8)).hexadecimal
        return try !reply(to: request, body).isSuccess
    }

    private func probeOrder(_ objects: inout [ObjectKey]) throws(S3Failure) -> Bool {
        // By bytes "-" comes before "/".
        let names = [try key("order-"), try key("order/x")]
        for name in names {
            objects.append(name)
            _ = try put(name)
        }
        let answer = try ask(.get, nil, query: [("list-type", "2"), ("prefix", folder + "/order"), ("max-keys", "10")])
        guard let response = answer.response, let list = XMLTree(response.body) else { throw answer.failure }
        return list.all("Contents").compactMap { $0["Key"] } == names.map(\.string)
    }

    private func probeDeleteMany(_ objects: inout [ObjectKey]) throws(S3Failure) -> Bool {
        let document = S3Documents.deletion(objects)
        let answer = try ask(
            .post, nil, query: [("delete", "")], headers: [S3Documents.contentMD5(document)], body: document)
        guard let response = answer.response, let result = XMLTree(response.body), result.name == "DeleteResult" else {
            return false
        }
        return result.all("Error").isEmpty
    }

    // MARK: Asking

    /// An answer, or a refusal that is one.
    struct Reply {
        var response: HTTPResponse?
        var failure = S3Failure(.unavailable, "the server's answer cannot be understood")
        var isSuccess: Bool { response != nil }
    }

    /// What a conditional request says of the condition, which does not hold.
    private func condition(_ reply: Reply) -> S3Abilities.Condition {
        if reply.isSuccess { return .ignored }
        return reply.failure.code == .changed || reply.failure.code == .alreadyExists ? .honoured : .refused
    }

    private func put(_ key: ObjectKey, headers: [(name: String, value: String)] = []) throws(S3Failure) -> Reply {
        try ask(.put, key, headers: headers, body: body)
    }

    private func ask(
        _ method: HTTPRequest.Method, _ key: ObjectKey?, query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = []
    ) throws(S3Failure) -> Reply {
        try reply(to: S3Request(method, key, query: query, headers: headers, patience: .zero), body)
    }

    /// Repeats what the network or a busy server spoiled. An error of the server's own is an answer only when it stays, for
    /// what is found out is remembered; any other refusal is one at once.
    private func reply(to request: S3Request, _ body: [UInt8]) throws(S3Failure) -> Reply {
        var errorCount = 0
        while true {
            do throws(S3Failure) {
                return Reply(response: try client.send(request, bytes: body))
            } catch {
                // Nothing more can be asked then, and without an answer nothing was said.
                let isOver = error.retry == .never && error.response == nil
                if isOver || error.code == .noSuchStore || error.code == .clockSkew { throw error }
                errorCount += 1
                let isTransient =
                    error.retry == .outage || error.code == .throttled
                    || error.retry == .later && errorCount < Self.errorLimit
                guard isTransient else { return Reply(response: nil, failure: error) }
                guard ContinuousClock.now < end else { throw error }
                client.pauseBriefly()
            }
        }
    }
}
