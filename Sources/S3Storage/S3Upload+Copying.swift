internal import HTTPTransport
internal import Storage
internal import Workers

/// Parts that are copies of another object's ranges, made by the server.
extension S3Upload {
    /// A part that is copied is about this large: some seconds of a server's work, for it may say nothing meanwhile.
    private static let copyByteCount: UInt64 = 64 << 20
    /// Parts that are left for what is appended behind a copy.
    private static let reservedPartCount = 1000

    func append(copying source: ObjectKey, _ range: Range<UInt64>) throws(StorageError) {
        try throwIfOver()
        let facts: ObjectFacts
        do throws(StorageError) {
            facts = try store.head(source, patience: store.uploadPatience)
        } catch {
            throw fail(error)
        }
        guard range.upperBound <= facts.byteCount else {
            throw fail(
                StorageError(
                    .rangeNotSatisfiable, source.string,
                    "the object has \(facts.byteCount) bytes, \(range) were asked for"))
        }
        var rest = range
        // A part that is not the last has 5 MiB at least: the one being filled is filled by reading.
        let missing = state.withLockQuietly { $0.filling.map { $0.limit - $0.count } ?? 0 }
        let first = rest.lowerBound..<min(rest.upperBound, rest.lowerBound + UInt64(missing))
        if !first.isEmpty { try append(reading: source, first, from: store) }
        rest = first.upperBound..<rest.upperBound
        guard abilities.copiesParts, rest.count >= PartSchedule.minimumPartByteCount else {
            if !rest.isEmpty { try append(reading: source, rest, from: store) }
            return
        }
        for part in try copies(of: rest) { try startCopy(of: source, part) }
    }

    /// Ranges of about one size, so that none is too small; as many as there may be parts.
    private func copies(of range: Range<UInt64>) throws(StorageError) -> [Range<UInt64>] {
        let total = UInt64(range.count)
        let (next, before) = state.withLockQuietly { ($0.nextNumber, $0.byteCount) }
        let limit = UInt64(max(1, PartSchedule.maximumPartCount - Self.reservedPartCount - next))
        let count = max(1, min(limit, (total + Self.copyByteCount - 1) / Self.copyByteCount))
        guard before + total <= PartSchedule.maximumObjectByteCount,
            total / count < UInt64(PartSchedule.maximumPartByteCount)
        else {
            throw fail(StorageError(.noSpace, key.string, "\(before + total) bytes are more than an object can have"))
        }
        return (0..<count).map { index in
            let start = range.lowerBound + total / count * index + min(index, total % count)
            return start..<start + total / count + (index < total % count ? 1 : 0)
        }
    }

    /// Hands a copy on as soon as there is a place among the parts under way.
    private func startCopy(of source: ObjectKey, _ range: Range<UInt64>) throws(StorageError) {
        let job: (number: Int, cancellation: HTTPCancellation)? = state.wait { state in
            guard case .open = state.phase else { return .some(nil) }
            guard state.underWay.count < state.concurrency else { return nil }
            let number = state.nextNumber
            state.nextNumber += 1
            state.byteCount += UInt64(range.count)
            let cancellation = HTTPCancellation()
            state.underWay[number] = cancellation
            return (number, cancellation)
        }
        guard let job else { return try throwIfOver() }
        store.senders.submit(.ordinary) { [self] in copy(job.number, source, range, job.cancellation) }
    }

    /// On a sender's thread.
    private func copy(
        _ number: Int, _ source: ObjectKey, _ range: Range<UInt64>, _ cancellation: HTTPCancellation
    ) {
        let request = S3Request(
            .put, key, query: [("partNumber", "\(number)"), ("uploadId", identifier)],
            headers: S3Documents.copySource(source, range, bucket: store.client.settings.bucket),
            patience: store.uploadPatience)
        do throws(S3Failure) {
            let response = try store.client.send(request, cancellation: cancellation) { response in
                if S3Documents.copiedPartTag(response.body) != nil { return nil }
                guard let document = XMLTree(response.body), document.name == "Error" else {
                    return S3Failure(.corrupt, .later, "part \(number) is copied without an entity tag")
                }
                return S3Failure(response, store.client.settings, document: document)
            } failed: { failure in
                if failure.code == .throttled { self.slowDown() }
            }
            let tag = S3Documents.copiedPartTag(response.body) ?? ""
            noteStored(number, Part(tag: tag, byteCount: range.count))
        } catch {
            _ = fail(error.storageError("\(key.string), part \(number), a copy of \(source.string)"))
            state.withLock { $0.underWay[number] = nil }
        }
    }
}
