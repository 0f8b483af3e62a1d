import Foundation

/// An empty folder of one test, removed with all that is in it when the test is done.
final class TemporaryFolder: Sendable {
    let path = NSTemporaryDirectory() + "holdfast-test-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
