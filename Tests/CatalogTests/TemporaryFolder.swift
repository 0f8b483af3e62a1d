import Foundation

/// An empty folder of one test, removed with all that is in it when the test is done.
final class TemporaryFolder: Sendable {
    /// Where the folder is.
    enum Place {
        case disk
        /// In memory if the machine has such a place, for hundreds of synced files.
        case memory
    }

    let path: String

    init(_ place: Place = .disk) throws {
        let hasMemory = access("/dev/shm", W_OK) == 0
        path =
            (place == .memory && hasMemory ? "/dev/shm/" : NSTemporaryDirectory())
            + "holdfast-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
