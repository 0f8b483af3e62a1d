import Foundation
import FuzzEntries
import Testing

/// What the fuzzer kept: every input that led somewhere new, and every one that once broke a promise.
///
/// A promise that is broken ends the process, and with it the test run: what is printed last names the file.
@Suite("Fuzz targets", .timeLimit(.minutes(2)))
struct CorpusTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Fuzz")

    private static func files(_ entry: FuzzEntry, _ folder: String) throws -> [URL] {
        let folder = root.appendingPathComponent("\(entry.name)/\(folder)")
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { !$0.lastPathComponent.hasPrefix(".") && $0.pathExtension != "md" }
            .sorted { $0.path < $1.path }
    }

    @Test(arguments: FuzzEntry.all) func `every input that was kept keeps the promises`(entry: FuzzEntry) throws {
        let corpus = try Self.files(entry, "corpus")
        #expect(!corpus.isEmpty, "the corpus of \(entry) is there")
        for file in corpus + (try Self.files(entry, "cases")) {
            try Data(contentsOf: file).withUnsafeBytes { entry.run($0) }
        }
        // No parser may need a first byte.
        entry.run(UnsafeRawBufferPointer(start: nil, count: 0))
    }

    @Test func `the folders are those of the targets`() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.root.path).filter { $0 != "main" }
        #expect(Set(names) == Set(FuzzEntry.all.map(\.name)))
    }
}
