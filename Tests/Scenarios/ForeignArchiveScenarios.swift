import Foundation
import Testing

extension Scenarios {
    /// What a shell pipeline has put at a backend, taken over.
    @Suite("Foreign archives, by the command and the mount")
    struct ForeignArchives {
        /// Puts `a.raw` at the backend as the pipeline does; returns the object's key.
        private func pipe(_ bench: MountBench, _ name: String = "old/web.zst.age") throws -> String {
            try bench.run(
                """
                mkdir -p backups/old && recipient=$(grep -o 'age1[0-9a-z]*' keys/acme.agekey)
                zstd -q -3 -c a.raw | age -r $recipient > 'backups/\(name)'
                """)
            return name
        }

        private let importing =
            "holdfast archive import --org acme --vm web --date 2025-06-01T03-00-00Z --config c.toml"

        @Test(.timeLimit(.minutes(2)))
        func `what zstd and age wrote is imported, mounted, read at random, restored and verified`() throws {
            let bench = try MountBench()
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            try bench.run("printf 'start=2048,size=20480\\nstart=22528\\n' | sfdisk -q a.raw")
            let object = try pipe(bench)
            let told = try bench.run("\(importing) \(object)")
            #expect(told.contains("imported    \(object) as local:acme/web/2025-06-01T03-00-00Z/disk"), "\(told)")
            #expect(try bench.shell("\(importing) \(object)").status == 12)
            // It appears in the mount; the archive is the object itself.
            try bench.run("cmp '\(bench.latest)/disk.raw.zst.age' backups/\(object)")
            #expect(try bench.run("ls '\(bench.latest)'").contains("disk.raw.p2"))
            #expect(try bench.shell("ls state/foreign/*.age").status != 0)
            // At random, from several at once; then all of it.
            try bench.run(
                """
                for at in 23 0 11 5 17; do
                    (dd if='\(bench.latest)/disk.raw' bs=1M skip=$at count=1 status=none | cmp - <(dd if=a.raw bs=1M skip=$at count=1 status=none)) &
                    jobs="$jobs $!"
                done
                for job in $jobs; do wait $job || exit 1; done
                cmp '\(bench.latest)/disk.raw' a.raw
                cmp '\(bench.latest)/disk.raw.p1' <(dd if=a.raw bs=512 skip=2048 count=20480 status=none)
                cd '\(bench.latest)' && sha256sum --quiet -c SHA256SUMS
                """)
            let copies = try bench.run("stat -c '%a %i' state/foreign/*.age")
            #expect(copies.split(separator: "\n").count == 2)
            #expect(copies.split(separator: "\n").allSatisfy { $0.hasPrefix("600 ") })
            // The copy is an archive that stock programs open.
            try bench.run("age -d -i keys/acme.agekey state/foreign/*.raw.zst.age | zstd -dc | cmp - a.raw")
            try bench.unmount()
            try bench.startMount()
            try bench.run("cmp '\(bench.latest)/disk.raw' a.raw")
            #expect(try bench.run("stat -c '%a %i' state/foreign/*.age") == copies)
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml && cmp out.raw a.raw")
            try bench.run("holdfast restore acme/web/latest - --stream --config c.toml 2>/dev/null | cmp - a.raw")
            for depth in ["--presence", "--archive", "--raw"] {
                try bench.run("holdfast verify \(depth) acme/web/latest --config c.toml")
            }
            try bench.unmount()
            // A bare machine.
            try bench.run(
                """
                rm -r state && holdfast catalog rebuild --config c.toml
                holdfast restore acme/web/latest again.raw --config c.toml && cmp again.raw a.raw
                """)
        }

        @Test(.timeLimit(.minutes(2)))
        func `an open that waits for its copy can be interrupted, and one that has no room says what to set`() throws {
            let bench = try MountBench(config: "[cache]\nforeign = \"1MiB\"")
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            try bench.run("\(importing) \(try pipe(bench))")
            let refused = try bench.shell("cat '\(bench.latest)/disk.raw' > /dev/null")
            #expect(refused.status != 0 && refused.output.contains("No space left"), "\(refused)")
            try bench.run("grep -q 'set `foreign` in \\[cache\\]' state/holdfast.log")
            #expect(try bench.shell("ls state/foreign/.*.tmp").status != 0)
            try bench.unmount()
            try bench.run("sed -i 's/^foreign.*/foreign = \"1GiB\"/' c.toml")
            try bench.startMount()
            // Another process holds the lock of those who make copies.
            try bench.start("lock", "flock state/foreign/lock sleep 8")
            try bench.run("for i in $(seq 50); do flock -n state/foreign/lock true || exit 0; sleep 0.1; done; exit 1")
            try bench.run(
                "SECONDS=0; timeout -s KILL 1 cat '\(bench.latest)/disk.raw' > /dev/null; test $? = 137 && test $SECONDS -lt 5"
            )
            // Then it is free, and the next one gets its copy.
            try bench.run("cmp '\(bench.latest)/disk.raw' a.raw")
            try bench.unmount()
        }
    }
}
