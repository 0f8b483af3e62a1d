internal import Agent
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import GuestSources
internal import Logging
internal import Moments

/// Opens what a user or the configuration names as a source, held still where that can be done.
struct SourceOpener {
    let source: String
    let format: ImageFormat
    let method: MomentMethod
    /// No backup rather than one without a consistent point.
    let isRequired: Bool
    let moments: Moments
    let guests: GuestSources

    init(
        _ source: String, format: ImageFormat, method: MomentMethod, isRequired: Bool, stateDirectory: String,
        log: Logger
    ) {
        (self.source, self.format, self.method, self.isRequired) = (source, format, method, isRequired)
        moments = Moments(stateDirectory: stateDirectory, log: log)
        guests = GuestSources(stateDirectory: stateDirectory, log: log)
    }

    /// Removes what backups left in the system and in guests that were killed.
    static func cleanUpAfterCrash(stateDirectory: String, log: Logger) {
        Moments(stateDirectory: stateDirectory, log: log).cleanUpAfterCrash()
        GuestSources(stateDirectory: stateDirectory, log: log).cleanUpAfterCrash()
    }

    func open(notice: (String) -> Void) throws -> OpenedSource {
        if GuestDrive.isURI(source) {
            guard format == .auto || format == .raw else {
                throw EngineError(
                    .source, "\"\(source)\" is no file that could be \(format.rawValue)",
                    hint: "QEMU gives the bytes of the disk already; leave the format away")
            }
            // A consistent point is what it always has.
            let guest = try guests.open(source, notice: notice)
            return OpenedSource(guest) { guest.close() }
        }
        guard BlockSource.isFile(source) else {
            guard !isRequired else {
                throw EngineError(
                    .source, "nothing says that \"\(source)\" stands still, and a consistent point is required",
                    hint: "back the guest up by its QMP socket, or set require_consistency = false")
            }
            return OpenedSource(try BlockSource.open(source, format: format, notice: notice))
        }
        let format = try BlockSource.format(of: source, format, notice: notice)
        // An image of another format may refer to others by relative names.
        let moment = try moments.take(
            of: source, method, isRequired: isRequired, keepsFolder: format != .raw, notice: notice)
        do {
            let image = try BlockSource.openFile(
                moment.path, named: source, format: format, consistency: moment.consistency,
                consistentAt: moment.takenAt)
            return OpenedSource(image, release: moment.release)
        } catch {
            moment.release()
            throw error
        }
    }
}
