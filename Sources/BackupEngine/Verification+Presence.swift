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
            report.findings.append(CheckFinding(error))
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
            let sidecar = try readSidecar(key, record, backend)
            let count = UInt64(sidecar.count)
            let json: [UInt8]
            do throws(AgeError) {
                json = try ManifestSidecar.decrypt(sidecar, identities: orgKey.identities)
            } catch {
                throw EngineError(.notAuthentic, "\(identifier): the sidecar does not open: \(error)", cause: error)
            }
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

    /// A sidecar has the size that its manifest makes: so one read does, unless it was changed.
    private func readSidecar(_ key: ObjectKey, _ record: BackupRecord, _ backend: Backend) throws -> [UInt8] {
        let recipients = try Manifest(unverified: record.manifestJSON).recipients
        let expected = try ManifestSidecar.encrypt(record.manifestJSON, to: recipients).count
        var bytes = [UInt8](repeating: 0, count: expected)
        do {
            try bytes.withUnsafeMutableBytes { try backend.store.read(key, at: 0, into: $0) }
            return bytes
        } catch let error as StorageError where error.code == .rangeNotSatisfiable {
            let size = try backend.store.head(key).byteCount
            guard size <= UInt64(ManifestSidecar.maximumByteCount) else {
                throw EngineError(.notAuthentic, "\(record.identifier): the sidecar has \(size) bytes")
            }
            bytes = [UInt8](repeating: 0, count: Int(size))
            try bytes.withUnsafeMutableBytes { try backend.store.read(key, at: 0, into: $0) }
            return bytes
        }
    }
}
