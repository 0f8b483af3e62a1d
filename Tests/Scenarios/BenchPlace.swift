import TestSupport
import Testing

/// Where the backend of a bench is.
enum BenchPlace: String, Sendable, CustomTestStringConvertible {
    case directory, ceph, seaweedfs

    /// What most scenarios are run over: the two kinds of backend.
    static let usual: [Self] = [.directory] + buckets(.ceph)
    static let all: [Self] = [.directory] + buckets(.ceph, .seaweedfs)

    /// Those that are installed.
    static func buckets(_ kinds: S3Server.Kind...) -> [Self] {
        kinds.filter(\.isInstalled).compactMap { Self(rawValue: $0.rawValue) }
    }

    /// nil for a folder.
    var serverKind: S3Server.Kind? { S3Server.Kind(rawValue: rawValue) }
    var testDescription: String { rawValue }
}
