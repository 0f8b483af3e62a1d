import Foundation
import Testing

extension Scenarios {
    @Suite("Keys: rotation, rewrapping, passphrases, other hosts", .serialized)
    struct Keys {
        /// Runs a program on a terminal of its own and answers each question with the next of the answers; `^C` is Ctrl-C.
        private static let terminal = """
            import os,pty,signal,sys
            signal.pthread_sigmask(signal.SIG_SETMASK,[]); signal.alarm(60)
            answers=sys.argv[1].split('|'); pid,fd=pty.fork()
            if pid==0: os.execvp('bash',['bash','-c',sys.argv[2]])
            seen=b''; shown=b''
            try:
                while True:
                    data=os.read(fd,1000)
                    if not data: break
                    seen+=data; shown+=data
                    if answers and seen.rstrip().endswith(b':'):
                        answer=answers.pop(0); seen=b''
                        os.write(fd,b'\\3' if answer=='^C' else answer.encode()+b'\\n')
            except OSError: pass
            sys.stdout.buffer.write(shown)
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
            """

        private func onTerminal(_ bench: MountBench, _ answers: String, _ line: String) throws -> ShellResult {
            try Self.terminal.write(toFile: bench.folder + "/terminal.py", atomically: true, encoding: .utf8)
            return try bench.shell("python3 terminal.py '\(answers)' \"\(line)\"")
        }

        private func recipients(_ bench: MountBench) throws -> [String] {
            try bench.run("holdfast keys show acme --json --config c.toml | jq -r '.identities[].recipient'")
                .split(separator: "\n").map(String.init)
        }

        @Test(.timeLimit(.minutes(3)), arguments: BenchPlace.usual)
        func `after rotation and rewrap the new key alone opens everything, and readers never notice`(place: BenchPlace)
            throws
        {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 24, seed: 1)
            _ = try bench.makeImage("b.raw", mebibytes: 26, seed: 2)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let first = try bench.run("readlink '\(bench.latest)'")
            try bench.run("holdfast keys rotate acme --config c.toml")
            try bench.run("sleep 1; cp b.raw '\(bench.staging)/disk.raw'")
            let keys = try recipients(bench)
            #expect(keys.count == 2)
            // Of two backups one is encrypted to the old key; nobody may take that away yet.
            #expect(try bench.shell("holdfast keys delete acme \(keys[1]) --config c.toml").status == 4)
            let plan = try bench.run("holdfast keys rewrap acme --dry-run --json --config c.toml | jq -r '.[].backup'")
            #expect(plan.hasSuffix("\(first)/disk") && !plan.contains("\n"))
            let before = try bench.archives
            try bench.start(
                "reader",
                """
                python3 -c "
                import os,time
                f=os.open('\(bench.mount)/local/acme/web/\(first)/disk.raw',os.O_RDONLY)
                g=os.open('\(bench.mount)/local/acme/web/\(first)/disk.raw.zst.age',os.O_RDONLY)
                size=os.fstat(g).st_size
                good=open('a.raw','rb').read()
                assert os.pread(f,4096,0)==good[:4096]
                open('opened','w').close()
                while not os.path.exists('moved'): time.sleep(0.05)
                data=b''
                while len(data)<len(good): data+=os.pread(f,1<<20,len(data))
                assert data==good
                archive=b''
                while len(archive)<size: archive+=os.pread(g,1<<20,len(archive))
                open('archive-as-opened','wb').write(archive)
                " 2> reader.errors
                """)
            try bench.run("while ! test -e opened; do sleep 0.05; done")
            try bench.fetch(#require(before.first { $0.contains(first) }), as: "old-archive")
            try bench.run("holdfast keys rewrap acme --config c.toml")
            try bench.run("touch moved; while ! test -e reader.status; do sleep 0.05; done")
            let errors = try bench.run("cat reader.errors")
            #expect(try bench.run("cat reader.status") == "0", "\(errors)")
            try bench.run("cmp old-archive archive-as-opened")
            #expect(try bench.archives.contains { $0.contains("/\(first)/generation-") })
            try bench.expectClean(2)
            // The old key goes, and stock age opens both archives with the one that is left.
            try bench.run("holdfast keys delete acme \(keys[1]) --config c.toml")
            #expect(try bench.run("grep -c AGE-SECRET-KEY keys/acme.agekey") == "1")
            for archive in try bench.archives {
                try bench.fetch(archive, as: "archive")
                let image = archive.contains(first) ? "a.raw" : "b.raw"
                try bench.run("age -d -i keys/acme.agekey archive | zstd -d | cmp - \(image)")
            }
            try bench.run(
                "cmp a.raw '\(bench.mount)/local/acme/web/\(first)/disk.raw' && cmp b.raw '\(bench.latest)/disk.raw'")
            try bench.run("cd '\(bench.mount)/local/acme/web/\(first)' && sha256sum -c SHA256SUMS")
            try bench.run("holdfast verify --raw acme/web/\(first) --config c.toml")
            #expect(try bench.run("holdfast keys rewrap acme --json --config c.toml | jq length") == "0")
            try bench.unmount()
            // Nothing but the key and the backend.
            try bench.run("rm -r state && holdfast catalog rebuild --config c.toml")
            try bench.run("holdfast restore acme/web/\(first) out --config c.toml && cmp out a.raw")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a key travels under a passphrase, to stock age and from it`() throws {
            let bench = try MountBench(mounts: false)
            try bench.run("holdfast keys rotate acme --config c.toml")
            let asked = try onTerminal(
                bench, "correct horse|correct horse", "holdfast keys export acme --passphrase --config c.toml > key.age"
            )
            #expect(asked.status == 0 && !asked.output.contains("horse"), "\(asked)")
            #expect(try bench.shell("grep -q AGE-SECRET-KEY key.age").status == 1)
            #expect(try onTerminal(bench, "correct horse", "age -d -o plain key.age").status == 0)
            try bench.run("cmp plain keys/acme.agekey")
            let slip = try onTerminal(
                bench, "one|two", "holdfast keys export acme --passphrase --config c.toml > other.age")
            #expect(slip.status == 4 && slip.output.contains("differ"), "\(slip)")
            // An interruption gives the terminal back as it was.
            let ended = try onTerminal(
                bench, "^C",
                "trap : INT; holdfast keys export acme --passphrase --config c.toml > other.age; stty -a")
            #expect(ended.output.contains(" echo ") && !ended.output.contains("-echo "), "\(ended)")
            // From a file or a descriptor where nobody sits at a terminal, and what is binary never to one.
            try bench.run(
                "echo 'correct horse' > words; holdfast keys export acme --passphrase-file words --config c.toml > two.age"
            )
            try bench.run("sed 's|\"keys\"|\"keys2\"|' c.toml > c2.toml")
            try bench.run("holdfast keys import acme two.age --passphrase-file /dev/fd/3 --config c2.toml 3< words")
            try bench.run("cmp keys/acme.agekey keys2/acme.agekey")
            let wrong = try bench.shell(
                "echo wrong > words2; holdfast keys import b two.age --passphrase-file words2 --config c2.toml")
            #expect(wrong.status == 4 && wrong.output.contains("does not open"), "\(wrong)")
            #expect(try bench.shell("setsid holdfast keys import b two.age --config c2.toml < /dev/null").status == 4)
            let shown = try onTerminal(bench, "", "holdfast keys export acme --passphrase-file words --config c.toml")
            #expect(shown.status == 64, "\(shown)")
            // And what `age -p` made of a key file.
            #expect(try onTerminal(bench, "my words|my words", "age -p -o stock.age keys/acme.agekey").status == 0)
            let imported = try onTerminal(bench, "my words", "holdfast keys import c stock.age --config c2.toml")
            #expect(imported.status == 0, "\(imported)")
            try bench.run("cmp keys/acme.agekey keys2/c.agekey")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a recovery recipient opens the backups with stock age, and keys show tells of it`() throws {
            let bench = try MountBench(mounts: false)
            try bench.run("age-keygen -o recovery.key 2>/dev/null; age-keygen -y recovery.key > recovery.pub")
            try bench.run(
                "printf '[orgs.acme]\\nrecovery_recipients = [\"%s\"]\\n' \"$(cat recovery.pub)\" >> c.toml")
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            try bench.fetch(#require(bench.archives.first), as: "archive")
            try bench.run("age -d -i recovery.key archive | zstd -d | cmp - a.raw")
            let recovery = try bench.run("cat recovery.pub")
            #expect(try bench.run("holdfast keys show acme --config c.toml").contains("recovery    \(recovery)"))
            #expect(
                try bench.run("holdfast keys show acme --json --config c.toml | jq -r '.recovery_recipients[0]'")
                    == recovery)
            // The key itself is lost: recovery opens the archive, and no holdfast without it believes a manifest.
            try bench.run("rm keys/acme.agekey && holdfast keys import acme recovery.key --config c.toml")
            #expect(try bench.shell("holdfast restore acme/web/latest out --config c.toml").status == 5)
            try bench.run("holdfast archive decode archive -i recovery.key 2>/dev/null | cmp - a.raw")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a write-only host goes on through a rotation`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 3, seed: 1)
            _ = try bench.makeImage("b.raw", mebibytes: 4, seed: 2)
            try bench.run("sed 's|\"keys\"|\"keys2\"|; s|\"state\"|\"state2\"|' c.toml > c2.toml")
            let give =
                "holdfast keys export --write-only acme --config c.toml | holdfast keys import acme - --config c2.toml"
            try bench.run(give)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c2.toml; sleep 1")
            try bench.run("holdfast keys rotate acme --config c.toml")
            #expect(try bench.shell("holdfast keys rotate acme --config c2.toml").status == 4)
            #expect(try bench.shell(give).status == 4)
            try bench.run(give.replacingOccurrences(of: "import", with: "import --add"))
            try bench.run("holdfast backup b.raw --org acme --vm web --config c2.toml")
            #expect(try bench.run("holdfast list --json --config c2.toml | jq length") == "2")
            try bench.run(
                "for name in $(holdfast list --json --config c2.toml | jq -r '.[].backup'); do holdfast verify --archive $name --config c2.toml || exit; done"
            )
            #expect(try bench.shell("holdfast restore acme/web/latest out --config c2.toml").status == 4)
            try bench.run("holdfast catalog rebuild --config c.toml")
            try bench.run("holdfast restore acme/web/latest out --config c.toml && cmp out b.raw && rm out")
            let first = try #require(bench.backups.first)
            try bench.run("holdfast restore \(first) out --config c.toml && cmp out a.raw")
        }
    }
}
