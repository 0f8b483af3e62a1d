internal import BackupNames
internal import CryptoPrimitives

/// The members of the JSON form.
extension Manifest {
    var json: [String: CanonicalJSON] {
        var members: [String: CanonicalJSON] = [
            "format": .integer(Self.format),
            "backend": .string(identifier.backend.description),
            "org": .string(identifier.org.description),
            "vm": .string(identifier.vm.description),
            "date": .string(identifier.date.description),
            "disk": .string(identifier.disk.description),
            "created_at": .integer(UInt64(max(0, createdAt))),
            "raw_size": .integer(rawByteCount),
            "raw_sha256": .string(rawSHA256.hexadecimal),
            "archive_size": .integer(archiveByteCount),
            "archive_sha256": .string(archiveSHA256.hexadecimal),
            "header_sha256": .string(headerSHA256.hexadecimal),
            "seek_table_sha256": .string(seekTableSHA256.hexadecimal),
            "frame_size": .integer(UInt64(frameByteCount)),
            "zstd_level": .integer(UInt64(zstdLevel)),
            "recipients": .array(recipients.map { .string($0) }),
            "consistency": .string(consistency),
            "tool": .string(toolVersion),
            "upload_ms": .integer(UInt64(max(0, uploadMilliseconds))),
            "partitions": .array(partitions.map(\.json)),
        ]
        if let region { members["region"] = .string(region) }
        if let country { members["country"] = .string(country) }
        if generation > 0 { members["generation"] = .integer(generation) }
        if let dataByteCount { members["data_size"] = .integer(dataByteCount) }
        if let archiveObject { members["archive_object"] = .string(archiveObject) }
        return members
    }

    init(_ members: [String: CanonicalJSON]) throws(ManifestError) {
        let reader = MemberReader(members: members)
        let format = try reader.integer("format")
        guard format == Self.format else {
            throw ManifestError(
                .unsupportedVersion, "the manifest has format \(format); this program knows \(Self.format)")
        }
        guard let level = Int(exactly: try reader.integer("zstd_level")),
            let frame = Int(exactly: try reader.integer("frame_size")),
            let upload = Int(exactly: try reader.integer("upload_ms")),
            let createdAt = Int64(exactly: try reader.integer("created_at"))
        else { throw ManifestError(.malformed, "the manifest holds a number out of range") }
        do throws(NameError) {
            identifier = BackupIdentifier(
                backend: try ResourceName(reader.text("backend")), org: try ResourceName(reader.text("org")),
                vm: try ResourceName(reader.text("vm")), date: try BackupDate(reader.text("date")),
                disk: try ResourceName(reader.text("disk")))
        } catch {
            throw ManifestError(.malformed, "the manifest holds a name that \(error.reason)")
        }
        self.createdAt = createdAt
        region = try reader.optionalString("region")
        country = try reader.optionalString("country")
        rawByteCount = try reader.integer("raw_size")
        rawSHA256 = try reader.digest("raw_sha256")
        archiveByteCount = try reader.integer("archive_size")
        archiveSHA256 = try reader.digest("archive_sha256")
        headerSHA256 = try reader.digest("header_sha256")
        seekTableSHA256 = try reader.digest("seek_table_sha256")
        frameByteCount = frame
        zstdLevel = level
        recipients = try reader.strings("recipients")
        consistency = try reader.string("consistency")
        toolVersion = try reader.string("tool")
        uploadMilliseconds = upload
        partitions = try reader.partitions("partitions")
        dataByteCount = try reader.optionalInteger("data_size")
        archiveObject = try reader.optionalString("archive_object")
        generation = try reader.optionalInteger("generation") ?? 0
        guard generation <= UInt64(Int64.max) else {
            throw ManifestError(.malformed, "the manifest holds a number out of range")
        }
    }
}

extension ManifestPartition {
    fileprivate var json: CanonicalJSON {
        .object([
            "number": .integer(UInt64(number)), "offset": .integer(rawOffset), "size": .integer(byteCount),
            "type": .string(type), "name": .string(name),
        ])
    }
}

/// Takes typed members out of an object, naming the one that is missing or of another type.
private struct MemberReader {
    let members: [String: CanonicalJSON]

    func integer(_ name: String) throws(ManifestError) -> UInt64 {
        guard case .integer(let value)? = members[name] else { throw missing(name) }
        return value
    }

    func string(_ name: String) throws(ManifestError) -> String {
        guard case .string(let value)? = members[name] else { throw missing(name) }
        return value
    }

    /// Empty where it is missing, which no name may be.
    func text(_ name: String) -> String {
        guard case .string(let value)? = members[name] else { return "" }
        return value
    }

    func optionalString(_ name: String) throws(ManifestError) -> String? {
        members[name] == nil ? nil : try string(name)
    }

    func optionalInteger(_ name: String) throws(ManifestError) -> UInt64? {
        members[name] == nil ? nil : try integer(name)
    }

    func digest(_ name: String) throws(ManifestError) -> SHA256Digest {
        guard let digest = SHA256Digest(hexadecimal: try string(name)) else { throw missing(name) }
        return digest
    }

    func strings(_ name: String) throws(ManifestError) -> [String] {
        guard case .array(let items)? = members[name] else { throw missing(name) }
        var strings: [String] = []
        for item in items {
            guard case .string(let text) = item else { throw missing(name) }
            strings.append(text)
        }
        return strings
    }

    func partitions(_ name: String) throws(ManifestError) -> [ManifestPartition] {
        guard case .array(let items)? = members[name] else { throw missing(name) }
        var partitions: [ManifestPartition] = []
        for item in items {
            guard case .object(let members) = item else { throw missing(name) }
            let reader = MemberReader(members: members)
            guard let number = Int(exactly: try reader.integer("number")) else { throw missing(name) }
            partitions.append(
                ManifestPartition(
                    number: number, rawOffset: try reader.integer("offset"), byteCount: try reader.integer("size"),
                    type: try reader.string("type"), name: try reader.string("name")))
        }
        return partitions
    }

    private func missing(_ name: String) -> ManifestError {
        ManifestError(.malformed, "the manifest's \"\(name)\" is missing or of another type")
    }
}
