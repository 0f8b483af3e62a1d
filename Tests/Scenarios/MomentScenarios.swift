import Foundation
import Glibc
import Testing

extension Scenarios {
    /// Disks that are written to while they are backed up: real file systems on loop devices.
    @Suite("Sources that are written to", .serialized)
    struct MomentSources {
        /// Mounts a new file system on `fs`, and puts an image there, to which a process writes a rising number at the front and then
        /// at the end, without a pause.
        private func begin(_ bench: MountBench, _ make: String, holds body: String) throws -> String {
            try bench.run(
                """
                export PATH=$PATH:/usr/sbin:/sbin
                mkdir -p fs; truncate -s 500M fs.img; \(make) fs.img >mkfs.log 2>&1; mount -o loop fs.img fs
                # Children of this process's threads have SIGTERM blocked.
                trap 'kill -9 %1 2>/dev/null; wait; umount fs' EXIT
                head -c 96M /dev/urandom > fs/disk.raw
                cat > writer.py <<'PY'
                import mmap, os, struct
                f = os.open('fs/disk.raw', os.O_RDWR)
                end = os.fstat(f).st_size - 512
                n = 0
                while True:
                    n += 1
                    os.pwrite(f, struct.pack('<Q', n), 0)
                    os.pwrite(f, struct.pack('<Q', n), end)
                PY
                cat > look.py <<'PY'
                import struct, sys
                f = open(sys.argv[1], 'rb')
                first = struct.unpack('<Q', f.read(8))[0]
                f.seek(-512, 2)
                last = struct.unpack('<Q', f.read(8))[0]
                # Between the two writes the first is one ahead.
                print('one point' if first - last in (0, 1) and first > 0 else f'torn: {first} {last}')
                PY
                python3 writer.py & sleep 0.3
                \(body)
                """, seconds: 120)
        }

        @Test(
            .timeLimit(.minutes(3)),
            arguments: [
                ("mkfs.xfs -q", "auto", "reflink"), ("mkfs.btrfs -q", "auto", "reflink"),
                ("mkfs.btrfs -q", "btrfs", "btrfs"),
            ])
        func `the image that is taken is of one moment, and nothing stays beside the disk`(
            make: String, method: String, told: String
        ) throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench, make,
                holds: """
                    for i in 1 2 3; do
                        holdfast backup fs/disk.raw --org acme --vm web --config c.toml --require-consistency \
                            --consistency \(method) --json | jq -r .consistency
                        holdfast restore acme/web/latest out.raw --config c.toml --force >restore.log
                        python3 look.py out.raw
                    done
                    (holdfast status --json --config c.toml || true) | jq -r '.resources[0].consistency'
                    ls -A fs state/moments 2>/dev/null || true
                    """)
            let lines = output.split(separator: "\n").map(String.init)
            let expected = [told, "one point", told, "one point", told, "one point", told]
            #expect(Array(lines.prefix(7)) == expected, "\(output)")
            #expect(!output.contains("holdfast-moment"), "\(output)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `read as it is, the same disk is torn, and says so`() throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench, "mkfs.xfs -q",
                holds: """
                    holdfast backup fs/disk.raw --org acme --vm web --config c.toml --consistency none --json \
                        | jq -r .consistency
                    holdfast restore acme/web/latest out.raw --config c.toml >restore.log; python3 look.py out.raw
                    """)
            #expect(output.hasPrefix("none\ntorn: "), "\(output)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a qcow2 image is cloned beside its backing file, and the clone is gone afterwards`() throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench, "mkfs.xfs -q",
                holds: """
                    kill -9 %1; wait %1 || true
                    cd fs; qemu-img create -q -f qcow2 -b disk.raw -F raw top.qcow2; cd ..
                    qemu-io -f qcow2 -c 'write -P 7 1M 1M' fs/top.qcow2 >io.log
                    holdfast backup fs/top.qcow2 --org acme --vm web --config c.toml --require-consistency --json \
                        | jq -r .consistency
                    holdfast restore acme/web/latest out.raw --config c.toml >restore.log
                    qemu-img compare -f raw -F qcow2 out.raw fs/top.qcow2; ls -A fs state/moments
                    """)
            #expect(output.contains("reflink\nImages are identical."), "\(output)")
            #expect(!output.contains("holdfast-moment"), "\(output)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `what a killed backup left in the file system, the next one removes`() throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench, "mkfs.btrfs -q",
                holds: """
                    holdfast backup fs/disk.raw --org acme --vm web --config c.toml --consistency btrfs >b.log 2>&1 &
                    pid=$!
                    for i in $(seq 200); do ls -A fs | grep -q holdfast-moment && break; sleep 0.02; done
                    kill -9 $pid; wait $pid || true
                    ls -A fs | grep -c holdfast-moment; ls state/moments | wc -l
                    holdfast backup fs/disk.raw --org acme --vm web --config c.toml --consistency btrfs >b.log
                    ls -A fs | grep -c holdfast-moment || true; ls state/moments | wc -l
                    """)
            // The shell tells of its killed children as well.
            let counts = output.split(separator: "\n").filter { !$0.contains(" Killed ") }
            #expect(counts == ["1", "1", "0", "0"], "\(output)")
        }

        @Test(.timeLimit(.minutes(1)))
        func `where nothing can hold it still, that is said, and is an error before any work where it is required`()
            throws
        {
            let bench = try MountBench(mounts: false)
            // A file system that clones nothing.
            try bench.run("mkdir fs; mount -t tmpfs -o size=64m none fs; head -c 8M /dev/urandom > fs/disk.raw")
            defer { _ = try? bench.run("umount fs") }
            let backup = "holdfast backup fs/disk.raw --org acme --vm web --config c.toml"
            for method in ["auto", "reflink", "btrfs", "lvm", "zfs"] {
                let refused = try bench.shell("\(backup) --require-consistency --consistency \(method)")
                #expect(refused.status == 7 && refused.output.contains("consistent point is required"), "\(refused)")
            }
            #expect(try bench.archives.isEmpty)
            let told = try bench.shell("\(backup) --consistency auto")
            #expect(told.status == 0 && told.output.contains("cannot clone files"), "\(told)")
            let silent = try bench.shell("\(backup) --json | jq -r .consistency")
            #expect(silent.output == "none", "\(silent)")
            let status = try bench.shell(
                "(holdfast status --json --config c.toml || true) | jq -r '.resources[0].consistency'")
            #expect(status.output == "none", "\(status)")
            let piped = try bench.shell(
                "cat fs/disk.raw | holdfast backup - --org a --vm b --config c.toml --require-consistency")
            #expect(piped.status == 7, "\(piped)")
        }
    }
}
