import Foundation
import Testing

extension Scenarios {
    @Suite("Losing the machine, the catalog, and holdfast itself", .serialized)
    struct Losses {
        /// The hash of an image that was backed up through the mount; nothing is mounted any more.
        private func backUp(_ bench: MountBench) throws -> String {
            _ = try bench.makeImage("a.raw", mebibytes: 9)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            try bench.unmount()
            return try bench.run("sha256sum < a.raw | cut -d' ' -f1")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `a bare machine with the key and one backend: rebuild, mount, restore`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            let hash = try backUp(bench)
            // Of the old machine there is the key, and of the configuration what says where the bucket is.
            try bench.run(
                """
                mkdir bare && cp keys/acme.agekey bare/ && rm -r state keys a.raw
                sed 's/^state_dir.*/state_dir = "bare-state"/; s/^keys_dir.*/keys_dir = "bare"/' c.toml > bare.toml
                """)
            let rebuilt = try bench.run("holdfast catalog rebuild --config bare.toml")
            #expect(rebuilt.hasPrefix("local: 1 registered, 0 known, 0 refused"), "\(rebuilt)")
            try bench.run("holdfast mount bare.toml mnt")
            let read = try bench.shell("sha256sum < '\(bench.latest)/disk.raw' | cut -d' ' -f1; umount mnt")
            #expect(read.status == 0 && read.output == hash, "\(read)")
            try bench.run("holdfast restore acme/web/latest out.raw --config bare.toml")
            #expect(try bench.run("sha256sum < out.raw | cut -d' ' -f1") == hash)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `no holdfast at all: stock age and zstd give the disk of a plain copy of the object`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            let hash = try backUp(bench)
            try bench.fetch(#require(bench.archives.first), as: "disk.raw.zst.age")
            try bench.fetch(#require(bench.sidecars.first), as: "disk.manifest.age")
            try bench.run("mkdir bare && mv disk.* keys/acme.agekey bare/ && rm -r state keys c.toml a.raw")
            // Programs of the distribution only, and nothing but these three files.
            try bench.run(
                """
                cd bare && env -i PATH=/usr/bin:/bin bash -euo pipefail -c '
                ! command -v holdfast
                age -d -i acme.agekey disk.raw.zst.age | zstd -dq > disk.raw
                age -d -i acme.agekey disk.manifest.age > manifest.json
                test "$(sha256sum < disk.raw | cut -c1-64)" = "$(jq -r .raw_sha256 manifest.json)"
                test "$(sha256sum < disk.raw.zst.age | cut -c1-64)" = "$(jq -r .archive_sha256 manifest.json)"
                test "$(stat -c %s disk.raw)" = "$(jq -r .raw_size manifest.json)"'
                """)
            #expect(try bench.run("sha256sum < bare/disk.raw | cut -d' ' -f1") == hash)
        }

        @Test(.timeLimit(.minutes(2)))
        func `a damaged catalog is found at the start, kept, told and made anew`() throws {
            let bench = try MountBench()
            let hash = try backUp(bench)
            try bench.run(
                """
                sqlite3 state/catalog.sqlite 'PRAGMA wal_checkpoint(TRUNCATE)' > checkpoint
                page=$(sqlite3 state/catalog.sqlite "SELECT rootpage FROM sqlite_schema WHERE name = 'backup'")
                dd if=/dev/urandom of=state/catalog.sqlite bs=4096 seek=$((page - 1)) count=1 conv=notrunc status=none
                """)
            let refused = try bench.shell("holdfast catalog check --config c.toml")
            #expect(refused.status == 9 && refused.output.contains("--repair"), "\(refused)")
            #expect(try bench.shell("holdfast list --config c.toml").status == 9)
            // While the backend is away: nothing to make it of, and nothing is changed.
            try bench.run(
                "mv backups gone; ! holdfast catalog check --repair --config c.toml 2> away; grep -q backend away")
            try bench.run("! ls state | grep damaged; mv gone backups")
            let mounted = try bench.shell("holdfast mount c.toml mnt")
            #expect(mounted.status == 0 && mounted.output.contains("the catalog was damaged"), "\(mounted)")
            #expect(try bench.run("ls state | grep -c 'catalog.sqlite.damaged-[0-9TZ-]*$'") == "1")
            #expect(try bench.run("sha256sum < '\(bench.latest)/disk.raw' | cut -d' ' -f1") == hash)
            #expect(try bench.run("holdfast catalog check --config c.toml") == "the catalog is sound")
            try bench.run("grep -q 'is kept as .*damaged-' state/holdfast.log")
            // While it is mounted: neither the removal nor a repair by a command is lost on the mount.
            try bench.run("rm state/catalog.sqlite*")
            #expect(try bench.run("sha256sum < '\(bench.latest)/disk.raw' | cut -d' ' -f1") == hash)
            try bench.run("grep -q 'was removed while it was in use' state/holdfast.log")
            try bench.run("holdfast list --json --config c.toml | jq -e 'length == 1'")
            try bench.run("truncate -s 5000 state/catalog.sqlite; rm -f state/catalog.sqlite-*")
            let repaired = try bench.run("holdfast catalog check --repair --config c.toml")
            #expect(repaired.contains("the new one has 1 backups"), "\(repaired)")
            #expect(try bench.run("sha256sum < '\(bench.latest)/disk.raw' | cut -d' ' -f1") == hash)
            try bench.unmount()
        }

        @Test(.timeLimit(.minutes(2)))
        func `rebuild names the backups whose archives are gone, and leaves their rows`() throws {
            let bench = try MountBench()
            _ = try backUp(bench)
            for archive in try bench.archives { try bench.removeObject(archive) }
            let result = try bench.shell("holdfast catalog rebuild --config c.toml")
            #expect(result.status == 3 && result.output.contains("gone: local:acme/web/"), "\(result)")
            try bench.run("(holdfast catalog rebuild --json --config c.toml || true) | jq -e '.[0].gone | length == 1'")
            #expect(try bench.backups.count == 1)
        }
    }
}
