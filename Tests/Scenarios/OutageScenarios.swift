import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    /// The network to a bucket ends under load and comes back. Meanwhile all that does not need it is quick, whoever needs it has
    /// an error in time, and afterwards everything works with nobody doing anything.
    @Suite("An outage under load, over S3", .serialized)
    struct Outages {
        private static func settings(uploadPatience: Int) -> String {
            """
            connect_seconds = 2
            stall_seconds = 3
            patience_seconds = 10
            upload = { part_size = "16MiB", patience_seconds = \(uploadPatience) }
            """
        }

        /// A mount of four backends, three of them in one bucket: `local` and `brief` behind the lab, of which the second does not
        /// ride through an outage, and `there`; and the folder `here`.
        private func withBench(_ body: (MountBench, LabProxy, BenchBucket) throws -> Void) throws {
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: 3)
            defer { lab.stop() }
            let bench = try MountBench(
                mounts: false, on: .ceph, through: lab, bucketSettings: Self.settings(uploadPatience: 300))
            let bucket = try #require(bench.bucket)
            try bench.run(
                """
                mkdir here
                cat >> c.toml <<'END'
                [backends.brief]
                type = "s3"
                endpoint = "\(lab.endpoint)"
                bucket = "\(bucket.name)"
                prefix = "brief"
                region = "\(bucket.server.region)"
                credentials_file = "credentials"
                \(Self.settings(uploadPatience: 6))
                [backends.there]
                type = "s3"
                endpoint = "\(bucket.server.endpoint)"
                bucket = "\(bucket.name)"
                prefix = "there"
                region = "\(bucket.server.region)"
                credentials_file = "credentials"
                [backends.here]
                type = "directory"
                path = "here"
                [cache]
                disk = 0
                END
                """)
            try bench.startMount()
            try bench.run("mkdir -p mnt/staging/{local,brief,here,there}/acme/web")
            try body(bench, lab, bucket)
        }

        private func expectNothingLeft(_ bench: MountBench, _ bucket: BenchBucket, _ backupCount: Int) throws {
            try bench.run("sleep 1; holdfast backend gc --days 0 --config c.toml")
            #expect(try bucket.unfinishedUploads() == [])
            #expect(try bench.run("sqlite3 state/catalog.sqlite 'select count(*) from upload'") == "0")
            let keys = try bucket.keys().filter { !$0.contains("/.catalog/") }
            #expect(keys.count == 2 * backupCount, "\(keys)")
        }

        struct Cut: Sendable, CustomTestStringConvertible {
            let network: LabProxy.Network
            let seconds: Int
            var testDescription: String { "\(network) for \(seconds) s" }
        }

        @Test(
            .timeLimit(.minutes(5)),
            arguments: [Cut(network: .dead, seconds: 60), Cut(network: .refusing, seconds: 15)]
        )
        func `everything else goes on, who waits has an error in time, and then all works again`(cut: Cut) throws {
            try withBench { bench, lab, bucket in
                _ = try bench.makeImage("a.raw", mebibytes: 96)
                _ = try bench.makeImage("small.raw", mebibytes: 4, seed: 2)
                try bench.run(
                    """
                    cp a.raw '\(bench.staging)/disk.raw' && cp small.raw '\(bench.staging)/small.raw'
                    cp small.raw mnt/staging/here/acme/web/small.raw && cp small.raw mnt/staging/brief/acme/web/small.raw
                    cmp small.raw '\(bench.latest)/small.raw' && cmp small.raw mnt/here/acme/web/latest/small.raw
                    ln -s "$(readlink -f mnt/local/acme/web/2*/disk.raw)" big
                    ln -s "$(readlink -f mnt/local/acme/web/2*/small.raw)" small
                    """)
                let filesBefore = try bench.openFiles
                // So narrow that both uploads and the reader are under way for a quarter of a minute.
                try lab.setLink(bitsPerSecond: 50e6)
                try bench.start("up", "cp a.raw mnt/staging/local/acme/web/up.raw")
                try bench.start("brief", "cp a.raw mnt/staging/brief/acme/web/up.raw")
                try bench.start("dd", "dd if=big of=dd.out bs=1M")
                try bench.run("sleep 2; ! ls *.status")
                try lab.setNetwork(cut.network)
                let during = try bench.python(Self.during(seconds: cut.seconds), seconds: cut.seconds + 60)
                print(during.output)
                #expect(during.status == 0, "\(during)")
                #expect(try bench.run("cat brief.status") == "1")
                #expect(try bench.run("cat mnt/staging/brief/acme/web/up.raw.status").contains("state: failed"))
                #expect(try bench.shell("test -e up.status").status != 0, "the patient upload has ended")
                #expect(try bench.run("cat dd.status") == "1")
                try bench.run("cmp -n \"$(stat -c %s dd.out)\" a.raw dd.out")

                try lab.setNetwork(.working)
                try lab.setLink()
                let first = try bench.python(
                    """
                    o=60<<20; f=os.open('big',os.O_RDONLY); good=open('a.raw','rb').read()
                    t=time.monotonic(); got=os.pread(f,1<<20,o); t=time.monotonic()-t
                    if got!=good[o:o+(1<<20)]: sys.exit('wrong bytes')
                    if t>10: sys.exit(f'the first read took {t} s')
                    """)
                #expect(first.status == 0, "\(first)")
                try bench.run("cmp a.raw big")
                #expect(
                    try bench.run("timeout 60 bash -c 'until test -s up.status; do sleep 0.1; done'; cat up.status")
                        == "0")
                try bench.run("cmp a.raw mnt/staging/local/acme/web/up.raw")
                try bench.run(
                    """
                    cp small.raw mnt/staging/brief/acme/web/again.raw
                    cmp small.raw mnt/staging/brief/acme/web/again.raw
                    jq -e 'all(.backends[]; .there) and .backends[2].outages == 1' mnt/status.json
                    """)
                #expect(try bench.openFiles <= filesBefore + 2, "files stay open")
                let peak = try bench.peakMemory
                print("peak memory of the daemon: \(peak >> 20) MiB")
                #expect(peak <= 256 << 20)
                #expect(try bench.backups.count == 7)
                try bench.unmount()
                try expectNothingLeft(bench, bucket, 6)
            }
        }

        /// What is done while the network is away; problems are its output.
        private static func during(seconds: Int) -> String {
            """
            import json,random,subprocess,threading
            began=time.monotonic(); problems=[]; r=random.Random(1)
            good=open('a.raw','rb').read(); small=open('small.raw','rb').read()
            def since(): return time.monotonic()-began
            def read(f,n,o,limit):
                t=time.monotonic()
                try:
                    if os.pread(f,n,o)!=good[o:o+n]: problems.append(f'wrong bytes at {o}')
                    else: return 'read'
                except OSError as e:
                    if e.errno not in (errno.EIO,errno.ETIMEDOUT): problems.append(f'errno {e.errno}')
                t=time.monotonic()-t
                if t>limit: problems.append(f'a read ended after {t} s')
                return 'failed'
            big=os.open('big',os.O_RDONLY); said=[]
            # Each other MiB is noise; the rest needs no network.
            offsets=[(r.randrange(22,48)*2<<20)+r.randrange((1<<20)-4096) for i in range(200)]
            readers=[threading.Thread(target=lambda o=o: said.append(read(big,4096,o,18))) for o in offsets]
            for t in readers: t.start()
            time.sleep(1)
            dd=subprocess.Popen(['dd','if=big','of=/dev/null','bs=64k','skip=1472','count=1'],stderr=subprocess.DEVNULL)
            time.sleep(1)
            if dd.poll() is not None: problems.append('dd did not wait')
            t=time.monotonic(); dd.send_signal(signal.SIGINT); dd.wait(20); t=time.monotonic()-t
            if t>1: problems.append(f'dd ended {t} s after its interrupt')
            took={}
            def timed(what,work):
                t=time.monotonic(); work(); took.setdefault(what,[]).append(time.monotonic()-t)
            def same(path):
                if open(path,'rb').read()!=small: problems.append(f'{path} is not right')
            def status():
                says={b['name']: b for b in json.load(open('mnt/status.json'))['backends']}
                if not says['here']['there']: problems.append('the folder is away')
                if since()>12:
                    if says['local']['there'] or not says['local']['last_problem']: problems.append(f'status: {says["local"]}')
            late=None; other=None
            def store():
                t=time.monotonic(); end=subprocess.run(['cp','a.raw','mnt/staging/there/acme/web/up.raw']).returncode
                print('stored elsewhere in',round(time.monotonic()-t,1),'s')
                if end: problems.append('no backup can be made elsewhere')
            while since()<\(seconds):
                timed('ls',lambda: [os.listdir(p) for p in ('mnt','mnt/local/acme/web',os.path.dirname(os.path.realpath('big')))])
                timed('stat',lambda: os.stat('big'))
                timed('cached',lambda: same('small'))
                timed('other',lambda: same('mnt/here/acme/web/latest/small.raw'))
                timed('status',status)
                # Who comes when it has lasted for longer than he would wait is told soon.
                if since()>\(seconds)-6 and late is None:
                    late=threading.Thread(target=lambda: said.append(read(big,4096,94<<20,9))); late.start()
                # As soon as the upload without patience has given its memory back.
                if since()>6 and other is None and os.path.exists('brief.status'):
                    other=threading.Thread(target=store); other.start()
                time.sleep(0.3)
            for t in readers+[late,other]: t.join(30)
            if len(said)!=201: problems.append(f'{201-len(said)} readers still wait')
            if said.count('failed')<150: problems.append(f'only {said.count("failed")} reads failed')
            for what,times in took.items():
                print(what,len(times),'times, the slowest',round(max(times),3),'s')
                if max(times)>1: problems.append(f'{what} took {max(times)} s')
            for what in sorted(set(problems)): print(what)
            sys.exit(1 if problems else 0)
            """
        }

        @Test(.timeLimit(.minutes(4)))
        func `the mount ends in the middle of an outage, whoever waits for the store`() throws {
            try withBench { bench, lab, bucket in
                _ = try bench.makeImage("a.raw", mebibytes: 48)
                try bench.run(
                    "cp a.raw '\(bench.staging)/disk.raw'; ln -s \"$(readlink -f mnt/local/acme/web/2*/disk.raw)\" big")
                let ends: [(network: LabProxy.Network, after: Double, way: String)] = [
                    (.dead, 0.5, "kill -TERM"), (.dead, 6, "kill -TERM"), (.refusing, 3, "kill -TERM"),
                    (.dead, 2, "umount -f -l mnt; :"),
                ]
                for (index, end) in ends.enumerated() {
                    let what = "\(end.network), after \(end.after) s, \(end.way)"
                    try lab.setLink(bitsPerSecond: 50e6)
                    try bench.run("rm -f *.status; mkdir -p mnt/staging/{local,brief}/acme/web")
                    try bench.start("up", "cp a.raw mnt/staging/local/acme/web/up\(index).raw")
                    try bench.start("dd", "dd if=big of=/dev/null bs=1M")
                    try bench.run("sleep 1; ! ls *.status")
                    try lab.setNetwork(end.network)
                    try bench.start("new", "cp a.raw mnt/staging/brief/acme/web/new\(index).raw")
                    try bench.start(
                        "readers",
                        "for i in $(seq 20); do dd if=big of=/dev/null bs=4k count=1 skip=$((i * 512)) & done; wait")
                    try bench.run("sleep \(end.after)")
                    let start = ContinuousClock.now
                    try bench.endDaemon(by: end.way)
                    let took = ContinuousClock.now - start
                    #expect(took < .seconds(5), "\(what): \(took)")
                    try bench.run("timeout 5 bash -c 'until test \"$(ls *.status | wc -l)\" = 4; do sleep 0.1; done'")
                    #expect(try bench.run("cat up.status new.status | sort -u") == "1", "\(what)")
                    try lab.setNetwork(.working)
                    try lab.setLink()
                    try bench.startMount()
                    try bench.run("cmp a.raw big")
                    #expect(try bench.backups.count == 1, "\(what)")
                }
                try bench.unmount()
                try expectNothingLeft(bench, bucket, 1)
            }
        }
    }
}
