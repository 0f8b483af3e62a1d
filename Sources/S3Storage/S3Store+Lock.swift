internal import Glibc
internal import HTTPTransport
package import Storage

/// Objects that nobody can remove for some time, where the configuration asks for that.
extension S3Store {
    /// The later of what is configured for every object and what is asked for.
    func lockEnd(_ key: ObjectKey, _ requested: Int64?) throws(StorageError) -> Int64? {
        guard let lock = client.settings.objectLock else {
            guard requested == nil else {
                throw StorageError(
                    .denied, key.string, "objects are not locked here", hint: "set `object_lock_mode` of the backend")
            }
            return nil
        }
        let always = lock.days.map { Int64(time(nil)) + Int64($0) * 86_400 }
        return [always, requested].compactMap { $0 }.max()
    }

    /// Makes sure that an object is locked as configured and no shorter than that, and throws if it cannot be: a lock that is not
    /// there must not be believed in. Ceph 16 leaves it away from objects of parts; then it is set by itself.
    func demandLock(_ key: ObjectKey, until end: Int64) throws(StorageError) {
        guard let lock = client.settings.objectLock else {
            preconditionFailure("internal error: a lock without its mode")
        }
        do throws(S3Failure) {
            if try isLocked(key, lock, until: end) { return }
            let document = Array(
                """
                <Retention><Mode>\(lock.mode.rawValue)</Mode>\
                <RetainUntilDate>\(HTTPDate.iso(end))</RetainUntilDate></Retention>
                """.utf8)
            var request = S3Request(.put, key, query: [("retention", "")], patience: uploadPatience)
            request.headers.append(S3Documents.contentMD5(document))
            _ = try client.send(request, bytes: document)
            guard try isLocked(key, lock, until: end) else {
                throw S3Failure(.denied, "the object is not locked as configured")
            }
        } catch {
            throw StorageError(
                error.code, key.string, "object_lock_mode: \(error.detail)",
                hint: "was the bucket made with object lock?")
        }
    }

    package func lock(_ key: ObjectKey, until: Int64) throws(StorageError) {
        if let end = try lockEnd(key, until) { try demandLock(key, until: end) }
    }

    package func lockedUntil(_ key: ObjectKey) throws(StorageError) -> Int64? {
        do throws(S3Failure) {
            let response = try client.send(S3Request(.head, key, patience: readPatience))
            if response.header("x-amz-object-lock-legal-hold") == "ON" { return .max }
            return Self.lockEnd(response)
        } catch {
            throw try meaning(of: error, key)
        }
    }

    /// A bucket that keeps versions (every one with object lock does) only hides what is deleted by its name. Absent is success.
    package func purge(_ key: ObjectKey) throws(StorageError) {
        forget(key)
        do throws(S3Failure) {
            let response = try client.send(S3Request(.head, key, patience: readPatience))
            let version = response.header("x-amz-version-id").flatMap { $0.isEmpty || $0 == "null" ? nil : $0 }
            _ = try client.send(
                S3Request(.delete, key, query: version.map { [("versionId", $0)] } ?? [], patience: readPatience))
        } catch {
            let meaning = try meaning(of: error, key)
            if meaning.code != .absent { throw meaning }
        }
    }

    /// The retention of a locked object; nil for others. One without an end that can be understood never ends.
    private static func lockEnd(_ response: HTTPResponse) -> Int64? {
        guard response.header("x-amz-object-lock-mode") != nil else { return nil }
        return response.header("x-amz-object-lock-retain-until-date").flatMap(HTTPDate.secondsOfISO) ?? .max
    }

    private func isLocked(
        _ key: ObjectKey, _ lock: S3Settings.ObjectLock, until end: Int64
    ) throws(S3Failure) -> Bool {
        let response = try client.send(S3Request(.head, key, patience: uploadPatience))
        guard response.header("x-amz-object-lock-mode") == lock.mode.rawValue else { return false }
        return Self.lockEnd(response).map { $0 >= end } ?? false
    }
}
