import Foundation
import Testing

extension Scenarios {
    @Suite("Bad input and faults", .serialized)
    struct Faults {
        /// A bench with one backup of 5 MiB, unmounted.
        private func withBackup(on place: BenchPlace = .directory) throws -> MountBench {
            let bench = try MountBench(mounts: false, on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            return bench
        }

        private func expectFailure(
            _ bench: MountBench, _ line: String, _ status: Int32, _ text: String,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            let result = try bench.shell(line + " --config c.toml")
            #expect(result.status == status, "\(line): \(result)", sourceLocation: location)
            #expect(result.output.contains("error: "), "\(result)", sourceLocation: location)
            #expect(result.output.contains(text), "\(line): \(result)", sourceLocation: location)
        }

        @Test(.timeLimit(.minutes(2)))
        func `keys: none, a wrong one, one that others may read`() throws {
            let bench = try withBackup()
            try expectFailure(bench, "holdfast backup a.raw --org nobody --vm web", 4, "no key")
            try bench.run("chmod 644 keys/acme.agekey")
            try expectFailure(bench, "holdfast verify acme/web/latest", 4, "chmod 600")
            try bench.run("mv keys/acme.agekey kept; holdfast keys create acme --config c.toml")
            try expectFailure(bench, "holdfast restore acme/web/latest out", 5, "not authentic")
            try expectFailure(bench, "holdfast keys create acme", 4, "never overwritten")
            try bench.run("age-keygen -o other.key")
            let archive = try bench.run("find backups -name '*.zst.age'")
            let bare = try bench.shell("holdfast archive inspect '\(archive)' -i other.key")
            #expect(bare.status == 4, "\(bare)")
        }

        @Test(.timeLimit(.minutes(3)), arguments: BenchPlace.all)
        func `a flipped bit anywhere is named, and a restore touches nothing`(place: BenchPlace) throws {
            let bench = try withBackup(on: place)
            let archive = try #require(bench.archives.first)
            try bench.fetch(archive, as: "good")
            let size = try #require(Int(bench.run("echo old > out; stat -c %s good")))
            for offset in [3, 30, 190, 250, size / 2, size / 2 + 70_000, size - 10, size - 100] {
                try bench.run(
                    "python3 -c \"d=bytearray(open('good','rb').read()); d[\(offset)]^=4; open('bad','wb').write(d)\""
                )
                try bench.replace(archive, with: "bad")
                // What an earlier restore has kept on the disk is right, and would do.
                let result = try bench.shell(
                    "rm -rf state/cache; holdfast restore acme/web/latest out --force --config c.toml")
                #expect(result.status == 5, "byte \(offset): \(result)")
                #expect(try bench.run("cat out") == "old")
                #expect(try bench.shell("holdfast verify acme/web/latest --archive --config c.toml").status == 5)
            }
            for cut in [0, 100, 216, 70_000, size - 1] {
                try bench.run("head -c \(cut) good > bad")
                try bench.replace(archive, with: "bad")
                try expectFailure(bench, "holdfast restore acme/web/latest out --force", 5, "bytes")
            }
            try bench.replace(archive, with: "good")
            try bench.run("holdfast verify acme/web/latest --config c.toml")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `archives swapped within an org, or encrypted anew to the same key, are refused`(place: BenchPlace) throws
        {
            let bench = try withBackup(on: place)
            try bench.run("sleep 1; holdfast backup a.raw --org acme --vm web --config c.toml")
            let archives = try bench.archives
            try bench.fetch(archives[0], as: "x")
            try bench.fetch(archives[1], as: "y")
            try bench.replace(archives[0], with: "y")
            try bench.replace(archives[1], with: "x")
            try expectFailure(bench, "holdfast verify acme/web/latest", 5, "another archive")
            let recipient = try bench.run("holdfast keys show acme --json --config c.toml | jq -r .recipient")
            try bench.run("age -d -i keys/acme.agekey x | age -r \(recipient) > anew")
            try bench.replace(archives[0], with: "anew")
            let first = try bench.backups[0]
            try expectFailure(bench, "holdfast restore \(first) out", 5, "another archive")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `sidecars and catalog rows that were changed or lost are found out`(place: BenchPlace) throws {
            let bench = try withBackup(on: place)
            let sidecar = try #require(bench.sidecars.first)
            try bench.fetch(sidecar, as: "kept.age")
            for change in [
                "update backup set raw_size = raw_size + 1", "update backup_access set header = zeroblob(216)",
                "update backup_access set seek_table = zeroblob(100)",
                "update backup_access set manifest = cast(replace(cast(manifest as text), '\\\"disk\\\": \\\"disk\\\"', '\\\"disk\\\": \\\"dusk\\\"') as blob)",
            ] {
                try bench.run("cp state/catalog.sqlite kept.sqlite; sqlite3 state/catalog.sqlite \"\(change)\"")
                let result = try bench.shell("holdfast restore acme/web/latest out --config c.toml")
                #expect(result.status == 9 || result.status == 5, "\(change): \(result)")
                #expect(try bench.shell("test -e out").status != 0)
                // The catalog is made anew from the backend.
                let rebuilt = try bench.shell("holdfast catalog rebuild --config c.toml")
                #expect(rebuilt.status == 0, "\(change): \(rebuilt)")
                try bench.run("holdfast verify acme/web/latest --config c.toml")
            }
            try bench.run("rm -r state")
            try bench.removeObject(sidecar)
            try expectFailure(bench, "holdfast catalog rebuild", 5, "sidecar is missing")
            try bench.replace(sidecar, with: "kept.age")
            try bench.run("holdfast catalog rebuild --config c.toml")
            try bench.run("holdfast restore acme/web/latest out --config c.toml && cmp a.raw out")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a backend that is full, read-only or gone says so, loses nothing, and works again afterwards`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("small.raw", mebibytes: 3)
            _ = try bench.makeImage("large.raw", mebibytes: 40)
            try bench.run("mount -t tmpfs -o size=12M none backups")
            defer { _ = try? bench.shell("umount -l backups backups.away 2>/dev/null") }
            try bench.startMount()
            try bench.run("mkdir -p '\(bench.staging)' && cp small.raw '\(bench.staging)/disk.raw'")
            let full = try bench.shell("cp large.raw '\(bench.staging)/data.raw'")
            #expect(full.status != 0)
            #expect(try bench.run("cat '\(bench.staging)/data.raw.status'").contains("state: failed"))
            try expectFailure(bench, "holdfast backup large.raw --org acme --vm cli", 6, "space")
            try bench.expectClean(1)
            try bench.run("mount -o remount,ro backups")
            try expectFailure(bench, "holdfast backup small.raw --org acme --vm cli", 6, "Read-only")
            #expect(try bench.shell("cp small.raw '\(bench.staging)/data.raw'").status != 0)
            try bench.run("mount -o remount,rw backups && mv small.raw kept && cmp kept '\(bench.latest)/disk.raw'")
            // Gone: the folder itself is away.
            try bench.unmount()
            try bench.run("umount backups && rmdir backups")
            try expectFailure(bench, "holdfast verify acme/web/latest", 6, "No such file")
            try bench.startMount()
            #expect(try bench.shell("dd if='\(bench.latest)/disk.raw.zst.age' of=/dev/null bs=1M").status != 0)
            #expect(try bench.shell("ls '\(bench.latest)'").status == 0)
            try expectFailure(bench, "holdfast backup kept --org acme --vm cli", 6, "No such file")
            #expect(try bench.shell("test -e backups").status != 0, "a missing root must not be made")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a backend that vanishes while an image streams fails it, and what was there goes at the next start`()
            throws
        {
            let bench = try MountBench()
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                try:
                    for i in range(24):
                        os.write(f,os.urandom(1<<20))
                        if i==8: os.rename('backups','backups.away')
                    os.close(f)
                    sys.exit('no error')
                except OSError as e:
                    assert e.errno==errno.EIO, e
                """)
            #expect(result.status == 0, "\(result)")
            try bench.unmount()
            try bench.run("mv backups.away backups")
            try bench.startMount()
            try bench.expectClean(0)
        }

        @Test(.timeLimit(.minutes(2)))
        func `configuration errors name file, line and key; mount points are checked`() throws {
            let bench = try MountBench(mounts: false)
            try bench.run("(cat c.toml; echo 'colour = 3') > bad.toml")
            let unknown = try bench.shell("holdfast list --config bad.toml")
            #expect(
                unknown.status == 10 && unknown.output.contains("bad.toml:6: \"backends.local.colour\""), "\(unknown)")
            try bench.run("echo 'state_dir = ' > bad.toml")
            let syntax = try bench.shell("holdfast list --config bad.toml")
            #expect(syntax.status == 10 && syntax.output.contains("bad.toml:1"), "\(syntax)")
            #expect(try bench.shell("holdfast list --config none.toml").status == 10)
            try expectFailure(bench, "holdfast mount c.toml missing", 11, "No such file")
            try bench.run("touch mnt/x")
            try expectFailure(bench, "holdfast mount c.toml mnt", 11, "not empty")
            try bench.run("rm mnt/x")
            try bench.startMount()
            try expectFailure(bench, "holdfast mount c.toml mnt", 11, "already a mount point")
            try expectFailure(bench, "holdfast mount c.toml keys -o colour", 11, "unknown mount option")
        }

        @Test(.timeLimit(.minutes(3)), arguments: BenchPlace.usual)
        func `images of one byte, of odd sizes, and of 16 sparse GiB come back; an empty one is refused`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            for size in [1, 511, 513, 1_048_577] {
                try bench.run("head -c \(size) /dev/urandom > odd.raw")
                try bench.run(
                    "cp odd.raw '\(bench.staging)/d\(size).raw' && cmp odd.raw '\(bench.latest)/d\(size).raw'")
            }
            try expectFailure(bench, "holdfast backup /dev/null --org acme --vm cli", 7, "empty")
            try bench.run(": > empty.raw")
            try expectFailure(bench, "holdfast backup empty.raw --org acme --vm cli", 7, "empty")
            try bench.run("truncate -s 16G sparse.raw; printf data | dd of=sparse.raw bs=1M seek=9000 conv=notrunc")
            try bench.run("holdfast backup sparse.raw --org acme --vm big --config c.toml", seconds: 150)
            let copy = try bench.run(
                """
                f=mnt/local/acme/big/latest/disk.raw; stat -c '%s %b' $f
                python3 -c "
                import os
                f=os.open('$f',os.O_RDONLY)
                d=os.lseek(f,0,os.SEEK_DATA); print(d, os.lseek(f,d,os.SEEK_HOLE), os.pread(f,4,d))
                try: os.lseek(f,16<<30,os.SEEK_DATA)
                except OSError as e: print(e.errno)
                "
                """)
            #expect(
                copy.split(separator: "\n").map(String.init) == [
                    "17179869184 2048", "9437184000 9438232576 b'data'", "6",
                ])
        }
    }
}
