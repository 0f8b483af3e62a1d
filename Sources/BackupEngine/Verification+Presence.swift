internal import AgeFormat
internal import BackupNames
internal import Catalog
internal import Manifest
internal import OrgKeys
internal import Storage

extension Engine {
    /// Whether archive and sidecar are at the backend, the archive with its size, the sidecar as it was written.
    func checkPresence(_ record: BackupRecord, _ report: inout CheckReport) throws {
        let identifier = record.identifier
        let backend = try backend(identifier.backend)
        do throws(StorageError) {
            let stored = try backend.store.head(try backend.archiveKey(of: record.place))
            if stored.byteCount != record.archiveByteCount {
                report.findings.append(
                    CheckFinding(
                        EngineError(
                            .truncated,
                            "\(identifier): the archive has \(stored.byteCount) bytes, \(record.archiveByteCount) are registered"
                        )))
            }
        } catch {
            guard error.code == .absent else { throw error }
            report.findings.append(
                CheckFinding(
                    EngineError(.notFound, "\(identifier): the archive is not at the backend", cause: error)))
        }
        do throws(EngineError) {
            report.fetchedByteCount += try checkSidecar(record, backend)
        } catch {
            guard Self.sidecarCodes.contains(error.code) else { throw error }
            report.findings.append(CheckFinding(error, isOfSidecar: true))
        }
    }

    private static let sidecarCodes: Set<EngineError.Code> = [.sidecarMissing, .notAuthentic, .swapped, .truncated]

    /// Returns the bytes that were read.
    private func checkSidecar(_ record: BackupRecord, _ backend: Backend) throws(EngineError) -> UInt64 {
        let identifier = record.identifier
        do {
            let key = try backend.manifestKey(of: record.place)
            let orgKey = try? keys.key(for: identifier.org)
            guard let orgKey, orgKey.canRead else {
                _ = try backend.store.head(key)
                return 0
            }
            let (json, count) = try openSidecar(key, orgKey, record, backend)
            if json == record.manifestJSON { return count }
            // Not the catalog's, which is the reference: then it is another's, an older one's, or nobody's.
            _ = try manifest(
                of: BackupRecord(
                    identifier: identifier, manifestJSON: json, archiveHeader: record.archiveHeader,
                    seekTable: record.seekTable, rawByteCount: record.rawByteCount,
                    archiveByteCount: record.archiveByteCount, dataByteCount: record.dataByteCount,
                    createdAt: record.createdAt, generation: record.generation))
            throw EngineError(.swapped, "\(identifier): the sidecar is not the one that was written with the backup")
        } catch {
            let failure = EngineError(error, subject: "\(identifier)")
            switch failure.code {
            case .notFound: throw EngineError(.sidecarMissing, "\(identifier): the sidecar is missing", cause: error)
            case .catalog: throw EngineError(.swapped, "\(identifier): the sidecar is another backup's", cause: error)
            default: throw failure
            }
        }
    }

    /// A sidecar has the size that its manifest makes, so one read does; whatever was put in its place is read by its own size.
    /// Returns what it holds, and the bytes that were read.
    private func openSidecar(
        _ key: ObjectKey, _ orgKey: OrgKey, _ record: BackupRecord, _ backend: Backend
    ) throws -> ([UInt8], UInt64) {
        let recipients = try Manifest(unverified: record.manifestJSON).recipients
        let expected = try ManifestSidecar.encrypt(record.manifestJSON, to: recipients).count
        do {
            let sidecar = try readSidecar(key, expected, backend)
            return (try ManifestSidecar.decrypt(sidecar, identities: orgKey.identities), UInt64(expected))
        } catch {
            if let error = error as? StorageError, error.code != .rangeNotSatisfiable { throw error }
            let size = try backend.store.head(key).byteCount
            guard size <= UInt64(ManifestSidecar.maximumByteCount) else {
                throw EngineError(.notAuthentic, "\(record.identifier): the sidecar has \(size) bytes")
            }
            let sidecar = try readSidecar(key, Int(size), backend)
            do throws(AgeError) {
                return (try ManifestSidecar.decrypt(sidecar, identities: orgKey.identities), size)
            } catch {
                throw EngineError(
                    .notAuthentic, "\(record.identifier): the sidecar does not open: \(error)", cause: error)
            }
        }
    }

    private func readSidecar(_ key: ObjectKey, _ byteCount: Int, _ backend: Backend) throws(StorageError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        var failure: StorageError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(StorageError) {
                try backend.store.read(key, at: 0, into: buffer)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
