internal import Foundation
internal import Storage
internal import SystemIO

/// The file in which a host remembers what a server can do: JSON, for one endpoint and bucket. It may be removed at any time;
/// then the server is asked again.
enum S3AbilitiesFile {
    private static let maximumByteCount = 64 << 10
    /// A server may learn: after this long it is asked again.
    private static let validSeconds: TimeInterval = 30 * 86_400

    private struct Content: Codable {
        var format = 1
        var endpoint: String
        var bucket: String
        var probedAt: Date
        var abilities: S3Abilities
    }

    private static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        return decoder
    }

    static func read(_ path: String?, for settings: S3Settings) -> S3Abilities? {
        guard let path, let bytes = try? readWholeFile(path, maximumByteCount: maximumByteCount),
            let content = try? decoder.decode(Content.self, from: Data(bytes)), content.format == 1,
            content.endpoint == settings.endpoint.description, content.bucket == settings.bucket,
            abs(content.probedAt.timeIntervalSinceNow) < validSeconds
        else { return nil }
        return content.abilities
    }

    /// What cannot be remembered is asked again next time.
    static func write(_ abilities: S3Abilities, _ path: String?, for settings: S3Settings) {
        guard let path else { return }
        let content = Content(
            endpoint: settings.endpoint.description, bucket: settings.bucket, probedAt: Date(), abilities: abilities)
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(content) else { return }
        try? makeDirectories(Folder.parentPath(of: path), mode: 0o700)
        try? data.withUnsafeBytes { try atomicReplace(path, $0, mode: 0o600) }
    }

    static func remove(_ path: String?) {
        if let path { try? FileTree.remove(path) }
    }

    static func listing(_ abilities: S3Abilities) -> [String: String] {
        func word(_ flag: Bool) -> String { flag ? "yes" : "no" }
        return [
            "put if absent": abilities.putIfAbsent.rawValue,
            "complete if absent": abilities.completeIfAbsent.rawValue,
            "checks payload hashes": word(abilities.checksPayloadHash),
            "entity tags are MD5": word(abilities.entityTagIsMD5),
            "entity tags of parts are MD5": word(abilities.entityTagOfPartsIsMD5),
            "get if match": abilities.getIfMatch.rawValue,
            "lists in byte order": word(abilities.listsInByteOrder),
            "tag of a completion is the object's": word(abilities.completionTagIsFinal),
            "deletes many": word(abilities.deletesMany),
            "copies parts": word(abilities.copiesParts),
        ]
    }
}
