import BackupNames
import Catalog

extension BackupRecord {
    static func sample(
        org: String = "acme", vm: String = "web01", date: String = "2026-11-20T02-00-00Z", disk: String = "disk",
        manifest: [UInt8] = [1, 2, 3]
    ) throws -> BackupRecord {
        BackupRecord(
            identifier: BackupIdentifier(
                backend: try ResourceName("local"), org: try ResourceName(org), vm: try ResourceName(vm),
                date: try BackupDate(date), disk: try ResourceName(disk)),
            manifestJSON: manifest, archiveHeader: [0, 255, 0], seekTable: [], rawByteCount: 1 << 40,
            archiveByteCount: 12345, dataByteCount: 0, createdAt: 1_795_140_000)
    }
}

extension UploadRecord {
    static func sample() throws -> UploadRecord {
        UploadRecord(
            backend: try ResourceName("local"), archiveKey: "acme/web01/x/disk.raw.zst.age",
            manifestKey: "acme/web01/x/disk.manifest.age", uploadIdentifier: "", startedAt: 1_795_140_000,
            ownerProcess: 4711, ownerStartTicks: 1 << 40, ownerBootIdentifier: "boot")
    }
}

extension StagingFolder {
    /// Its names, as a value that can be made and compared.
    static func of(_ backend: ResourceName, _ org: ResourceName, _ vm: ResourceName?) -> [String] {
        [backend.description, org.description, vm?.description ?? "-"]
    }
}
