internal import CryptoPrimitives
internal import Glibc
internal import SystemIO

/// Why no credentials were found; names the place that was looked at.
package struct S3CredentialsError: Error, Hashable, CustomStringConvertible {
    package let description: String
    package let hint: String?
}

/// Where the credentials of a backend are: what its configuration names, and nothing else; without that, what the AWS tools use.
///
/// 1. `credentials_file`, in the form of the AWS tools (`[profile]`, `aws_access_key_id = …`), which only its owner may read
/// 2. `access_key_env` and `secret_key_env`: names of environment variables
/// 3. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`
/// 4. `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`; the profile that is configured, else `AWS_PROFILE`, else `default`
package struct S3CredentialsSearch: Sendable {
    package var filePath: String?
    package var profile: String?
    package var accessKeyVariable: String?
    package var secretKeyVariable: String?
    package var sessionTokenVariable: String?

    package init() {}

    private static let maximumByteCount = 64 << 10

    package func find(
        environment: (String) -> String? = { getenv($0).map { String(cString: $0) } }
    ) throws(S3CredentialsError) -> S3Credentials {
        let profile = profile ?? environment("AWS_PROFILE") ?? "default"
        if let filePath { return try Self.read(filePath, profile: profile) }
        if accessKeyVariable != nil || secretKeyVariable != nil {
            return try fromEnvironment(
                environment, accessKeyVariable ?? "AWS_ACCESS_KEY_ID", secretKeyVariable ?? "AWS_SECRET_ACCESS_KEY",
                sessionTokenVariable)
        }
        if environment("AWS_ACCESS_KEY_ID")?.isEmpty == false {
            return try fromEnvironment(
                environment, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", sessionTokenVariable ?? "AWS_SESSION_TOKEN")
        }
        let shared =
            environment("AWS_SHARED_CREDENTIALS_FILE") ?? environment("HOME").map { $0 + "/.aws/credentials" }
        if let shared, access(shared, F_OK) == 0 { return try Self.read(shared, profile: profile) }
        throw S3CredentialsError(
            description: "no credentials: none are configured, none in the environment, no \(shared ?? "home folder")",
            hint: "set credentials_file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    }

    private func fromEnvironment(
        _ environment: (String) -> String?, _ access: String, _ secret: String, _ token: String?
    ) throws(S3CredentialsError) -> S3Credentials {
        for name in [access, secret] where environment(name)?.isEmpty != false {
            throw S3CredentialsError(
                description: "the environment variable \(name) is not set", hint: "set it where the mount is started")
        }
        let key = Array((environment(secret) ?? "").utf8)
        return S3Credentials(
            accessKey: environment(access) ?? "", secretKey: key.withUnsafeBytes { SecretBytes(copying: $0) },
            sessionToken: token.flatMap(environment), origin: "the environment variable \(access)")
    }

    /// Reads one profile of a file. Its bytes are wiped afterwards.
    private static func read(_ path: String, profile: String) throws(S3CredentialsError) -> S3Credentials {
        var bytes: [UInt8]
        do {
            let facts = try FileFacts.of(path)
            guard facts.permissions & 0o077 == 0 else {
                throw S3CredentialsError(
                    description: "\"\(path)\" holds a secret and others may read it", hint: "chmod 600 \(path)")
            }
            bytes = try readWholeFile(path, maximumByteCount: maximumByteCount)
        } catch let error as S3CredentialsError {
            throw error
        } catch {
            throw S3CredentialsError(
                description: "\"\(path)\" cannot be read: \(error)", hint: "is `credentials_file` right?")
        }
        defer { bytes.withUnsafeMutableBytes { SecretBytes.wipe($0) } }
        guard let found = parse(bytes, profile: profile, origin: "\"\(path)\", profile \"\(profile)\"") else {
            throw S3CredentialsError(
                description: "\"\(path)\" has no aws_access_key_id and aws_secret_access_key under [\(profile)]",
                hint: "is `profile` right?")
        }
        return found
    }

    /// The lines of `[profile]`. The secret is never made a String.
    static func parse(_ bytes: [UInt8], profile: String, origin: String) -> S3Credentials? {
        var isInProfile = false
        var accessKey: String?
        var token: String?
        var secret: SecretBytes?
        for line in bytes.split(whereSeparator: { $0 == 10 || $0 == 13 }) {
            let line = trimmed(line)
            if line.first == UInt8(ascii: "["), line.last == UInt8(ascii: "]") {
                isInProfile = trimmed(line.dropFirst().dropLast()).elementsEqual(profile.utf8)
                continue
            }
            guard isInProfile, let equals = line.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let value = trimmed(line[line.index(after: equals)...])
            switch String(decoding: trimmed(line[..<equals]), as: UTF8.self).lowercased() {
            case "aws_access_key_id": accessKey = String(decoding: value, as: UTF8.self)
            case "aws_secret_access_key": secret = value.withUnsafeBytes { SecretBytes(copying: $0) }
            case "aws_session_token": token = String(decoding: value, as: UTF8.self)
            default: continue
            }
        }
        guard let accessKey, let secret, !accessKey.isEmpty, secret.count > 0 else { return nil }
        return S3Credentials(accessKey: accessKey, secretKey: secret, sessionToken: token, origin: origin)
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isBlank = { (byte: UInt8) in byte == 32 || byte == 9 }
        guard let start = bytes.firstIndex(where: { !isBlank($0) }),
            let end = bytes.lastIndex(where: { !isBlank($0) })
        else { return [] }
        return bytes[start...end]
    }
}
