internal import BackupNames
internal import Foundation
internal import SystemIO

/// A rollback under way, written down before anything is done: `rollback.json` in the disk's folder of snapshots.
///
/// Beside the image `web.raw` there are `.web.raw.rollback`, the new image, and `.web.raw.replaced-<date>`, a second name of the
/// replaced one, with the date of the rollback. `rename` puts the first in the place of the image: before it the image is the old one,
/// after it the new one, complete.
///
/// | state | the image is | `.rollback` | `.replaced-<date>` | its process ends here: the next start |
/// |---|---|---|---|---|
/// | noted | old | none | none | removes the note |
/// | copying, verifying | old | part of the new one | none | removes it, then the note |
/// | ready: verified and synced | old | new | none | the same |
/// | kept | old | new | old, a second name | removes both, then the note |
/// | exchanged | new | none | old | syncs the folder, removes the replaced one, then the note |
/// | over | new | none | none | removes the note |
struct RollbackNote: Codable, Hashable, Sendable {
    static let byteLimit = 64 << 10

    var format = 1
    /// The image, absolute and without links.
    let image: String
    /// Of the rollback, as in the name of what is replaced.
    let date: String

    init(image: String, date: BackupDate) {
        self.image = image
        self.date = "\(date)"
    }

    /// nil for what is none of ours.
    init?(_ bytes: [UInt8]) {
        guard let note = try? JSONDecoder().decode(Self.self, from: Data(bytes)), note.format == 1,
            note.image.hasPrefix("/"), (try? BackupDate(note.date)) != nil
        else { return nil }
        self = note
    }

    var bytes: [UInt8] {
        guard let data = try? JSONEncoder().encode(self) else {
            preconditionFailure("internal error: a note that cannot be written")
        }
        return Array(data)
    }

    var folder: String { Folder.parentPath(of: image) }
    private var name: Substring { image[image.index(after: image.lastIndex(of: "/") ?? image.startIndex)...] }

    /// Of the new image until it takes its place.
    var copyPath: String { folder + "/.\(name).rollback" }
    /// Of the old one from then on.
    var replacedPath: String { folder + "/.\(name).replaced-\(date)" }
}
