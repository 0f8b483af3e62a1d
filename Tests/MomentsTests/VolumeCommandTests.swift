import SystemIO
import Testing

@testable import Moments

@Suite("Commands of volume managers")
struct VolumeCommandTests {
    @Test func `LVM's answer names a volume, thick or thin, or nothing`() {
        let thick = VolumeCommands.LogicalVolume(group: "vg0", name: "web", isThin: false)
        #expect(VolumeCommands.parseLogicalVolume("  vg0|web|\n") == thick)
        let thin = VolumeCommands.LogicalVolume(group: "vg0", name: "web-data", isThin: true)
        #expect(VolumeCommands.parseLogicalVolume("  vg0|web-data|pool \n") == thin)
        for answer in ["", "\n", "  vg0|web", "  |web|", "vg0|a|\nvg0|b|\n", "  Failed to find logical volume"] {
            #expect(VolumeCommands.parseLogicalVolume(answer) == nil, "\(answer)")
        }
        #expect(
            VolumeCommands.lvmSnapshot(of: thick, as: "holdfast-moment-1") == [
                "lvcreate", "--snapshot", "--permission", "r", "--name", "holdfast-moment-1", "--extents", "10%ORIGIN",
                "--", "vg0/web",
            ])
        #expect(
            VolumeCommands.lvmSnapshot(of: thin, as: "holdfast-moment-1") == [
                "lvcreate", "--snapshot", "--permission", "r", "--name", "holdfast-moment-1", "--setactivationskip",
                "n", "--", "vg0/web-data",
            ])
        #expect(VolumeCommands.lvmPath(of: thin, snapshot: "holdfast-moment-1") == "/dev/vg0/holdfast-moment-1")
        #expect(
            VolumeCommands.lvmRemove("vg0/holdfast-moment-1") == ["lvremove", "--yes", "--", "vg0/holdfast-moment-1"])
        #expect(VolumeCommands.lvmQuery("/dev/vg0/web").suffix(2) == ["--", "/dev/vg0/web"])
        #expect(VolumeCommands.lvmExists("vg0/x").suffix(2) == ["--", "vg0/x"])
    }

    @Test func `ZFS snapshots a volume or data set, and clones it in the same pool`() {
        #expect(VolumeCommands.zfsVolume(ofDevice: "/dev/zvol/tank/vm/web") == "tank/vm/web")
        for path in ["/dev/zd0", "/dev/zvol/tank", "/dev/zvol/", "/srv/zvol/tank/web"] {
            #expect(VolumeCommands.zfsVolume(ofDevice: path) == nil, "\(path)")
        }
        #expect(
            VolumeCommands.zfsSnapshot("tank/vm@holdfast-moment-1") == ["zfs", "snapshot", "tank/vm@holdfast-moment-1"])
        #expect(VolumeCommands.zfsCloneName(of: "tank/vm/web", "holdfast-moment-1") == "tank/holdfast-moment-1")
        #expect(
            VolumeCommands.zfsClone(
                of: "tank/vm@holdfast-moment-1", as: "tank/holdfast-moment-1", on: "/x/holdfast-moment-1")
                == [
                    "zfs", "clone", "-o", "readonly=on", "-o", "mountpoint=/x/holdfast-moment-1",
                    "tank/vm@holdfast-moment-1", "tank/holdfast-moment-1",
                ])
        #expect(VolumeCommands.zfsClone(of: "t/v@s", as: "t/c", on: nil).count == 6)
        #expect(VolumeCommands.zfsDestroy("tank/holdfast-moment-1") == ["zfs", "destroy", "tank/holdfast-moment-1"])
    }

    @Test func `btrfs makes a read-only snapshot`() {
        #expect(
            VolumeCommands.btrfsSnapshot(of: "/srv", as: "/srv/.holdfast-moment-1") == [
                "btrfs", "subvolume", "snapshot", "-r", "/srv", "/srv/.holdfast-moment-1",
            ])
        #expect(VolumeCommands.btrfsDelete("/srv/.x") == ["btrfs", "subvolume", "delete", "/srv/.x"])
    }

    @Test func `the mount that a file is on is the longest, and of equals the last`() throws {
        let mountinfo = """
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
            40 22 0:35 / /srv rw - zfs tank/srv rw,xattr
            41 40 0:36 / /srv/a\\040b rw shared:7 master:2 - btrfs /dev/sdb rw
            42 40 0:37 / /srv/vm rw - zfs tank/old rw
            43 40 0:38 / /srv/vm rw - zfs tank/vm rw
            """
        func holding(_ path: String) -> String? { MountEntry.holding(path, mountinfo)?.source }
        #expect(holding("/etc/x") == "/dev/sda1" && holding("/srv/x") == "tank/srv")
        #expect(holding("/srv/a b/x") == "/dev/sdb" && holding("/srv/vm/x.raw") == "tank/vm")
        #expect(holding("/srv/vmx") == "tank/srv" && holding("/srvx") == "/dev/sda1")
        #expect(MountEntry(parsing: "1 2 3") == nil)
        #expect(MountEntry.holding("/srv/vm/x", "") == nil)
    }

    /// What stands in a note may have been changed by anybody who can write there; nothing but ours is ever removed.
    @Test func `only what bears our mark is ours`() {
        let mark = MomentTrace.mark
        let ours: [MomentTrace] = [
            .clone(path: "/srv/.\(mark)1.a.raw"), .btrfs(path: "/srv/.\(mark)1"), .lvm(volume: "vg/\(mark)1"),
            .zfs(snapshot: "t/a@\(mark)1", clone: "t/\(mark)1", mountpoint: nil),
            .zfs(snapshot: "t/a@\(mark)1", clone: "t/\(mark)1", mountpoint: "/s/\(mark)1"),
        ]
        for trace in ours { #expect(trace.isOurs, "\(trace)") }
        let others: [MomentTrace] = [
            .clone(path: "/srv/a.raw"), .clone(path: "\(mark)1"), .clone(path: "/srv/.\(mark)1/a.raw"),
            .btrfs(path: "/srv"), .lvm(volume: "vg/web"), .lvm(volume: ""),
            .zfs(snapshot: "t/a", clone: "t/\(mark)1", mountpoint: nil),
            .zfs(snapshot: "t/a@\(mark)1", clone: "t/a", mountpoint: nil),
            .zfs(snapshot: "t/a@\(mark)1", clone: "t/\(mark)1", mountpoint: "/home"),
        ]
        for trace in others { #expect(!trace.isOurs, "\(trace)") }
    }
}
