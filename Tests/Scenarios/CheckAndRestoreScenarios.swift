import Foundation
import TestSupport
import Testing

extension Scenarios {
    /// What the command says of damage, and what it restores all the same.
    @Suite("Checks and restores, by the command")
    struct ChecksAndRestores {
        /// A bench with one backup of an image with partitions, and a second directory backend.
        private func makeBench(mounts: Bool = false, on place: BenchPlace = .directory) throws -> MountBench {
            let bench = try MountBench(
                mounts: mounts, on: place,
                config: "[backends.second]\ntype = \"directory\"\npath = \"second\"\n")
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            try bench.run("mkdir second && printf 'start=2048,size=20480\\nstart=22528\\n' | sfdisk -q a.raw")
            try bench.run("holdfast backup a.raw --org acme --vm web --backend local --config c.toml")
            return bench
        }

        /// Damages the archive of the folder `place` at an offset.
        private func flip(_ bench: MountBench, _ folder: String, at offset: Int) throws {
            try bench.run(
                """
                python3 -c "
                import glob
                f=open(glob.glob('\(folder)/acme/web/*/disk.raw.zst.age')[0],'r+b'); f.seek(\(offset)); b=f.read(1)
                f.seek(\(offset)); f.write(bytes([b[0]^1]))"
                """)
        }

        @Test(.timeLimit(.minutes(2)))
        func `damage is named by place and partition, remembered everywhere, and salvage restores the rest`() throws {
            let bench = try makeBench(mounts: true)
            try bench.run("holdfast verify --all --config c.toml && holdfast verify --presence acme --config c.toml")
            #expect(try bench.run("holdfast list --config c.toml").contains("raw 20"))
            // The third mebibyte of noise is at 4 MiB of the image, in the first partition.
            try flip(bench, "backups", at: 2_500_000)
            let verified = try bench.shell("holdfast verify acme/web/latest --config c.toml")
            #expect(verified.status == 5)
            #expect(verified.output.contains("BAD ") && verified.output.contains("in partition 1 at "), "\(verified)")
            let json = try bench.shell("holdfast verify acme/web/latest --json --config c.toml | jq -c .lost[0]")
            #expect(json.output.contains("\"partition\":1"), "\(json)")
            #expect(try bench.run("holdfast list --config c.toml").contains("BAD raw 20"))
            #expect(try bench.run("holdfast show acme/web/latest --config c.toml").contains("damaged"))
            #expect(
                try bench.run("jq -r '.checks[] | select(.depth==\"raw\") | .outcome' '\(bench.latest)/manifest.json'")
                    == "damaged")
            #expect(
                try bench.run(
                    "python3 -c \"import os; print(os.getxattr('\(bench.latest)/disk.raw','user.holdfast.check.raw').decode())\""
                ).hasPrefix("damaged 20"))
            #expect(try bench.shell("holdfast restore acme/web/latest out.raw --config c.toml").status == 5)
            let salvaged = try bench.shell("holdfast restore acme/web/latest out.raw --salvage --config c.toml")
            #expect(salvaged.status == 13 && salvaged.output.contains("INCOMPLETE"), "\(salvaged)")
            // One frame of zeros, all else as it was.
            try bench.run(
                """
                python3 -c "
                a=open('a.raw','rb').read(); b=open('out.raw','rb').read(); assert len(a)==len(b)
                bad=[i for i in range(24) if a[i<<20:(i+1)<<20]!=b[i<<20:(i+1)<<20]]
                assert 1<=len(bad)<=2 and all(not any(b[i<<20:(i+1)<<20]) for i in bad), bad"
                """)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `a replica heals reads through the mount, restores and checks`(place: BenchPlace) throws {
            let bench = try makeBench(mounts: true, on: place)
            try bench.run("holdfast backend copy acme/web --to second --config c.toml")
            #expect(try bench.backups.count == 2)
            try bench.fetch(#require(bench.archives.first), as: "archive")
            try bench.run(
                "python3 -c \"b=bytearray(open('archive','rb').read()); b[2500000]^=1; b[7000000]^=1; open('archive','wb').write(b)\""
            )
            try bench.replace(#require(bench.archives.first), with: "archive")
            try flip(bench, "second", at: 5_000_000)
            try bench.run("cmp a.raw '\(bench.latest)/disk.raw' && cmp a.raw mnt/second/acme/web/latest/disk.raw")
            #expect(try bench.run("jq .replicas.healed_ranges mnt/status.json") != "0")
            try bench.run("holdfast restore local:acme/web/latest out.raw --config c.toml && cmp a.raw out.raw")
            let verified = try bench.shell("holdfast verify local:acme/web/latest --config c.toml")
            #expect(verified.status == 5 && verified.output.contains("a replica has them"), "\(verified)")
            // One place damaged in both copies.
            try flip(bench, "second", at: 2_500_000)
            #expect(try bench.shell("holdfast restore local:acme/web/latest out2.raw --config c.toml").status == 5)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `a damaged archive is repaired from its replica, and the mount goes on`(place: BenchPlace) throws {
            let bench = try makeBench(mounts: true, on: place)
            try bench.run("holdfast backend copy acme/web --to second --config c.toml")
            let archive = try #require(bench.archives.first)
            try bench.fetch(archive, as: "archive")
            try bench.run(
                "python3 -c \"b=bytearray(open('archive','rb').read()); b[2500000]^=1; open('archive','wb').write(b)\"")
            try bench.replace(archive, with: "archive")
            try bench.run("exec 3< '\(bench.latest)/disk.raw'; head -c 1M <&3 >/dev/null")
            let repaired = try bench.shell("holdfast verify local:acme/web/latest --repair --config c.toml")
            #expect(repaired.status == 0 && repaired.output.contains("repaired    local:acme/web/"), "\(repaired)")
            #expect(repaired.output.contains("BAD  "), "what was found is said: \(repaired)")
            // From here on it has to be good by itself.
            try bench.run("rm -rf second/acme && cmp a.raw '\(bench.latest)/disk.raw'")
            try bench.run("holdfast verify local:acme/web/latest --config c.toml", seconds: 60)
            #expect(try bench.archives.count == 1 && bench.archives.first != archive)
            // Now there is no other copy, and that is what is said.
            let now = try #require(bench.archives.first)
            try bench.fetch(now, as: "archive")
            try bench.run(
                "python3 -c \"b=bytearray(open('archive','rb').read()); b[2500000]^=1; open('archive','wb').write(b)\"")
            try bench.replace(now, with: "archive")
            let failed = try bench.shell("holdfast verify local:acme/web/latest --repair --json --config c.toml 2>&1")
            #expect(failed.status == 5 && failed.output.contains("no copy has the archive's bytes"), "\(failed)")
        }

        @Test(.timeLimit(.minutes(2)), .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
        func
            `what was there is written over after one download, or two that were announced, and a replica stands in when the bucket is away`()
            throws
        {
            let lab = try LabProxy(to: S3Server.shared(.ceph))
            for (cache, downloads) in [("1GiB", 1), ("0", 2)] {
                let bench = try MountBench(
                    mounts: false, on: .ceph, through: lab, bucketSettings: "patience_seconds = 2",
                    config: "[cache]\ndisk = \"\(cache)\"\n[backends.second]\ntype = \"directory\"\npath = \"second\"\n"
                )
                _ = try bench.makeImage("a.raw", mebibytes: 24)
                try bench.run(
                    "mkdir second && holdfast backup a.raw --org acme --vm web --backend local --config c.toml")
                try bench.run("head -c 30M /dev/urandom > out.raw")
                try lab.resetCounters()
                let result = try bench.shell(
                    "holdfast restore acme/web/latest out.raw --force --config c.toml && cmp a.raw out.raw")
                #expect(result.status == 0, "\(result)")
                #expect(result.output.contains("fetched twice") == (downloads == 2), "\(result)")
                let fetched = try lab.counters().answerBodyBytes
                #expect(fetched > (downloads * 12 - 1) << 20 && fetched < (downloads * 12 + 2) << 20, "\(fetched)")
                guard downloads == 2 else { continue }
                try bench.run("holdfast backend copy acme --to second --config c.toml")
                try lab.setNetwork(.refusing)
                try bench.run(
                    "holdfast restore local:acme/web/latest other.raw --config c.toml && cmp a.raw other.raw",
                    seconds: 90)
                try lab.setNetwork(.working)
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `standard output gets the image, verified first or as it comes`() throws {
            let bench = try makeBench()
            try bench.run("holdfast restore acme/web/latest - --config c.toml 2>/dev/null | cmp - a.raw")
            try bench.run("holdfast restore acme/web/latest - --stream --config c.toml 2>/dev/null | cmp - a.raw")
            try flip(bench, "backups", at: 9_000_000)
            let verified = try bench.shell(
                "holdfast restore acme/web/latest - --config c.toml 2>/dev/null | wc -c; echo ${PIPESTATUS[0]}")
            #expect(verified.output == "0\n5", "nothing is written before everything is proven: \(verified)")
            let streamed = try bench.shell(
                "holdfast restore acme/web/latest - --stream --config c.toml 2>/dev/null >out; echo $?; cmp out a.raw")
            #expect(streamed.output.hasPrefix("5") && streamed.output.contains("EOF"), "\(streamed)")
            let closed = try bench.shell(
                "holdfast restore acme/web/latest - --stream --config c.toml | head -c 10 | wc -c")
            #expect(closed.output.contains("10"), "\(closed)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a device that a stream cannot finish has no partition table and no file system`() throws {
            let bench = try makeBench()
            try flip(bench, "backups", at: 9_000_000)
            let result = try bench.shell(
                """
                set -e
                head -c 30M /dev/urandom > dev.raw; dev=$(losetup -f --show dev.raw); trap 'losetup -d $dev' EXIT
                code=0; holdfast restore acme/web/latest $dev --stream --force --config c.toml || code=$?
                echo "code $code"
                python3 -c "
                d=open('$dev','rb').read()
                assert not any(d[:1<<20]) and not any(d[(23<<20):(24<<20)]) and any(d[24<<20:])"
                echo wiped
                holdfast restore acme/web/latest $dev --salvage --force --config c.toml || test $? = 13
                sfdisk -q -l $dev | wc -l
                """)
            #expect(result.output.contains("code 5") && result.output.contains("wiped"), "\(result)")
            #expect(result.output.hasSuffix("3"), "\(result)")
        }

        @Test(.timeLimit(.minutes(3)))
        func `a restore that is killed at any moment goes on with what it has`() throws {
            let bench = try makeBench()
            _ = try bench.makeImage("b.raw", mebibytes: 192)
            try bench.run("holdfast backup b.raw --org acme --vm big --backend local --config c.toml")
            var resumed = 0
            for milliseconds in stride(from: 100, through: 700, by: 60) {
                let delay = Double(milliseconds) / 1000
                _ = try bench.shell(
                    "timeout -s KILL \(delay) holdfast restore acme/big/latest out.raw --config c.toml")
                let json = try bench.run(
                    "rm -f out.raw; holdfast restore acme/big/latest out.raw --resume --json --config c.toml && cmp b.raw out.raw && rm out.raw && test ! -e out.raw.partial"
                )
                if !json.contains("\"resumed_bytes\": 0,") { resumed += 1 }
            }
            #expect(resumed > 0)
            #expect(try FileManager.default.contentsOfDirectory(atPath: bench.folder + "/state/restores").isEmpty)
        }
    }
}
