internal import AgeFormat
internal import Archive
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import FuseBridge
internal import Glibc
internal import Manifest
internal import OrgKeys
internal import ReadTrace
internal import Storage
internal import SystemIO

/// What the user sees of an error: a line, perhaps a hint, and the exit code. nil for what the argument parser reports.
struct ErrorReport {
    let message: String
    let hint: String?
    let exitCode: Int32

    init?(_ error: any Error) {
        var hint: String?
        switch error {
        case is ExitCode, is CleanExit, is ValidationError: return nil
        case let error as EngineError:
            message = error.detail
            hint = error.hint
            exitCode = Self.exitCode(of: error.code)
        case is ArchiveError, is StorageError, is ManifestError, is KeyError, is CatalogError:
            let error = EngineError(error, subject: "holdfast")
            message = error.detail
            hint = error.hint
            exitCode = Self.exitCode(of: error.code)
        case let error as ConfigurationError:
            (message, exitCode) = ("\(error)", 10)
            hint = "contrib/config.example.toml of the sources explains every key"
        case let error as MountError: (message, exitCode) = ("\(error)", 11)
        case let error as MountpointError: (message, exitCode) = ("\(error)", 11)
        case let error as MountOptionError: (message, exitCode) = ("\(error)", 11)
        case let error as DaemonStartError: (message, exitCode) = (error.message, error.exitCode)
        case let error as AgeError: (message, exitCode) = (error.detail, error.code == .noMatch ? 4 : 5)
        case let error as NameError: (message, exitCode) = ("\(error)", 3)
        case let error as ReadTraceError:
            (message, exitCode) = (error.description, 7)
            hint = error.hint
        case let error as WarmupError:
            (message, exitCode) = (error.detail, 7)
            hint = error.hint
        case let error as Errno: (message, exitCode) = ("\(error)", 1)
        default:
            // What the argument parser throws has its own form.
            guard HoldfastCommand.exitCode(for: error) == .failure else { return nil }
            (message, exitCode) = ("\(error)", 1)
        }
        self.hint = hint
    }

    func print() {
        var text = "error: \(message)\n"
        if let hint { text += "hint: \(hint)\n" }
        StandardStream.error.write(text)
    }

    /// The one mapping from failures to exit codes, as the help lists them.
    static func exitCode(of code: EngineError.Code) -> Int32 {
        switch code {
        case .invalidName, .notFound: 3
        case .noKey, .wrongKey, .badKeyFile, .keyInUse: 4
        case .notAuthentic, .swapped, .damaged, .truncated, .sidecarMissing: 5
        case .backendUnavailable, .backendTimedOut, .backendDenied, .backendFull: 6
        case .source, .emptyImage, .incompleteImage: 7
        case .target, .targetInUse, .targetTooSmall, .noRoom: 8
        case .catalog: 9
        case .alreadyExists, .busy, .cancelled: 12
        case .held: 14
        }
    }
}

/// Standard output and error, unbuffered: whole texts, one write each.
enum StandardStream: Int32 {
    case output = 1
    case error = 2

    func write(_ text: String) { write(Array(text.utf8)) }

    func write(_ bytes: [UInt8]) {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(rawValue, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                // What was asked for did not arrive: never success. A reader that has seen enough (EPIPE) knows so.
                if self == .output {
                    if errno != EPIPE {
                        StandardStream.error.write("error: standard output: \(String(cString: strerror(errno)))\n")
                    }
                    exit(1)
                }
                return
            }
            done += count
        }
    }

    /// Closes the stream while the process is still alive, so that an error of `close` is one of the command: in a mount's staging
    /// folder that is where a backup fails. Ending with it open counts there as dying, where the mount may not see our exit status.
    func finish() {
        fflush(nil)
        guard close(rawValue) != 0, errno != EBADF else { return }
        StandardStream.error.write("error: standard output: \(String(cString: strerror(errno)))\n")
        exit(1)
    }

    var isTerminal: Bool { isatty(rawValue) == 1 }
}
