import BackupEngine
import DiskImage
import Foundation
import GuestChecks
import Testing

@Suite("Checkers of file systems")
struct FileSystemCheckerTests {
    private func outcome(_ kind: FileSystemKind, _ code: Int32, _ output: String = "") -> DrillCheck.Outcome? {
        FileSystemChecker(for: kind)?.outcome(exitCode: code, output: output)
    }

    @Test func `exit codes mean what their manual pages say`() {
        let (clean, journal) = (
            FileSystemKind.extended(needsRecovery: false), FileSystemKind.extended(needsRecovery: true)
        )
        #expect(outcome(clean, 0) == .good && outcome(clean, 4) == .bad && outcome(clean, 8) == .bad)
        #expect(outcome(clean, 12) == .bad && outcome(clean, 1) == .bad)
        #expect(outcome(journal, 0) == .needsRecovery && outcome(journal, 4) == .needsRecovery)
        #expect(outcome(journal, 8) == .bad && outcome(journal, 12) == .bad)
        let log = "ALERT: The filesystem has valuable metadata changes in a log which is being"
        #expect(outcome(.xfs, 0) == .good && outcome(.xfs, 1) == .bad && outcome(.xfs, 2) == .bad)
        #expect(outcome(.xfs, 1, log) == .needsRecovery && outcome(.xfs, 2, log) == .bad)
        #expect(outcome(.fat(isDirty: false), 0) == .good && outcome(.fat(isDirty: false), 1) == .bad)
        #expect(outcome(.fat(isDirty: true), 1) == .needsRecovery && outcome(.fat(isDirty: true), 2) == .bad)
        #expect(outcome(.ntfs, 0) == .good && outcome(.ntfs, 1) == .bad)
        #expect(outcome(.btrfs, 0) == .good && outcome(.btrfs, 1) == .bad)
        for kind in [FileSystemKind.swap, .luks, .logicalVolume] { #expect(FileSystemChecker(for: kind) == nil) }
    }

    /// Makes a file system with the real program, changes it by Python (`f` is the file), and checks it.
    private func check(_ make: String, mebibytes: Int, _ change: String = "") throws -> DrillCheck {
        let folder = NSTemporaryDirectory() + "holdfast-fs-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = [
            "60", "bash", "-ec",
            """
            export PATH=$PATH:/usr/sbin:/sbin; cd '\(folder)'; truncate -s \(mebibytes)M image; \(make)
            python3 - <<'P'
            f=open('image','r+b')
            \(change)
            P
            chmod 444 image
            """,
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return FileSystemCheck(
            in: folder, patience: .seconds(30),
            head: { file in
                let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: folder + "/" + file))
                return Array(try #require(try handle.read(upToCount: ImageHead.byteCount)))
            }, reads: { 0 }
        ).run("image")
    }

    @Test(
        .timeLimit(.minutes(2)),
        arguments: [
            ("mkfs.ext4 -q image", 16, "e2fsck"), ("mkfs.ext2 -q image", 8, "e2fsck"),
            ("mkfs.xfs -q image", 320, "xfs_repair"), ("mkfs.btrfs -q image", 128, "btrfs"),
            ("mkfs.ntfs -q -F -s 512 -p 0 -H 0 -S 0 image", 16, "ntfsfix"), ("mkfs.vfat image", 16, "fsck.vfat"),
            ("mkfs.vfat -F 32 image", 64, "fsck.vfat"),
        ])
    func `a file system that its own program has made is good`(make: String, mebibytes: Int, program: String) throws {
        let found = try check(make, mebibytes: mebibytes)
        #expect(found.check == program && found.outcome == .good && found.detail.isEmpty, "\(found)")
        #expect(found.file == "image" && found.milliseconds > 0)
    }

    @Test(
        .timeLimit(.minutes(2)),
        arguments: [
            // The bitmap of blocks, by the first group descriptor; the AGI of group 1; both FATs' first entries; the record of $MFT.
            (
                "mkfs.ext4 -q -O ^metadata_csum image", 16,
                "f.seek(2048 if f.seek(1024+24)*0+int.from_bytes(f.read(4),'little')==0 else 4096); b=int.from_bytes(f.read(4),'little'); f.seek(b*1024); f.write(b'\\0'*64)"
            ),
            (
                "mkfs.xfs -q image", 320,
                "f.seek(4); s=int.from_bytes(f.read(4),'big'); f.seek(84); a=int.from_bytes(f.read(4),'big'); f.seek(a*s+1024); f.write(b'bad!'*32)"
            ),
            (
                "mkfs.vfat image", 16,
                "f.seek(14); r=int.from_bytes(f.read(2),'little'); f.seek(r*512+8); f.write(b'\\xff\\xff\\x03\\0\\5\\0')"
            ),
            (
                "mkfs.ntfs -q -F -s 512 -p 0 -H 0 -S 0 image", 16,
                "f.seek(13); c=f.read(1)[0]*512; f.seek(48); m=int.from_bytes(f.read(8),'little'); f.seek(m*c+40); f.write(b'\\xde\\xad'*400)"
            ),
        ])
    func `damage in a file system is found`(make: String, mebibytes: Int, change: String) throws {
        let found = try check(make, mebibytes: mebibytes, change)
        #expect(found.outcome == .bad && found.detail.hasPrefix("exit code "), "\(found)")
        #expect(found.detail.utf8.count > 20 && found.detail.utf8.count < 5000)
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            // INCOMPAT_RECOVER, without a checksum that would notice; the mark of FAT16.
            (
                "mkfs.ext4 -q -O ^metadata_csum image", 16,
                "f.seek(1024+0x60); v=f.read(1)[0]; f.seek(1024+0x60); f.write(bytes([v|4]))"
            ),
            ("mkfs.vfat -F 16 image", 16, "f.seek(0x25); f.write(b'\\1')"),
        ])
    func `one that was mounted needs recovery, which is no damage`(make: String, mebibytes: Int, change: String) throws
    {
        let found = try check(make, mebibytes: mebibytes, change)
        #expect(found.outcome == .needsRecovery, "\(found)")
    }

    @Test(.timeLimit(.minutes(1)))
    func `what is no file system, or has no checker, is not checked`() throws {
        let none = try check("", mebibytes: 1)
        #expect(none.outcome == .notChecked && none.detail == "none that is known", "\(none)")
        let swap = try check("mkswap image", mebibytes: 4)
        #expect(swap.outcome == .notChecked && swap.detail == "swap has no checker", "\(swap)")
        let absent = FileSystemCheck(in: "/", head: { _ in throw CocoaError(.fileReadCorruptFile) }, reads: { 0 }).run(
            "image")
        #expect(absent.outcome == .bad && absent.detail.hasPrefix("cannot be read"))
    }
}
