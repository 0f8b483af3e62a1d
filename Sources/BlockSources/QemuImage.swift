package import BackupEngine
internal import Glibc
internal import SystemIO
internal import Workers

/// A disk image in a format of others, read through qemu-nbd, which knows them all.
///
/// It runs with nothing but the right to read, answers one connection that nobody else can make, and ends with that connection, with
/// this object or with this process. One thread at a time.
package final class QemuImage: ImageSource {
    private static let program = "qemu-nbd"

    package let name: String
    package var byteCount: UInt64? { source?.byteCount }
    package let consistency: String
    package let consistentAt: Int64?
    /// The regular file it is in, as it was before the server opened it.
    private let file: (path: String, facts: FileFacts)?
    private let format: ImageFormat
    private let server: HeldProgram
    private var source: NBDSource?

    /// `consistency` and `consistentAt` are the facts of a momentary snapshot that is read in place of the image itself, `name` is then
    /// what the user calls it.
    static func open(
        _ path: String, named name: String? = nil, format: ImageFormat, consistency: String = "none",
        consistentAt: Int64? = nil, patience: Duration = NBDSource.defaultPatience
    ) throws(EngineError) -> QemuImage {
        let name = name ?? path
        guard let program = ChildProcess.find(Self.program) else {
            throw EngineError(
                .source, "\"\(name)\" cannot be read: \(Self.program) is not installed", hint: "apt install qemu-utils")
        }
        // Absolute, so that QEMU takes nothing in it for an option or a protocol.
        guard let resolved = realpath(path, nil) else {
            throw EngineError(.source, "\"\(name)\" cannot be read: \(Errno.current)")
        }
        defer { free(resolved) }
        let file = String(cString: resolved)
        if format == .qcow2 { try BackingChain.check(file) }
        let facts = try? FileFacts.of(file)
        let image: QemuImage
        let client: Int32
        do throws(Errno) {
            let socket = try HandedSocket()
            client = socket.clients[0]
            image = QemuImage(
                name, file: facts.flatMap { $0.kind == .regular ? (file, $0) : nil }, format,
                HeldProgram(
                    program, ["--read-only", "--format=\(format.rawValue)", file], listener: socket.listener),
                consistency, consistentAt)
        } catch {
            throw EngineError(.source, "\"\(name)\" cannot be read: no private socket: \(error)", cause: error)
        }
        do throws(NBDFailure) {
            image.source = try NBDSource.adopting(client, name: name, patience: patience)
        } catch {
            throw image.explained(EngineError(.source, "\"\(name)\" cannot be read: \(error)", cause: error))
        }
        return image
    }

    private init(
        _ name: String, file: (path: String, facts: FileFacts)?, _ format: ImageFormat, _ server: HeldProgram,
        _ consistency: String, _ consistentAt: Int64?
    ) {
        self.name = name
        self.file = file
        self.format = format
        self.server = server
        self.consistency = consistency
        self.consistentAt = consistentAt
    }

    deinit {
        // It ends when the connection does.
        source = nil
        server.end()
    }

    package func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        guard let source else { preconditionFailure("internal error: an image that is read before it is open") }
        do {
            try source.stream(to: sink, plain: plainExtents(), progress: progress)
        } catch let error as EngineError where error.code == .source {
            throw explained(error)
        }
        guard let file else { return }
        // QEMU takes what is behind the end of a file that became shorter for zeros.
        let (before, now) = (file.facts.byteCount, (try? FileFacts.of(file.path))?.byteCount ?? 0)
        guard now >= before else {
            throw EngineError(
                .source, "\"\(name)\" became shorter while it was read: it had \(before) bytes and has \(now)")
        }
    }

    /// What can be read past the server, which holds QEMU's lock on the image meanwhile.
    private func plainExtents() -> PlainExtents? {
        guard let file, let opened = try? OwnedFile(opening: file.path, for: .read),
            let facts = try? opened.facts(), facts.isSameContent(as: file.facts)
        else { return nil }
        opened.advise(.sequential)
        return PlainExtents.find(opened, file.path, format: format)
    }

    /// With what the server has said before it ended, if it did.
    private func explained(_ error: EngineError) -> EngineError {
        guard let words = server.lastWords(), !words.isEmpty else { return error }
        let hint = "a running guest has the image open, it seems: stop the guest, or back it up by its QMP socket"
        return EngineError(
            .source, "\(error.detail): \(words)", hint: words.contains("\" lock") ? hint : nil, cause: error.cause)
    }
}
