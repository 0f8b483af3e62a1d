import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    @Suite("Traces and warm-up", .serialized)
    struct WarmingUp {
        /// Reads here and there, the same each time.
        private static let session = """
            import random
            good=open('a.raw','rb').read(); r=random.Random(7)
            f=os.open('mnt/local/acme/web/latest/disk.raw',os.O_RDONLY)
            for i in range(6):
                o=r.randrange(len(good)-10000)
                assert os.pread(f,10000,o)==good[o:o+10000], o
            """

        @Test(.timeLimit(.minutes(3)))
        func `what a session read is recorded, and read ahead for the next one, which needs no store`() throws {
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: 3)
            defer { lab.stop() }
            let bench = try MountBench(
                on: .ceph, through: lab, bucketSettings: "connect_seconds = 1\nstall_seconds = 1\npatience_seconds = 2",
                config: "[cache]\ndisk = 0")
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            try bench.unmount()
            // A relative name; nothing has it before the unmount.
            try bench.run("holdfast mount -o record=boot.trace c.toml mnt && test -e boot.trace.partial")
            #expect(try bench.python(Self.session).status == 0)
            try bench.run("test ! -e boot.trace")
            try bench.unmount()
            try bench.run("test \"$(head -n 1 boot.trace)\" = 'holdfast trace 1' && test ! -e boot.trace.partial")
            let lines = Int(try bench.run("grep -c ' local/acme/web/.*/disk.raw$' boot.trace")) ?? 0
            #expect((3...12).contains(lines), "the kernel reads a little ahead, not everything: \(lines)")

            let image = try bench.run("tail -n 1 boot.trace | cut -d ' ' -f 3")
            try bench.run("printf 'holdfast trace 1\\n0 25165824 \(image)\\n' > whole.trace")

            // Under the mountpoint, and by the name of another image: the same one by another way.
            for target in ["mnt", "mnt/local/acme/web/latest/disk.raw"] {
                try bench.startMount()
                try lab.resetCounters()
                #expect(try bench.run("holdfast warmup boot.trace \(target)").hasPrefix("warmed "))
                let requests = try lab.counters().requests(.get)
                #expect(requests > 0 && requests <= lines + 2, "\(requests) requests for \(lines) parts")
                try lab.setNetwork(.dead)
                let warm = try bench.python(Self.session)
                #expect(warm.status == 0, "\(warm)")
                let cold = try bench.shell("holdfast warmup whole.trace \(target)")
                #expect(cold.status == 7 && cold.output.contains("error: "), "\(cold)")
                try lab.setNetwork(.working)
                try bench.run("holdfast warmup --jobs 4 whole.trace \(target)")
                try bench.unmount()
            }
        }

        @Test(.timeLimit(.minutes(1)))
        func `what cannot be recorded or replayed is an error that says so`() throws {
            let bench = try MountBench(mounts: false)
            for (option, words) in [("record=", "wants a file"), ("record=/absent/x", "/absent/x.partial")] {
                let mount = try bench.shell("holdfast mount -o \(option) c.toml mnt")
                #expect(
                    mount.status != 0 && mount.output.contains("error: ") && mount.output.contains(words), "\(mount)")
            }
            try bench.run("printf 'holdfast trace 1\\n0 1 a/b/c/d/e.raw\\n0 1 a/b/c/d/f.raw\\n' > two.trace; : > one")
            for (arguments, words) in [
                ("absent.trace mnt", "absent.trace"), ("c.toml mnt", "no trace of version 1"),
                ("two.trace one", "2 images"),
                ("two.trace absent", "no such"), ("two.trace mnt", "hint: name the image"),
            ] {
                let warmup = try bench.shell("holdfast warmup \(arguments)")
                #expect(warmup.status == 7 && warmup.output.contains(words), "\(warmup)")
            }
        }
    }
}
