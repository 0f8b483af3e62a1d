internal import Foundation
internal import HTTPTransport
package import Storage
internal import Synchronization
internal import SystemIO
internal import Workers

/// A bucket, or a part of one, of any server that speaks S3. S3Storage.md says which requests each operation makes, and what is
/// done where a server lacks an ability.
///
/// Reads are pinned: the first answer about an object fixes its entity tag for this process, and bytes of another object under
/// the same key are `.changed`, never mixed in. The pin is dropped then, so that a next read gets the new object.
package final class S3Store: ObjectStore {
    /// Entity tags remembered; beyond that all are forgotten at once.
    private static let pinLimit = 4096
    private static let bucketCheckSeconds = 60

    package let name: String
    let client: S3Client
    /// Memory of the parts under way, shared with all uploads of the process.
    let uploadMemory: UploadShare
    /// The threads that send parts.
    let senders: WorkerPool
    let schedule: PartSchedule
    let publications = KeyLocks()
    private let abilitiesPath: String?
    private let known = Monitor<Probing>(.unknown)
    private let pins = Mutex<[ObjectKey: String]>([:])
    private let bucketSeenAt = Mutex<ContinuousClock.Instant?>(nil)

    private enum Probing {
        case unknown
        case running
        case known(S3Abilities)
    }

    /// `abilitiesPath` is the file in which it is remembered what the server can do; nil remembers it in this process only.
    package init(
        settings: S3Settings, credentials: S3Credentials, abilitiesPath: String?, uploadMemory: UploadShare
    ) {
        name = settings.name
        client = S3Client(settings: settings, credentials: credentials)
        self.uploadMemory = uploadMemory
        self.abilitiesPath = abilitiesPath
        senders = WorkerPool(threadCount: max(1, min(settings.connectionLimit, settings.uploadConcurrency * 2)))
        schedule = PartSchedule(firstByteCount: settings.partByteCount, limit: uploadMemory.partLimitByteCount)
    }

    package func interrupt() { client.close() }

    package func close() {
        client.close()
        senders.close()
    }

    /// What errors about all of it name.
    private var place: String { "s3://\(client.settings.bucket)" }

    var readPatience: Duration { .seconds(client.settings.readPatienceSeconds) }
    var uploadPatience: Duration { .seconds(client.settings.uploadPatienceSeconds) }

    // MARK: Reading

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        let count = UInt64(buffer.count)
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard !overflow else { throw StorageError(.rangeNotSatisfiable, key.string, "the range ends nowhere") }
        guard count > 0 else {
            guard try head(key).byteCount >= offset else {
                throw StorageError(.rangeNotSatisfiable, key.string, "the object ends before \(offset)")
            }
            return
        }
        let pin = pins.withLock { $0[key] }
        var request = S3Request(.get, key, patience: readPatience)
        request.headers.append(("Range", "bytes=\(offset)-\(end - 1)"))
        if let pin { request.headers.append(("If-Match", "\"\(pin)\"")) }
        do throws(S3Failure) {
            let response = try client.send(request, into: buffer) { response in
                Self.refusal(of: response, range: offset..<end, pin: pin)
            }
            // Two first reads at once: the object may have been replaced in between.
            if let tag = S3EntityTag.of(response), let other = remember(tag, of: key), other != tag {
                forget(key)
                throw S3Failure(.changed, "the object was replaced while it was read")
            }
            noteBucket()
        } catch {
            if error.code == .changed { forget(key) }
            throw try meaning(of: error, key)
        }
    }

    /// What is wrong with an answer to a request for a range; nil if nothing is.
    static func refusal(of response: HTTPResponse, range: Range<UInt64>, pin: String?) -> S3Failure? {
        if let pin, let tag = S3EntityTag.of(response), tag != pin {
            return S3Failure(.changed, "the object was replaced: its entity tag is \"\(tag)\", it was \"\(pin)\"")
        }
        let received = UInt64(response.bufferedByteCount)
        // rclone says 200 for ranges, too.
        if response.status == 206 || response.header("content-range") != nil {
            guard let text = response.header("content-range"), let content = ContentRange(text) else {
                return S3Failure(.corrupt, .later, "a part of the object came without its place")
            }
            guard content.range.lowerBound == range.lowerBound, content.range.upperBound <= range.upperBound else {
                return S3Failure(
                    .corrupt, .later, "bytes \(range) were asked for and the answer is for \(content.range)")
            }
            if content.range.upperBound < range.upperBound, content.total == content.range.upperBound {
                return S3Failure(.rangeNotSatisfiable, "the object ends at \(content.range.upperBound)")
            }
        } else if range.lowerBound > 0 {
            return S3Failure(.corrupt, .later, "bytes \(range) were asked for and the whole object came")
        }
        guard received == UInt64(range.count) else {
            return S3Failure(.corrupt, .later, "\(range.count) bytes were asked for and \(received) came")
        }
        return nil
    }

    /// Fixes the entity tag of an object; returns the one it was fixed to before.
    private func remember(_ tag: String, of key: ObjectKey) -> String? {
        pins.withLock { pins in
            if let pin = pins[key] { return pin }
            if pins.count >= Self.pinLimit { pins.removeAll() }
            pins[key] = tag
            return nil
        }
    }

    /// Something was found in the bucket, or put there: it exists.
    func noteBucket() { bucketSeenAt.withLock { $0 = ContinuousClock.now } }

    func forget(_ key: ObjectKey) { pins.withLock { $0[key] = nil } }

    // MARK: Facts

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        try head(key, patience: readPatience)
    }

    func head(_ key: ObjectKey, patience: Duration) throws(StorageError) -> ObjectFacts {
        do throws(S3Failure) {
            let response = try client.send(S3Request(.head, key, patience: patience)) { response in
                Self.facts(key, response) == nil ? S3Failure(.corrupt, .later, "no size in the answer") : nil
            }
            guard let facts = Self.facts(key, response) else {
                preconditionFailure("internal error: an answer that was accepted without its facts")
            }
            return facts
        } catch {
            throw try meaning(of: error, key)
        }
    }

    private static func facts(_ key: ObjectKey, _ response: HTTPResponse) -> ObjectFacts? {
        guard let count = response.header("content-length").flatMap({ UInt64($0) }) else { return nil }
        return ObjectFacts(
            key: key, byteCount: count, modified: response.header("last-modified").flatMap(HTTPDate.seconds) ?? 0,
            version: S3EntityTag.of(response) ?? "")
    }

    /// A 404 without a document, as HEAD gives it, can mean the object or the bucket.
    func meaning(of failure: S3Failure, _ key: ObjectKey) throws(StorageError) -> StorageError {
        guard failure.code == .absent, failure.word == nil else { return failure.storageError(key.string) }
        let now = ContinuousClock.now
        let isFresh = bucketSeenAt.withLock { seen in
            seen.map { now - $0 < .seconds(Self.bucketCheckSeconds) } ?? false
        }
        if !isFresh {
            do throws(S3Failure) {
                _ = try client.send(S3Request(.head, nil, patience: readPatience))
            } catch {
                if error.code == .absent || error.code == .noSuchStore {
                    let detail = "bucket \"\(client.settings.bucket)\" does not exist"
                    return StorageError(
                        .noSuchStore, key.string, detail, hint: "is `bucket` right, and `endpoint` that of its region?")
                }
                // Who may not ask for the bucket may still be told that an object is not there.
                if error.code != .denied { return error.storageError(key.string) }
            }
            noteBucket()
        }
        return StorageError(.absent, key.string, "no such object")
    }

    // MARK: Removing

    package func delete(_ key: ObjectKey) throws(StorageError) {
        forget(key)
        do throws(S3Failure) {
            _ = try client.send(S3Request(.delete, key, patience: readPatience))
        } catch {
            let meaning = try meaning(of: error, key)
            if meaning.code != .absent { throw meaning }
        }
    }

    package func delete(_ keys: [ObjectKey]) throws(StorageError) {
        guard try abilities().deletesMany else {
            for key in keys { try delete(key) }
            return
        }
        for start in stride(from: 0, to: keys.count, by: 1000) {
            let batch = Array(keys[start..<min(start + 1000, keys.count)])
            for key in batch { forget(key) }
            let document = S3Documents.deletion(batch)
            var request = S3Request(.post, nil, query: [("delete", "")], patience: readPatience)
            request.headers.append(S3Documents.contentMD5(document))
            let response: HTTPResponse
            do throws(S3Failure) {
                response = try client.send(request, bytes: document)
            } catch {
                throw error.storageError(name)
            }
            guard let result = XMLTree(response.body), result.name == "DeleteResult" else {
                throw StorageError(.corrupt, name, "the answer to a removal cannot be understood")
            }
            if let error = result.first("Error") {
                throw StorageError(
                    .denied, error["Key"].map(ServerText.line) ?? name,
                    "cannot be removed: " + ServerText.line("\(error["Code"] ?? "") \(error["Message"] ?? "")"))
            }
        }
    }

    // MARK: The store itself

    package func space() -> StorageSpace? { nil }

    package func check() throws(StorageError) {
        var request = S3Request(
            .get, nil, query: [("list-type", "2"), ("max-keys", "1"), ("prefix", client.settings.prefix)],
            patience: .zero)
        request.totalMilliseconds = client.settings.connectMilliseconds
        do throws(S3Failure) {
            _ = try client.send(request) { response in
                XMLTree(response.body)?.name == "ListBucketResult"
                    ? nil : S3Failure(.unavailable, "this is no S3 server", hint: "is `endpoint` right?")
            }
        } catch {
            // Something answered that knows neither S3 nor the bucket.
            if error.code == .absent {
                throw StorageError(
                    .noSuchStore, place, "bucket \"\(client.settings.bucket)\" is not found: \(error.detail)",
                    hint: "are `endpoint` and `bucket` right?")
            }
            throw error.storageError(place)
        }
    }

    package var condition: StoreCondition {
        let report = client.availability.report
        var condition = StoreCondition()
        condition.isThere = report.isThere
        condition.awayForSeconds = report.awayForSeconds
        condition.requests = report.requests
        condition.repetitions = report.repetitions
        condition.throttled = report.throttled
        condition.outages = report.outages
        condition.lastProblem = report.lastProblem
        if case .known(let abilities) = known.withLockQuietly({ $0 }) {
            condition.abilities = S3AbilitiesFile.listing(abilities)
        } else if let remembered = S3AbilitiesFile.read(abilitiesPath, for: client.settings) {
            condition.abilities = S3AbilitiesFile.listing(remembered)
        }
        return condition
    }

    // MARK: Abilities

    package func copiesInPlace() throws(StorageError) -> Bool { try abilities().copiesParts }

    /// What the server can do: remembered, or probed now by whoever asks first.
    func abilities() throws(StorageError) -> S3Abilities {
        let found: S3Abilities? = known.wait { known in
            switch known {
            case .known(let abilities): return .some(abilities)
            case .running: return nil
            case .unknown:
                known = .running
                return .some(nil)
            }
        }
        if let found { return found }
        do throws(S3Failure) {
            let abilities: S3Abilities
            if let remembered = S3AbilitiesFile.read(abilitiesPath, for: client.settings) {
                abilities = remembered
            } else {
                abilities = try S3Prober(client: client).probe()
                S3AbilitiesFile.write(abilities, abilitiesPath, for: client.settings)
            }
            known.withLock { $0 = .known(abilities) }
            return abilities
        } catch {
            known.withLock { $0 = .unknown }
            throw error.storageError(place)
        }
    }

    /// For tests that count requests: no probe.
    func assume(_ abilities: S3Abilities) { known.withLock { $0 = .known(abilities) } }

    /// Forgets what is remembered of the server and finds it out anew.
    package func probe() throws(StorageError) {
        S3AbilitiesFile.remove(abilitiesPath)
        known.wait { known -> Void? in
            if case .running = known { return nil }
            known = .unknown
            return ()
        }
        _ = try abilities()
    }
}
