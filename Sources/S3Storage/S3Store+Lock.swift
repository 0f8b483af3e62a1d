internal import Glibc
internal import HTTPTransport
internal import Storage

/// Objects that nobody can remove for some time, where the configuration asks for that.
extension S3Store {
    /// Makes sure that an object just stored is locked as configured, and throws if it cannot be: a lock that is not there must
    /// not be believed in. Ceph 16 leaves it away from objects of parts; then it is set by itself.
    func demandLock(_ key: ObjectKey) throws(StorageError) {
        guard let lock = client.settings.objectLock else { return }
        do throws(S3Failure) {
            if try isLocked(key, lock) { return }
            let end = HTTPDate.iso(Int64(time(nil)) + Int64(lock.days) * 86_400)
            let document = Array(
                "<Retention><Mode>\(lock.mode.rawValue)</Mode><RetainUntilDate>\(end)</RetainUntilDate></Retention>"
                    .utf8)
            var request = S3Request(.put, key, query: [("retention", "")], patience: uploadPatience)
            request.headers.append(S3Documents.contentMD5(document))
            _ = try client.send(request, bytes: document)
            guard try isLocked(key, lock) else { throw S3Failure(.denied, "the object is not locked as configured") }
        } catch {
            throw StorageError(
                error.code, key.string, "object_lock_mode: \(error.detail)",
                hint: "was the bucket made with object lock?")
        }
    }

    private func isLocked(_ key: ObjectKey, _ lock: S3Settings.ObjectLock) throws(S3Failure) -> Bool {
        let response = try client.send(S3Request(.head, key, patience: uploadPatience))
        return response.header("x-amz-object-lock-mode") == lock.mode.rawValue
    }
}
