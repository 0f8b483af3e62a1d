package import BackupEngine
internal import DiskImage
internal import Glibc
internal import SystemIO

/// Checks the file system in a file, without writing to it.
///
/// What a checker reads comes from a machine that somebody else may own: it runs as nobody, without capabilities and without a way
/// to get any, for at most an hour of processor time.
package struct FileSystemCheck {
    /// The folder that holds the files.
    private let folder: String
    /// How long a checker may neither read nor compute.
    private let patience: Duration
    private let isCancelled: @Sendable () -> Bool
    /// The first bytes of a file; `ImageHead.byteCount` are enough.
    ///
    /// Not through the folder: it may be in a mount of this very process, and a thread of ours that waits for ourselves can not
    /// be killed.
    private let head: (_ file: String) throws -> [UInt8]
    /// Differs when something was read.
    private let reads: @Sendable () -> UInt64

    package init(
        in folder: String, patience: Duration = .seconds(120), isCancelled: @escaping @Sendable () -> Bool = { false },
        head: @escaping (_ file: String) throws -> [UInt8], reads: @escaping @Sendable () -> UInt64
    ) {
        self.folder = folder
        self.head = head
        self.patience = patience
        self.isCancelled = isCancelled
        self.reads = reads
    }

    package func run(_ file: String) -> DrillCheck {
        let start = ContinuousClock.now
        let (check, outcome, detail) = look(at: file)
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return DrillCheck(
            check: check, file: file, outcome: outcome,
            milliseconds: seconds * 1000 + attoseconds / 1_000_000_000_000_000, detail: detail)
    }

    private func look(at file: String) -> (check: String, DrillCheck.Outcome, detail: String) {
        let kind: FileSystemKind?
        do {
            kind = try head(file).withUnsafeBytes { FileSystemKind(head: $0) }
        } catch {
            return ("file system", .bad, "cannot be read: \(error)")
        }
        guard let kind else { return ("file system", .notChecked, "none that is known") }
        guard let checker = FileSystemChecker(for: kind) else {
            return ("file system", .notChecked, "\(kind.name) has no checker")
        }
        guard let program = ChildProcess.find(checker.program) else {
            return (checker.program, .notChecked, "\(checker.program) is not installed")
        }
        var tail = OutputTail()
        var whole = ""
        do throws(ChildProcess.Failure) {
            let child = Confinement.command(program, checker.arguments(for: file), folder, patience, isCancelled)
            let ending = try child.run(
                output: { bytes in
                    tail.append(bytes)
                    // What a warning at the start says decides, so a bounded start is kept as well.
                    if whole.utf8.count < 64 << 10 { whole += String(decoding: bytes, as: UTF8.self) }
                    return true
                }, progress: { ChildProcess.processorTicks(of: $0) &+ reads() })
            switch ending {
            case .exited(let code):
                let outcome = checker.outcome(exitCode: code, output: whole)
                return (checker.program, outcome, outcome == .good ? "" : "exit code \(code): \(tail.lastLines(4))")
            case .signalled(let signal):
                return (checker.program, .bad, "ended by signal \(signal): \(tail.lastLines(2))")
            case .stalled: return (checker.program, .bad, "no progress for \(patience): \(tail.lastLines(2))")
            case .tookTooLong: return (checker.program, .bad, "took too long: \(tail.lastLines(2))")
            case .stopped, .cancelled: return (checker.program, .notChecked, "cancelled")
            }
        } catch {
            return (checker.program, .notChecked, "\(error)")
        }
    }
}

/// How the programs of others are held: prlimit(1) and setpriv(1) are in every Debian (util-linux is essential).
enum Confinement {
    /// Processor time of one program, and time in all.
    private static let processorSeconds = 3600
    private static let limit = Duration.seconds(4 * 3600)
    /// `nobody` and `nogroup` of Debian.
    private static let nobody = 65534

    static func command(
        _ program: String, _ arguments: [String], _ folder: String, _ patience: Duration,
        _ isCancelled: @escaping @Sendable () -> Bool
    ) -> ChildProcess {
        var words = ["--cpu=\(processorSeconds)", "--core=0", "--", "/usr/bin/setpriv", "--no-new-privs"]
        // It ends with the thread that started it, whatever ends that.
        words += ["--pdeathsig", "KILL"]
        if geteuid() == 0 {
            words += [
                "--reuid=\(nobody)", "--regid=\(nobody)", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
            ]
        }
        var child = ChildProcess(
            path: "/usr/bin/prlimit", arguments: words + ["--", program] + arguments, folder: folder,
            patience: patience, limit: limit)
        child.isCancelled = isCancelled
        return child
    }
}
