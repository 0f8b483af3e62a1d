/// The commands of the volume managers, as values: the program, then its arguments. Names are ours or come from the managers themselves, and
/// stand where no option is looked for.
enum VolumeCommands {
    typealias Command = [String]

    // MARK: btrfs, btrfs-subvolume(8)

    static func btrfsSnapshot(of subvolume: String, as snapshot: String) -> Command {
        ["btrfs", "subvolume", "snapshot", "-r", subvolume, snapshot]
    }

    static func btrfsDelete(_ snapshot: String) -> Command { ["btrfs", "subvolume", "delete", snapshot] }

    // MARK: LVM, lvs(8), lvcreate(8), lvremove(8)

    /// A volume of LVM.
    struct LogicalVolume: Hashable, Sendable {
        let group: String
        let name: String
        let isThin: Bool
    }

    static func lvmQuery(_ device: String) -> Command {
        ["lvs", "--noheadings", "--separator", "|", "--options", "vg_name,lv_name,pool_lv", "--", device]
    }

    /// The answer to `lvmQuery`; nil where it is none of one volume.
    static func parseLogicalVolume(_ answer: String) -> LogicalVolume? {
        let lines = answer.split(separator: "\n").map { line in line.drop { $0 == " " } }.filter { !$0.isEmpty }
        guard lines.count == 1 else { return nil }
        let fields = lines[0].split(separator: "|", omittingEmptySubsequences: false).map { field in
            String(field.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        guard fields.count == 3, !fields[0].isEmpty, !fields[1].isEmpty else { return nil }
        return LogicalVolume(group: fields[0], name: fields[1], isThin: !fields[2].isEmpty)
    }

    /// A thick one needs room for what the guest writes while it is read: a tenth of the volume. When that is used up its reads fail, and the
    /// backup with them.
    static func lvmSnapshot(of volume: LogicalVolume, as name: String) -> Command {
        var command = ["lvcreate", "--snapshot", "--permission", "r", "--name", name]
        command += volume.isThin ? ["--setactivationskip", "n"] : ["--extents", "10%ORIGIN"]
        return command + ["--", "\(volume.group)/\(volume.name)"]
    }

    static func lvmPath(of volume: LogicalVolume, snapshot name: String) -> String { "/dev/\(volume.group)/\(name)" }

    static func lvmExists(_ volume: String) -> Command {
        ["lvs", "--noheadings", "--options", "lv_name", "--", volume]
    }

    static func lvmRemove(_ volume: String) -> Command { ["lvremove", "--yes", "--", volume] }

    // MARK: ZFS, zfs-snapshot(8), zfs-clone(8), zfs-destroy(8)

    static func zfsSnapshot(_ snapshot: String) -> Command { ["zfs", "snapshot", snapshot] }

    /// The clone is in the same pool, which it has to be.
    static func zfsClone(of snapshot: String, as clone: String, on mountpoint: String?) -> Command {
        let mount = mountpoint.map { ["-o", "mountpoint=\($0)"] } ?? []
        return ["zfs", "clone", "-o", "readonly=on"] + mount + [snapshot, clone]
    }

    /// A clone named `name` beside nothing else: at the top of the dataset's pool.
    static func zfsCloneName(of dataset: String, _ name: String) -> String {
        "\(dataset.prefix { $0 != "/" })/\(name)"
    }

    static func zfsExists(_ name: String) -> Command { ["zfs", "list", "-H", "-t", "all", "-o", "name", name] }

    static func zfsDestroy(_ name: String) -> Command { ["zfs", "destroy", name] }

    /// The volume of a device as ZFS names its links, `/dev/zvol/POOL/VOLUME`; nil for others.
    static func zfsVolume(ofDevice path: String) -> String? {
        let prefix = "/dev/zvol/"
        guard path.hasPrefix(prefix), path.dropFirst(prefix.count).contains("/") else { return nil }
        return String(path.dropFirst(prefix.count))
    }
}
