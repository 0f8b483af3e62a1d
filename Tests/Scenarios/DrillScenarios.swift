import Foundation
import Glibc
import Testing

extension Scenarios {
    @Suite("Drills and status", .serialized)
    struct Drills {
        /// `holdfast status` and its exit code.
        private func status(_ bench: MountBench, _ arguments: String = "") throws -> ShellResult {
            try bench.shell("holdfast status --config c.toml \(arguments)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a disk goes from overdue to drilled to failed, and command, mount and exit code agree`() throws {
            let bench = try MountBench(config: "[orgs.acme]\n[orgs.forgotten]")
            let empty = try status(bench)
            #expect(empty.status == 20 && empty.output.contains("forgotten"), "\(empty)")
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let fresh = try status(bench, "acme")
            #expect(fresh.status == 20 && fresh.output.contains("overdue: verify, drill"), "\(fresh)")
            #expect(fresh.output.contains("unknown"), "\(fresh)")

            let drill = try bench.run("holdfast drill --due --config c.toml")
            #expect(drill.contains("result      good"), "\(drill)")
            #expect(try bench.run("holdfast drill --due --config c.toml") == "no drill is due")
            let good = try status(bench, "acme/web")
            #expect(good.status == 0 && good.output.contains("measured"), "\(good)")

            // The same facts, but for the ages: RPO is told to the second.
            let facts = "del(.rpo_seconds) | del(.places[].rpo_seconds)"
            let said = try bench.shell("holdfast status --json --config c.toml | jq -S '.resources[0] | \(facts)'")
            let mounted = try bench.run("jq -S '.resources[0] | \(facts)' mnt/status.json")
            #expect(said.output == mounted && said.output.contains("\"rto_source\": \"measured\""), "\(said)")
            #expect(try bench.run("jq -r '.orgs_without_backup[]' mnt/status.json") == "forgotten")
            let metrics = "grep -E '^holdfast_disk_(rto|overdue|last_drill)' | sort"
            let printed = try bench.shell("holdfast status --prometheus --config c.toml | \(metrics)").output
            #expect(try printed == bench.run("cat mnt/metrics.prom | \(metrics)") && printed.contains("measured"))

            // Damage behind everybody's back: the next drill finds it, and its exit code is that of damage.
            let key = try #require(try bench.archives.first)
            try bench.run(
                "printf x | dd of='backups/\(key)' bs=1 seek=$(($(stat -c %s 'backups/\(key)') / 2)) conv=notrunc")
            let failed = try bench.shell("holdfast drill acme/web/latest --config c.toml")
            #expect(failed.status == 5 && failed.output.contains("result      damaged"), "\(failed)")
            let bad = try status(bench, "acme")
            #expect(bad.status == 21 && bad.output.contains("FAILED"), "\(bad)")
            #expect(try bench.run("jq -r '.resources[0].failures | length' mnt/status.json") == "2")
            #expect(try bench.run("jq -r '.resources[0].rpo_seconds' mnt/status.json") == "null", "no good backup")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a restore makes the RTO an estimate, and what cannot be asked for is said`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 4)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml")
            #expect(try status(bench).output.contains("estimated"))
            for (arguments, code) in [
                ("", 64), ("acme/web/latest --due", 64), ("--due --limit 0", 64), ("--due --scratch .", 64),
                ("--due --scratch . --cap 1GB", 64), ("acme/db/latest", 3), ("--org nobody", 3),
                ("--due --scratch absent --cap 1GiB", 8), ("--due --scratch . --cap 1MiB", 8),
            ] {
                let result = try bench.shell("holdfast drill \(arguments) --config c.toml")
                #expect(result.status == code && result.output.contains("rror: "), "\(arguments): \(result)")
            }
            #expect(try status(bench, "nobody").status == 3)
        }

        /// An image with a partition for each file system that has a checker, and one of swap.
        private func makePartitions(_ bench: MountBench) throws {
            try bench.run(
                """
                export PATH=$PATH:/usr/sbin:/sbin; truncate -s 400M a.raw
                printf '%s\\n' 'label: gpt' 'start=2048, size=32768' 'size=655360' 'size=32768' 'size=32768' 'size=8192' |
                    sfdisk -q a.raw
                part() { truncate -s $((${*: -1} * 512)) part; "${@:1:$#-2}" part >mkfs.log 2>&1 || { cat mkfs.log; return 1; }
                    dd if=part of=a.raw bs=512 seek=${*: -2:1} conv=notrunc,sparse status=none; rm part; }
                part mkfs.ext4 -q -O ^metadata_csum 2048 32768
                part mkfs.xfs -q 34816 655360
                part mkfs.vfat 690176 32768
                part mkfs.ntfs -q -F -s 512 -p 0 -H 0 -S 0 722944 32768
                part mkswap 755712 8192
                """)
        }

        @Test(.timeLimit(.minutes(2)))
        func `a drill looks into the file systems, through a mount that nothing is left of`() throws {
            let bench = try MountBench(mounts: false)
            try makePartitions(bench)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            let drill = "holdfast drill acme/web/latest --check fs --config c.toml"
            let found = try bench.run(
                "\(drill) --json | jq -r '.[0].checks[] | .check + \" \" + .file + \" \" + .outcome'")
            #expect(
                found.split(separator: "\n").map(String.init) == [
                    "e2fsck disk.raw.p1 good", "xfs_repair disk.raw.p2 good", "fsck.vfat disk.raw.p3 good",
                    "ntfsfix disk.raw.p4 good", "file system disk.raw.p5 not checked",
                ])
            #expect(try bench.run("ls -A state/run; grep -c $PWD /proc/mounts || true") == "0")

            // The file system was damaged before the backup: the restore is right, and what it brought back is not.
            try bench.run(
                """
                python3 -c "
                f=open('a.raw','r+b'); p=2048*512; f.seek(p+2048); b=int.from_bytes(f.read(4),'little')
                f.seek(p+b*1024); f.write(bytes(64))"; sleep 1
                holdfast backup a.raw --org acme --vm web --config c.toml
                """)
            let bad = try bench.shell(drill)
            #expect(bad.status == 21 && bad.output.contains("e2fsck of disk.raw.p1: bad"), "\(bad)")
            #expect(bad.output.contains("xfs_repair of disk.raw.p2: good"), "\(bad)")
            let run = try bench.run(
                "sqlite3 state/catalog.sqlite 'select outcome, checks from run order by id desc limit 1'")
            #expect(run.hasPrefix("checkFailed|{\"checks\":[") && run.contains("\"outcome\":\"bad\""), "\(run)")
            let said = try status(bench)
            #expect(said.status == 21 && said.output.contains("checkFailed"), "\(said)")
            #expect(said.output.contains("measured"), "the first drill's")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a file system without a partition table is checked as a whole, and a checker that is missing is said`()
            throws
        {
            let bench = try MountBench(mounts: false)
            try bench.run(
                "export PATH=$PATH:/usr/sbin; truncate -s 16M a.raw; mkfs.ext4 -q a.raw; holdfast backup a.raw --org acme --vm web --config c.toml"
            )
            let drill = "holdfast drill acme/web/latest --check fs --config c.toml"
            #expect(try bench.run(drill).contains("e2fsck of disk.raw: good"))
            // In a namespace where nothing is installed under that name.
            let missing = try bench.shell(
                "unshare -m bash -c 'mkdir none; for f in /usr/sbin/e2fsck /sbin/e2fsck; do mount --bind none $(dirname $f); done; \(drill)'"
            )
            #expect(missing.status == 0, "\(missing)")
            #expect(missing.output.contains("e2fsck of disk.raw: not checked"), "\(missing)")
            #expect(missing.output.contains("e2fsck is not installed"), "\(missing)")
        }

        @Test(.timeLimit(.minutes(1)), arguments: ["INT", "TERM", "KILL"])
        func `a drill that is ended while it looks leaves no mount and no process`(signal: String) throws {
            let bench = try MountBench(mounts: false)
            try makePartitions(bench)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            let ended = try bench.shell(
                """
                holdfast drill acme/web/latest --check fs --config c.toml & p=$!
                # Until the mount answers: one that is killed before fusermount3 has handed it over is left to the next drill.
                for i in {1..500}; do ls state/run/*/mnt/status.json >looks 2>&1 && break; sleep 0.01; done
                kill -\(signal) $p; wait $p; s=$?
                for i in {1..100}; do grep -q "$PWD/state/run" /proc/mounts || break; sleep 0.05; done
                grep -c "$PWD/state/run" /proc/mounts; exit $s
                """)
            #expect(ended.output.hasSuffix("0") && ended.status == (signal == "KILL" ? 137 : 12), "\(ended)")
            // The next one removes the empty folder that SIGKILL has left.
            try bench.run("holdfast drill acme/web/latest --check fs --config c.toml")
            #expect(try bench.run("ls -A state/run") == "")
            #expect(try bench.run("sqlite3 state/catalog.sqlite 'select count(*) from run'") == "1")
        }

        /// A disk whose boot sector writes a text to the first serial port and halts (`GuestBootTests` explains the code).
        private func makeBootDisk(_ bench: MountBench, saying text: String) throws {
            try bench.run(
                """
                python3 -c "
                out=lambda p,v: bytes([0xba,p&255,p>>8,0xb0,v,0xee])
                code=bytes.fromhex('fa31c08ed8')+out(0x3f9,0)+out(0x3fb,0x80)+out(0x3f8,1)+out(0x3f9,0)+out(0x3fb,3)
                loop=bytes.fromhex('ac84c0741288c4bafd03eca82074fb88e0baf803eeebe9f4ebfd')
                code+=bytes([0xbe])+(0x7c00+len(code)+3+len(loop)).to_bytes(2,'little')+loop+b'\(text)'+bytes(1)
                disk=bytearray(code.ljust(1<<20,bytes(1)))
                disk[446:462]=bytes.fromhex('800002008300000001000000ff070000'); disk[510:512]=b'\\x55\\xaa'
                open('boot.raw','wb').write(disk)"
                """)
        }

        @Test(
            .timeLimit(.minutes(3)),
            .enabled(if: access("/usr/bin/qemu-system-x86_64", X_OK) == 0, "QEMU is not installed"))
        func `a drill boots the disk, and one that does not say what is expected has failed`() throws {
            let bench = try MountBench(
                mounts: false,
                config: "[orgs.acme.drills]\nmemory = \"64MiB\"\n[orgs.acme.vms.web.drills]\nexpect = \"holdfast-ok\"")
            try makeBootDisk(bench, saying: "holdfast-ok")
            try bench.run("holdfast backup boot.raw --org acme --vm web --config c.toml")
            // By the configuration of the vm.
            let good = try bench.run(
                "holdfast drill --due --boot --boot-patience 60s --json --config c.toml | jq -r '.[0].checks[0] | .check, .outcome'",
                seconds: 100)
            #expect(good == "boot\ngood")
            #expect(try bench.run("holdfast status acme --config c.toml").contains("measured"))

            try makeBootDisk(bench, saying: "panic")
            try bench.run("holdfast backup boot.raw --org acme --vm db --config c.toml")
            let unasked = try bench.shell("holdfast drill acme/db/latest --boot --config c.toml")
            #expect(unasked.status == 64 && unasked.output.contains("--expect"), "\(unasked)")
            let bad = try bench.shell(
                "holdfast drill acme/db/latest --boot --expect holdfast-ok --boot-patience 3s --config c.toml",
                seconds: 100)
            #expect(bad.status == 21 && bad.output.contains("boot of disk.raw: bad"), "\(bad)")
            #expect(bad.output.contains("no output and no read"), "\(bad)")
            // Nothing is left: no overlay, no mount, no QEMU.
            #expect(try bench.run("ls -A state/run; grep -c $PWD /proc/mounts || true") == "0")
            #expect(try bench.run("ls /dev/shm | grep holdfast-boot- | grep -vc -- -boot-\(getpid())- || true") == "0")
        }

        @Test(
            .timeLimit(.minutes(2)),
            .enabled(if: access("/usr/bin/qemu-system-x86_64", X_OK) == 0, "QEMU is not installed"),
            arguments: ["INT", "KILL"])
        func `QEMU ends with the drill, however that ends`(signal: String) throws {
            let bench = try MountBench(mounts: false)
            try makeBootDisk(bench, saying: "nothing much")
            try bench.run("holdfast backup boot.raw --org acme --vm web --config c.toml")
            // The guest's memory is no other's: it finds this QEMU among all.
            let memory = 64 + Int.random(in: 0..<64)
            let ended = try bench.shell(
                """
                count() { pgrep -c -f "^[^ ]*qemu-system-x86_64 .* -m \(memory)M .*file=./disk.raw"; }
                holdfast drill acme/web/latest --boot --expect x --memory \(memory)MiB --config c.toml & p=$!
                for i in {1..500}; do [[ $(count) -gt 0 ]] && break; sleep 0.02; done; echo "started $(count)"
                sleep 0.3; kill -\(signal) $p; wait $p; s=$?
                for i in {1..100}; do
                    [[ $(count) -eq 0 ]] && ! grep -q "$PWD/state/run" /proc/mounts && break; sleep 0.05; done
                echo "left $(count) $(grep -c "$PWD/state/run" /proc/mounts)"; exit $s
                """)
            #expect(ended.output.contains("started 1") && ended.output.hasSuffix("left 0 0"), "\(ended)")
            #expect(ended.status == (signal == "KILL" ? 137 : 12), "\(ended)")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a drill that is killed leaves nothing in its scratch folder`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 256)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml; mkdir scratch")
            var wasBusy = false
            for round in 0..<4 {
                let killed = try bench.shell(
                    "timeout -s KILL \(0.1 + Double(round) * 0.05) holdfast drill --org acme --scratch scratch --cap 1GiB --config c.toml"
                )
                // By the signal, or as timeout(1) tells of it.
                wasBusy = wasBusy || killed.status != 0
                #expect(try bench.run("ls -A scratch") == "")
            }
            #expect(wasBusy, "no drill was killed")
            try bench.run("holdfast drill --org acme --scratch scratch --cap 1GiB --config c.toml")
            #expect(try bench.run("ls -A scratch") == "")
        }
    }
}
