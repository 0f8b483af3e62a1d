import Foundation
import Testing

extension Scenarios {
    @Suite("Staging: when is it a backup?", .serialized)
    struct Staging {
        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `rule 1: close returns when the backup is committed, and the name stays readable`(place: BenchPlace) throws
        {
            let bench = try MountBench(on: place)
            let image = try bench.makeImage("a.raw", mebibytes: 9)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            try bench.expectClean(1)
            #expect(bench.status.contains("state: committed"))
            try bench.run("cmp '\(image)' '\(bench.staging)/disk.raw' && cmp '\(image)' '\(bench.latest)/disk.raw'")
            // Removing the name is not removing the backup.
            try bench.run("rm '\(bench.staging)/disk.raw'")
            try bench.expectClean(1)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `rule 2: what nothing was written to is no backup, and a shell's redirection is one`(place: BenchPlace)
            throws
        {
            let bench = try MountBench(on: place)
            try bench.run("touch '\(bench.staging)/disk.raw'; true > '\(bench.staging)/disk.raw'")
            try bench.expectClean(0)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            try bench.run("cat a.raw > '\(bench.staging)/disk.raw'")
            try bench.expectClean(1)
        }

        @Test(
            .timeLimit(.minutes(2)), arguments: ["os.kill(os.getpid(), 9)", "os._exit(3)", "os.kill(os.getpid(), 15)"],
            BenchPlace.usual)
        func `rule 3: a writer that dies aborts the backup`(death: String, place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.python("f=os.open(p,os.O_CREAT|os.O_WRONLY)\nos.write(f,b'x'*3000000)\n\(death)")
            try bench.expectClean(0, death)
            #expect(bench.status.contains("state: failed"))
            #expect(bench.status.contains("signal") || bench.status.contains("status 3"), "\(bench.status)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `rule 3 goes on while a script has the file open`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            let result = try bench.shell("(cat a.raw; exit 3) > '\(bench.staging)/disk.raw'")
            #expect(result.status == 3, "\(result)")
            try bench.expectClean(0)
            #expect(bench.status.contains("status 3"), "\(bench.status)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `rule 4: of a declared size exactly that much must come`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            let path = bench.staging + "/disk.raw"
            #expect(
                try bench.shell("truncate -s 4M '\(path)' && dd if=a.raw of='\(path)' bs=1M conv=notrunc").status != 0)
            try bench.expectClean(0)
            #expect(bench.status.contains("were declared"))
            #expect(
                try bench.shell("rm '\(path)'; truncate -s 2M '\(path)' && dd if=a.raw of='\(path)' bs=1M conv=notrunc")
                    .status != 0)
            try bench.expectClean(0)
            try bench.run("rm '\(path)'; fallocate -l 3M '\(path)' && dd if=a.raw of='\(path)' bs=1M conv=notrunc")
            try bench.expectClean(1)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `rule 5: an image that says it is longer, or was longer before, is refused`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            let path = bench.staging + "/disk.raw"
            try bench.run("truncate -s 16M gpt.raw && sgdisk -n 1:2048:0 gpt.raw")
            #expect(try bench.shell("head -c 9M gpt.raw | dd of='\(path)' bs=64k").status != 0)
            #expect(bench.status.contains("GPT backup header"), "\(bench.status)")
            try bench.run("mkfs.ext4 -q -F ext.raw 20M")
            #expect(try bench.shell("head -c 10M ext.raw | dd of='\(path)' bs=64k").status != 0)
            #expect(bench.status.contains("ext4"), "\(bench.status)")
            try bench.expectClean(0)
            try bench.run("dd if=gpt.raw of='\(path)' bs=1M")
            _ = try bench.makeImage("small.raw", mebibytes: 5)
            #expect(try bench.shell("dd if=small.raw of='\(path)' bs=1M").status != 0)
            #expect(bench.status.contains("last backup"), "\(bench.status)")
            try bench.expectClean(1)
            try bench.run("rm '\(path)'; truncate -s 5M '\(path)'; dd if=small.raw of='\(path)' bs=1M conv=notrunc")
            try bench.expectClean(2)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `rule 6: a dot name is uploaded, and registered by mv; rsync works`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("disk.raw", mebibytes: 5)
            try bench.run("dd if=disk.raw of='\(bench.staging)/.disk.raw' bs=1M")
            #expect(try bench.backups.isEmpty)
            try bench.run("cd '\(bench.staging)' && mv .disk.raw disk.raw")
            try bench.expectClean(1)
            try bench.run("cmp disk.raw '\(bench.latest)/disk.raw'")
            try bench.run("rm '\(bench.staging)/disk.raw'; sleep 1; rsync -a disk.raw '\(bench.staging)/'")
            try bench.expectClean(2)
            try bench.run("rm '\(bench.staging)/disk.raw'; sleep 1; rsync -aS disk.raw '\(bench.staging)/'")
            try bench.expectClean(3)
            try bench.run("cmp disk.raw '\(bench.latest)/disk.raw'")
            // Another disk's name, and one that is never renamed.
            try bench.run("cp disk.raw '\(bench.staging)/.disk.raw'")
            #expect(try bench.shell("cd '\(bench.staging)' && mv .disk.raw data.raw").status != 0)
            try bench.run("rm -f '\(bench.staging)/.disk.raw'")
            try bench.expectClean(3)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `rule 7: a write after the commit withdraws the backup and fails`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                os.write(f,b'x'*3000000)
                os.close(os.dup(f))
                assert 'committed' in open(p+'.status').read()
                try:
                    os.write(f,b'y')
                    sys.exit('written')
                except OSError as e:
                    assert e.errno==errno.EIO, e
                """)
            #expect(result.status == 0, "\(result)")
            try bench.expectClean(0)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `a child that closes its copy, and a parent that closes before its child writes, end nothing`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            let result = try bench.python(
                """
                import subprocess
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                image=os.urandom(6<<20)
                os.write(f,image[:3<<20])
                subprocess.run(['true'],check=True)                  # close-on-exec
                subprocess.run(['true'],check=True,pass_fds=[f])     # closed at its exit
                subprocess.run('kill -9 $$',shell=True,pass_fds=[f])
                assert 'streaming' in open(p+'.status').read()
                os.write(f,image[3<<20:])
                os.close(f)
                assert 'committed' in open(p+'.status').read()
                assert open(p,'rb').read()==image
                os.unlink(p)
                with open(p,'wb') as file: child=subprocess.Popen('sleep 0.3; exec cat',shell=True,stdin=subprocess.PIPE,stdout=file)
                child.communicate(image)
                assert child.returncode==0
                assert 'committed' in open(p+'.status').read()
                """)
            #expect(result.status == 0, "\(result)")
            try bench.expectClean(2)
        }

        @Test(.timeLimit(.minutes(1)))
        func `a daemon that may not see how a writer ended takes its end for a death, and its close for a close`()
            throws
        {
            let bench = try MountBench()
            try bench.unmount()
            try bench.startMount(by: "setpriv --bounding-set -sys_ptrace")
            let lines = ["kill -9 $$", "exit 0"].map { "printf a%.0s {1..99999} >&9; \($0)" }
            for line in lines {
                // The shell itself writes, and never closes.
                let result = try bench.shell("bash -c '\(line)' 9> '\(bench.staging)/disk.raw'")
                let status = try bench.run("cat '\(bench.staging)/disk.raw.status'")
                #expect(status.contains("state: failed") && status.contains("CAP_SYS_PTRACE"), "\(result) \(status)")
            }
            try bench.run("printf a%.0s {1..99999} > '\(bench.staging)/disk.raw'")
            #expect(try bench.run("cat '\(bench.staging)/disk.raw.status'").contains("state: committed"))
            #expect(try bench.backups.count == 1)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `rule 8: removing the file while it streams aborts the upload and leaves nothing`(place: BenchPlace) throws
        {
            let bench = try MountBench(on: place)
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                for i in range(6): os.write(f,os.urandom(1<<20))
                os.unlink(p)
                try:
                    os.write(f,b'y'*1000000)
                    os.close(f)
                    sys.exit('no error')
                except OSError as e:
                    assert e.errno==errno.EIO, e
                """)
            #expect(result.status == 0, "\(result)")
            try bench.expectClean(0)
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `a second writer is told that the name is busy`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                os.write(f,b'x'*1000000)
                for flags in (os.O_WRONLY, os.O_WRONLY|os.O_TRUNC):
                    try:
                        os.open(p,flags)
                        sys.exit('opened')
                    except OSError as e:
                        assert e.errno==errno.EBUSY, e
                os.close(f)
                """)
            #expect(result.status == 0, "\(result)")
            try bench.expectClean(1)
        }

        @Test(.timeLimit(.minutes(2)))
        func `an org without a key is refused at mkdir, and a backend nobody configured too`() throws {
            let bench = try MountBench()
            let result = try bench.python(
                """
                base=os.path.dirname(os.path.dirname(os.path.dirname(p)))
                for path,number in ((base+'/nobody',errno.ENOKEY),(os.path.dirname(base)+'/elsewhere',errno.EPERM)):
                    try:
                        os.mkdir(path)
                        sys.exit('made')
                    except OSError as e:
                        assert e.errno==number, e
                """)
            #expect(result.status == 0, "\(result)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `gaps are zeros, parallel writers are put into order, and a write behind the stream fails`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                blocks=[os.urandom(1<<18) for i in range(16)]
                for i in (3,1,0,2,7,5,6,4,11,8,10,9,15,14,12,13): os.pwrite(f,blocks[i],i<<18)
                os.pwrite(f,b'end',40<<20)
                os.fsync(f)
                os.close(f)
                data=open(p,'rb').read()
                assert data==b''.join(blocks)+bytes((40<<20)-(4<<20))+b'end'
                os.unlink(p)
                f=os.open(p,os.O_CREAT|os.O_WRONLY)
                for i in range(12): os.write(f,b'z'*(1<<20))
                try:
                    os.pwrite(f,b'late',5)
                    sys.exit('no error')
                except OSError as e:
                    assert e.errno==errno.EIO, e
                """)
            #expect(result.status == 0, "\(result)")
            try bench.expectClean(1)
            #expect(bench.status.contains("too late"), "\(bench.status)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `qemu-img converts straight into staging`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 12)
            try bench.run(
                "printf end >> a.raw; truncate -s 13M a.raw; printf x | dd of=a.raw bs=1 seek=13631487 conv=notrunc")
            try bench.run("qemu-img convert -f raw -O qcow2 a.raw a.qcow2")
            try bench.run("qemu-img convert -f qcow2 -O raw a.qcow2 '\(bench.staging)/disk.raw'")
            try bench.expectClean(1)
            try bench.run("cmp a.raw '\(bench.latest)/disk.raw'")
        }

        @Test(
            .timeLimit(.minutes(2)), arguments: ["kill -TERM %", "umount -l mnt; kill -TERM %"], BenchPlace.usual)
        func `the end of the mount gives a writer an error and leaves nothing`(ending: String, place: BenchPlace) throws
        {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let daemon = try bench.daemon
            let line = ending.replacingOccurrences(of: "%", with: "\(daemon)")
            let result = try bench.python(
                """
                f=os.open(p,os.O_CREAT|os.O_WRONLY|os.O_TRUNC)
                os.write(f,os.urandom(3<<20))
                os.system('\(line)')
                try:
                    for i in range(200):
                        os.write(f,os.urandom(1<<20)); time.sleep(0.02)
                    sys.exit('no error')
                except OSError as e:
                    pass
                """)
            #expect(result.status == 0, "\(result)")
            // It ends by itself, and not before what it gave up is gone.
            bench.waitForEnd(of: [daemon])
            try bench.killDaemon()
            try bench.expectClean(1)
        }

        @Test(.timeLimit(.minutes(1)))
        func `a command of ours that writes into staging fails when close fails`() throws {
            let bench = try MountBench()
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw' && cp '\(bench.latest)/disk.raw.zst.age' archive")
            let decode = "holdfast archive decode archive -i keys/acme.agekey"
            let target = "'\(bench.staging)/copy.raw'"
            let short = try bench.shell("truncate -s 4M \(target) && \(decode) 1<> \(target)")
            #expect(short.status == 1 && short.output.contains("error: standard output"), "\(short)")
            try bench.run("rm \(target) && \(decode) > \(target) && cmp a.raw \(target)")
            #expect(try bench.backups.count == 2)
        }
    }
}
