internal import CryptoPrimitives
internal import HTTPTransport
internal import Storage
internal import Workers

/// A multipart upload: bytes are gathered into parts, and several parts are sent at once, each again and again until it is
/// stored or the patience for it is over.
///
/// | state | holds | on failure |
/// |---|---|---|
/// | *open* | the part being filled, parts under way | *failed*, with the first error |
/// | *failed* | parts under way, which are cancelled | only `abort` makes sense |
/// | *completing* | nothing under way | *failed*: what became of it, `head` was asked |
/// | *completed* | the object | |
/// | *aborted* | parts under way, which are cancelled | what could not be aborted, `abortUpload` aborts |
///
/// A part's memory belongs to the thread that appends until the part is full, then to the job that sends it, and goes back to the
/// pool with the job. The appending thread waits where no memory or no place among the parts under way is free: that is how a slow
/// or absent store holds up its writer.
final class S3Upload: ObjectUpload {
    enum Phase: Sendable {
        case open
        case failed(StorageError)
        case completing
        case completed
        case aborted
    }

    struct Part: Sendable {
        let tag: String
        let byteCount: Int
    }

    struct State {
        var phase = Phase.open
        /// The part being filled, and how far.
        var filling: (memory: UploadShare.Part, count: Int, limit: Int)?
        var nextNumber = 1
        var parts: [Int: Part] = [:]
        var underWay: [Int: HTTPCancellation] = [:]
        /// How many may be under way: halved when the store asks for fewer requests, and one more again after some that went well.
        var concurrency: Int
        var wentWell = 0
        var byteCount: UInt64 = 0
    }

    /// Parts that have to go well before one more may be under way.
    private static let recoveryCount = 8

    let identifier: String
    let store: S3Store
    let key: ObjectKey
    let abilities: S3Abilities
    private let lockedUntil: Int64?
    let state: Monitor<State>

    init(store: S3Store, key: ObjectKey, identifier: String, abilities: S3Abilities, lockedUntil: Int64?) {
        self.lockedUntil = lockedUntil
        self.store = store
        self.key = key
        self.identifier = identifier
        self.abilities = abilities
        state = Monitor(State(concurrency: store.client.settings.uploadConcurrency))
    }

    deinit {
        // Jobs hold the upload: none is under way here. The request is left to another thread, for anybody may drop an upload.
        let isOver = state.withLockQuietly { state in
            if case .completed = state.phase { return true }
            if case .aborted = state.phase { return true }
            return false
        }
        guard !isOver else { return }
        NativeThread(name: "s3-abort") { [store, key, identifier] in
            try? store.abort(identifier, key, patience: .zero, milliseconds: S3Store.abortMilliseconds)
        }.detach()
    }

    // MARK: Appending

    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try throwIfOver()
        var rest = bytes
        while !rest.isEmpty {
            if state.withLockQuietly({ $0.filling == nil }) { try startPart() }
            let (count, isFull) = state.withLockQuietly { state in
                guard let part = state.filling else { return (rest.count, false) }
                let count = min(rest.count, part.limit - part.count)
                UnsafeMutableRawBufferPointer(rebasing: part.memory.buffer.bytes[part.count..<part.count + count])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
                state.filling?.count += count
                state.byteCount += UInt64(count)
                return (count, part.count + count == part.limit)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if isFull { try sendFilledPart() }
        }
        try throwIfOver()
    }

    /// Waits for memory for the next part. Other uploads may hold it, whose store is away: no longer than for a store.
    private func startPart() throws(StorageError) {
        let number = state.withLockQuietly { $0.nextNumber }
        guard let limit = store.schedule.byteCount(ofPart: number),
            state.withLockQuietly({ $0.byteCount }) < PartSchedule.maximumObjectByteCount
        else {
            throw fail(
                StorageError(
                    .noSpace, key.string,
                    "the archive is longer than \(store.schedule.reachByteCount >> 30) GiB, which is as far as parts of "
                        + "\(store.schedule.limit >> 20) MiB reach", hint: "raise memory.budget"))
        }
        let end = ContinuousClock.now + store.uploadPatience
        while true {
            try throwIfOver()
            guard ContinuousClock.now < end else {
                throw fail(
                    StorageError(
                        .timedOut, key.string,
                        "no memory for the next part for \(store.client.settings.uploadPatienceSeconds) s: other uploads hold it",
                        hint: "raise memory.budget"))
            }
            guard let memory = store.uploadMemory.take(byteCount: limit, milliseconds: 200) else { continue }
            state.withLockQuietly { $0.filling = (memory, 0, limit) }
            return
        }
    }

    /// Hands the part on as soon as there is a place among those under way.
    func sendFilledPart() throws(StorageError) {
        let job: (number: Int, memory: UploadShare.Part, count: Int, cancellation: HTTPCancellation)? = state.wait {
            state in
            guard case .open = state.phase else { return .some(nil) }
            guard state.underWay.count < state.concurrency else { return nil }
            guard let part = state.filling else { return .some(nil) }
            state.filling = nil
            let number = state.nextNumber
            state.nextNumber += 1
            let cancellation = HTTPCancellation()
            state.underWay[number] = cancellation
            return (number, part.memory, part.count, cancellation)
        }
        guard let job else { return try throwIfOver() }
        store.senders.submit(.ordinary) { [self] in
            send(job.number, job.memory.buffer.prefix(job.count), job.cancellation)
            withExtendedLifetime(job.memory) {}
        }
    }

    /// On a sender's thread.
    private func send(_ number: Int, _ bytes: UnsafeRawBufferPointer, _ cancellation: HTTPCancellation) {
        // Where the server does not compare the bytes with their signed hash, their MD5 is what finds an accident.
        let needsMD5 = !abilities.checksPayloadHash || store.client.settings.objectLock != nil
        var request = S3Request(
            .put, key, query: [("partNumber", "\(number)"), ("uploadId", identifier)], patience: store.uploadPatience)
        var expected: String?
        if needsMD5 {
            request.headers.append(S3Documents.contentMD5(bytes))
            if abilities.entityTagIsMD5 { expected = S3EntityTag.ofObject(bytes) }
        }
        do throws(S3Failure) {
            let response = try store.client.send(request, body: bytes, cancellation: cancellation) { response in
                guard let tag = S3EntityTag.of(response) else {
                    return S3Failure(.corrupt, .later, "part \(number) is stored without an entity tag")
                }
                return expected.map { $0 == tag } ?? true
                    ? nil : S3Failure(.corrupt, .later, "part \(number) did not arrive as it was sent")
            } failed: { failure in
                if failure.code == .throttled { self.slowDown() }
            }
            noteStored(number, Part(tag: S3EntityTag.of(response) ?? "", byteCount: bytes.count))
        } catch {
            _ = fail(error.storageError("\(key.string), part \(number)"))
            state.withLock { $0.underWay[number] = nil }
        }
    }

    func noteStored(_ number: Int, _ part: Part) {
        state.withLock { state in
            state.underWay[number] = nil
            state.parts[number] = part
            state.wentWell += 1
            if state.wentWell >= Self.recoveryCount {
                state.wentWell = 0
                state.concurrency = min(state.concurrency + 1, store.client.settings.uploadConcurrency)
            }
        }
    }

    func slowDown() {
        state.withLock { state in
            state.concurrency = max(1, state.concurrency / 2)
            state.wentWell = 0
        }
    }

    // MARK: Ending

    func complete() throws(StorageError) -> ObjectFacts {
        try throwIfOver()
        guard state.withLockQuietly({ $0.byteCount }) > 0 else { return try completeEmpty() }
        if state.withLockQuietly({ ($0.filling?.count ?? 0) > 0 }) { try sendFilledPart() }
        let parts: [Int: Part] = state.wait { state in
            guard state.underWay.isEmpty else { return nil }
            if case .open = state.phase { state.phase = .completing }
            return state.parts
        }
        if case .completing = state.withLockQuietly({ $0.phase }) {} else { try throwIfOver() }
        do throws(StorageError) {
            let facts = try publish(parts)
            do throws(StorageError) {
                if let lockedUntil { try store.demandLock(key, until: lockedUntil) }
            } catch {
                // Nobody was told of it yet.
                try? store.delete(key)
                throw error
            }
            state.withLock { $0.phase = .completed }
            return facts
        } catch {
            throw fail(error)
        }
    }

    /// There are no parts without bytes.
    private func completeEmpty() throws(StorageError) -> ObjectFacts {
        do {
            try store.abort(identifier, key, patience: store.uploadPatience)
            let facts = try store.putIfAbsent(key, UnsafeRawBufferPointer(start: nil, count: 0))
            if let lockedUntil { try store.demandLock(key, until: lockedUntil) }
            state.withLock { $0.phase = .completed }
            return facts
        } catch {
            throw fail(error)
        }
    }

    private func publish(_ parts: [Int: Part]) throws(StorageError) -> ObjectFacts {
        let list = (1...parts.count).compactMap { number in parts[number].map { (number: number, part: $0) } }
        guard list.count == parts.count else { preconditionFailure("internal error: a part is missing") }
        let byteCount = list.reduce(UInt64(0)) { $0 + UInt64($1.part.byteCount) }
        let completion = S3Completion(
            store: store, key: key, identifier: identifier, abilities: abilities,
            parts: list.map { ($0.number, $0.part.tag) }, byteCount: byteCount)
        return try store.publications.withLock(key) { () throws(StorageError) in try completion.run() }
    }

    func abort() {
        let cancellations: [HTTPCancellation]? = state.withLock { state in
            switch state.phase {
            case .completed, .aborted: return nil
            case .open, .failed, .completing:
                state.phase = .aborted
                state.filling = nil
                return Array(state.underWay.values)
            }
        }
        guard let cancellations else { return }
        for cancellation in cancellations { cancellation.cancel() }
        state.wait { $0.underWay.isEmpty ? () : nil }
        try? store.abort(identifier, key, patience: .zero, milliseconds: S3Store.abortMilliseconds)
    }

    // MARK: State

    /// Notes the first error, ends what is under way, and returns the error that counts.
    func fail(_ error: StorageError) -> StorageError {
        let (first, cancellations): (StorageError, [HTTPCancellation]) = state.withLock { state in
            switch state.phase {
            case .failed(let first): return (first, [])
            case .aborted, .completed: return (error, [])
            case .open, .completing:
                state.phase = .failed(error)
                state.filling = nil
                return (error, Array(state.underWay.values))
            }
        }
        for cancellation in cancellations { cancellation.cancel() }
        return first
    }

    func throwIfOver() throws(StorageError) {
        switch state.withLockQuietly({ $0.phase }) {
        case .open: return
        case .failed(let error): throw error
        case .completing, .completed, .aborted: throw StorageError(.changed, key.string, "the upload is over")
        }
    }
}
