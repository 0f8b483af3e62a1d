package import BackupEngine
internal import SystemIO

/// Finds out what a user means by a source.
package enum BlockSource {
    /// Opens what `text` names: a URI of a network block device, `-` for standard input, else a file or device of `format`. `notice`
    /// gets what the user should know of it. Every error but one of reading comes from here, before any work.
    package static func open(
        _ text: String, format: ImageFormat = .auto, patience: Duration = NBDSource.defaultPatience,
        notice: (String) -> Void = { _ in }
    ) throws(EngineError) -> any ImageSource {
        let isFile = isFile(text)
        guard isFile || format == .auto || format == .raw else {
            throw EngineError(
                .source, "\"\(text)\" is no file that could be \(format.rawValue)",
                hint: "a server gives the bytes of the disk already; leave --format away")
        }
        guard isFile else {
            return text == "-" ? try ImageFile.open(text) : try NBDSource.open(uri: text, patience: patience)
        }
        return try openFile(text, format: self.format(of: text, format, notice: notice), patience: patience)
    }

    /// Whether it is a file or device, which can be held still, and no server or stream.
    package static func isFile(_ text: String) -> Bool { text != "-" && !NBDSource.isURI(text) }

    /// Opens a file or device of a known format. `path` may be a momentary snapshot of what the user calls `name`, whose facts the others
    /// are.
    package static func openFile(
        _ path: String, named name: String? = nil, format: ImageFormat, consistency: String = "none",
        consistentAt: Int64? = nil, patience: Duration = NBDSource.defaultPatience
    ) throws(EngineError) -> any ImageSource {
        switch format {
        case .auto, .raw:
            try ImageFile.open(path, named: name, consistency: consistency, consistentAt: consistentAt)
        case .qcow2, .vmdk, .vdi, .vhdx:
            try QemuImage.open(
                path, named: name, format: format, consistency: consistency, consistentAt: consistentAt,
                patience: patience)
        }
    }

    /// The format of a file or device; never `auto`.
    package static func format(
        of path: String, _ format: ImageFormat, notice: (String) -> Void = { _ in }
    ) throws(EngineError) -> ImageFormat {
        let found = try resolve(path, format, notice)
        return found == .auto ? .raw : found
    }

    private static func resolve(
        _ path: String, _ format: ImageFormat, _ notice: (String) -> Void
    ) throws(EngineError) -> ImageFormat {
        guard format != .raw, let facts = try? FileFacts.of(path) else { return .raw }
        switch facts.kind {
        case .regular: break
        case .blockDevice:
            // Its name says nothing, so its bytes may not.
            if format == .auto { return .raw }
        case .directory, .symbolicLink, .characterDevice, .pipe, .socket, .other: return .raw
        }
        let head = try ImageFormat.head(of: path)
        if format == .auto { return try ImageFormat.detect(path, head: head, notice: notice) }
        guard ImageFormat.magic(of: head) == format else {
            throw EngineError(.source, "\"\(path)\" does not begin like a \(format.rawValue) image")
        }
        return format
    }
}
