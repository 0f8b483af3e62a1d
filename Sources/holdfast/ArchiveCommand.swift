internal import AgeFormat
internal import Archive
internal import ArgumentParser
internal import BackupEngine
internal import CryptoPrimitives
internal import Glibc
internal import OrgKeys
internal import SeekableZstd
internal import SystemIO
internal import Workers

struct ArchiveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "archive",
        abstract:
            "Work on a bare archive file and a key, without catalog or configuration; import one that lies at a backend.",
        subcommands: [DecodeCommand.self, InspectCommand.self, ArchiveImportCommand.self])
}

struct BareArchiveOptions: ParsableArguments {
    @Argument(help: "The archive (….raw.zst.age).") var file: String
    @Option(name: .shortAndLong, help: "An age identity file; may be given several times.") var identity: [String]

    /// Opens the archive with the keys given.
    func open() throws -> (ArchiveReader, FileSource) {
        guard !identity.isEmpty else { throw ValidationError("an identity file is needed (-i)") }
        let identities = try identity.flatMap { path in
            try SecretFile.read(path).withUnsafeBytes { try AgeIdentityFile.parse($0) }
        }
        let source = try FileSource(path: file)
        return (try ArchiveReader.open(source: source, identities: identities), source)
    }
}

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show what an archive is made of.")

    @OptionGroup var archive: BareArchiveOptions
    @Flag(help: "Print JSON.") var json = false

    private struct Result: Encodable {
        let archive_size: UInt64
        let header_sha256: String
        let raw_size: UInt64
        let data_size: UInt64
        let stream_size: UInt64
        let frames: Int
        let zero_frames: Int
        let chunks: UInt64
    }

    func run() throws {
        let (reader, source) = try archive.open()
        let table = reader.seekTable
        let zeroFrames = (0..<table.frameCount).count { table.isZeroFrame($0) }
        let result = Result(
            archive_size: source.byteCount, header_sha256: reader.access.headerSHA256.hexadecimal,
            raw_size: table.rawByteCount, data_size: table.dataByteCount, stream_size: table.streamByteCount,
            frames: table.frameCount, zero_frames: zeroFrames, chunks: reader.layout.payload.chunkCount)
        if json { return try printJSON(result) }
        StandardStream.output.write(
            """
            archive     \(result.archive_size) bytes, \(result.chunks) chunks, header sha256 \(result.header_sha256)
            stream      \(result.stream_size) bytes, \(result.frames) frames, \(result.zero_frames) of them zeros
            raw         \(result.raw_size) bytes, \(result.data_size) of them data

            """)
    }
}

struct DecodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decode", abstract: "Decode an archive to its raw image, and print the image's SHA-256.")

    @OptionGroup var archive: BareArchiveOptions
    @Option(name: .shortAndLong, help: "Where the image goes: a file, or - for standard output.") var output = "-"
    @Flag(help: "Overwrite a file that has data.") var force = false

    func run() throws {
        let (reader, source) = try archive.open()
        let line = ProgressLine()
        defer { line.end() }
        let hashes = try BareDecoder.decode(reader, source: source, to: output, force: force) {
            line.show("decode", $0, $1)
        }
        line.end()
        // Standard output may be the image itself.
        StandardStream.error.write("raw sha256      \(hashes.rawSHA256)\narchive sha256  \(hashes.archiveSHA256)\n")
    }
}
