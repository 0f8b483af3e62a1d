import Foundation
import Testing

extension Scenarios {
    @Suite("The tree and the command", .serialized)
    struct Reading {
        private static let makeImage =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
                "../../contrib/make-image"
            ).path

        @Test(.timeLimit(.minutes(5)), arguments: BenchPlace.all)
        func `the tree shows images, partitions, hashes, attributes and holes`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            try bench.run("'\(Self.makeImage)' disk.img 96 20", seconds: 120)
            try bench.run("cp disk.img '\(bench.staging)/disk.raw'")
            try bench.run("cmp disk.img '\(bench.latest)/disk.raw'")
            #expect(
                try bench.run("cd '\(bench.latest)' && sha256sum -c SHA256SUMS") == "disk.raw: OK\ndisk.raw.zst.age: OK"
            )
            let raw = try bench.run("sha256sum < disk.img | cut -d' ' -f1")
            #expect(
                try bench.run(
                    "python3 -c \"import os; print(os.getxattr('\(bench.latest)/disk.raw','user.holdfast.raw_sha256').decode())\""
                ) == raw)
            #expect(try bench.run("jq -r .raw_sha256 '\(bench.latest)/manifest.json'") == raw)
            #expect(try bench.run("jq -r '.resources[0].backups' mnt/status.json") == "1")
            // Holes stay holes in a copy, and st_blocks says so before.
            try bench.run("cp --sparse=auto '\(bench.latest)/disk.raw' copy.raw && cmp copy.raw disk.img")
            try bench.run(
                "test $(stat -c %b '\(bench.latest)/disk.raw') -lt $((96*2048)) && test $(stat -c %b copy.raw) -lt $((96*2048))"
            )
            // A bucket has no size.
            if place == .directory { try bench.run("test $(stat -f -c %b mnt/local) -gt 1000") }
            try bench.run("mkdir part && mount -o ro,loop,noload '\(bench.latest)/disk.raw.p1' part")
            let files = try bench.shell("ls part/usr | head -3 && find part -type f | wc -l && umount part")
            #expect(files.status == 0, "\(files)")
            try bench.run("age -d -i keys/acme.agekey '\(bench.latest)/disk.raw.zst.age' | zstd -d | cmp - disk.img")
        }

        @Test(.timeLimit(.minutes(2)))
        func `everything but staging is read-only`() throws {
            let bench = try MountBench()
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let result = try bench.python(
                """
                raw='\(bench.latest)/disk.raw'
                folder=os.path.dirname(os.path.realpath(raw))
                for action in (lambda: os.open(raw,os.O_WRONLY), lambda: os.truncate(raw,0), lambda: os.unlink(raw),
                               lambda: os.mkdir(folder+'/x'), lambda: os.rename(raw,raw+'x'), lambda: os.chmod(raw,0o777),
                               lambda: os.open(folder+'/new',os.O_CREAT|os.O_WRONLY), lambda: os.rmdir(folder)):
                    try:
                        action(); sys.exit('done')
                    except OSError as e:
                        assert e.errno in (errno.EROFS,errno.EACCES), e
                """)
            #expect(result.status == 0, "\(result)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `readers in parallel, at random and in order, see the same bytes`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let result = try bench.python(
                """
                import random,threading
                good=open('a.raw','rb').read(); bad=[]
                def sequential():
                    with open('\(bench.latest)/disk.raw','rb') as f:
                        if f.read()!=good: bad.append('sequential')
                def scattered(seed):
                    r=random.Random(seed); f=os.open('\(bench.latest)/disk.raw',os.O_RDONLY)
                    for i in range(300):
                        o=r.randrange(len(good)); n=r.choice((1,512,4096,70000,1500000))
                        if os.pread(f,n,o)!=good[o:o+n]: bad.append((seed,o,n))
                threads=[threading.Thread(target=sequential) for i in range(3)]+[threading.Thread(target=scattered,args=(i,)) for i in range(4)]
                [t.start() for t in threads]; [t.join() for t in threads]
                assert not bad, bad
                """)
            #expect(result.status == 0, "\(result)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `backups by other processes appear without a remount, and the verbs agree`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            #expect(try bench.shell("ls mnt/local/acme").status != 0)
            let json = try bench.run("cat a.raw | holdfast backup - --org acme --vm web --json --config c.toml")
            #expect(json.contains("\"raw_size\": 5242880"))
            try bench.run("cmp a.raw '\(bench.latest)/disk.raw'")
            let shown = try bench.run("holdfast show acme/web/latest --json --config c.toml | jq -r .archive_sha256")
            #expect(
                try bench.run("holdfast verify acme/web/latest --json --config c.toml | jq -r .archive_sha256") == shown
            )
            #expect(try bench.run("sha256sum '\(bench.latest)/disk.raw.zst.age' | cut -d' ' -f1") == shown)
            try bench.fetch(#require(bench.archives.first), as: "archive")
            try bench.run("holdfast archive decode archive -i keys/acme.agekey 2>/dev/null | cmp - a.raw")
            try bench.run(
                "holdfast archive decode archive -i keys/acme.agekey -o decoded 2>/dev/null && cmp decoded a.raw")
            #expect(
                try bench.run("holdfast archive inspect archive -i keys/acme.agekey --json | jq .raw_size")
                    == "5242880")
            let missing = try bench.shell("holdfast show acme/web/2001-01-01T00-00-00Z --config c.toml")
            #expect(missing.status == 3, "\(missing)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `restore keeps holes, zeroes devices, and refuses targets that are small, in use or not empty`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(mounts: false, on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml && cmp a.raw out.raw")
            try bench.run("test $(stat -c %b out.raw) -le $((4*2048+64))")
            #expect(try bench.shell("holdfast restore acme/web/latest out.raw --config c.toml").status == 8)
            try bench.run("holdfast restore acme/web/latest out.raw --force --config c.toml && cmp a.raw out.raw")
            try bench.run(
                "truncate -s 7M small.dev; head -c 10M /dev/urandom > full.dev; mkfs.ext4 -q -F mounted.dev 12M; mkdir m"
            )
            let result = try bench.shell(
                """
                set -e
                small=$(losetup -f --show small.dev); full=$(losetup -f --show full.dev); held=$(losetup -f --show mounted.dev)
                trap 'umount m; losetup -d $small $full $held' EXIT
                mount $held m
                code() { local status=0; "$@" || status=$?; echo "code $status"; }
                code holdfast restore acme/web/latest $small --config c.toml
                code holdfast restore acme/web/latest $full --config c.toml
                code holdfast restore acme/web/latest $held --force --config c.toml
                code holdfast restore acme/web/latest $full --force --config c.toml
                cmp -n 8388608 $full a.raw && echo same
                """)
            let codes = result.output.split(separator: "\n").filter { $0.hasPrefix("code") || $0 == "same" }.map(
                String.init)
            #expect(codes == ["code 8", "code 8", "code 8", "code 0", "same"], "\(result)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a restore that is interrupted leaves nothing that looks like an image`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 96)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            var interrupted = 0
            for milliseconds in stride(from: 20, through: 600, by: 20) {
                // SIGKILL: nothing of ours runs after it.
                let delay = Double(milliseconds) / 1000
                let result = try bench.shell(
                    "timeout -s KILL \(delay) holdfast restore acme/web/latest out.raw --config c.toml")
                if result.status != 0 { interrupted += 1 }
                let isThere = FileManager.default.fileExists(atPath: bench.folder + "/out.raw")
                #expect(isThere || result.status != 0)
                if isThere { try bench.run("cmp a.raw out.raw && rm out.raw") }
            }
            #expect(interrupted > 0)
            try bench.run(
                "holdfast restore acme/web/latest out.raw --config c.toml && cmp a.raw out.raw && test ! -e out.raw.partial"
            )
        }

        @Test(.timeLimit(.minutes(2)))
        func `a result that cannot be written is no success`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            for line in [
                "backup a.raw --org acme --vm web --json", "list", "show acme/web/latest", "verify acme/web/latest",
            ] {
                let result = try bench.shell("holdfast \(line) --config c.toml > /dev/full")
                #expect(result.status == 1 && result.output.contains("standard output"), "\(line): \(result)")
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `mounts from fstab, with the usual options`() throws {
            let bench = try MountBench(mounts: false)
            let helper = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .appendingPathComponent("../../contrib/mount.fuse.holdfast").standardized.path
            let target = "/sbin/mount.fuse.holdfast"
            let isInstalled = FileManager.default.fileExists(atPath: target)
            if !isInstalled {
                try bench.run(
                    "sed 's|^program=.*|program=\(MountBench.program)|' '\(helper)' > \(target) && chmod 755 \(target)")
            }
            defer { if !isInstalled { try? FileManager.default.removeItem(atPath: target) } }
            try bench.run(
                "echo '\(bench.folder)/c.toml \(bench.mount) fuse.holdfast ro,allow_other,uid=1234,gid=1235,umask=077,nofail,x-test 0 0' > tab"
            )
            try bench.run("mount -a -T tab")
            #expect(try bench.run("stat -c '%u %g %a' mnt/local") == "1234 1235 700")
            #expect(try bench.shell("mkdir mnt/staging/local/acme").output.contains("Read-only file system"))
            try bench.unmount()
        }
    }
}
