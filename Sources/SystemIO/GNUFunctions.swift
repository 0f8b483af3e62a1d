import Glibc

/// The functions of glibc that its headers declare only under `_GNU_SOURCE`, which Swift's Glibc module is built
/// without, `prctl`, whose variable arguments Swift cannot call, and `mallopt` and those of extended attributes, whose headers are not part of
/// that module.
///
/// They are looked up by name once. All are in glibc 2.28 (2018), older than any Swift toolchain; were one missing, its
/// caller gets `ENOSYS`, which the callers handle like a file system that lacks the operation.
enum GNUFunctions {
    typealias RenameAt2 = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
    typealias Fallocate = @convention(c) (Int32, Int32, off_t, off_t) -> Int32
    typealias SyncFileRange = @convention(c) (Int32, off_t, off_t, UInt32) -> Int32

    typealias CopyFileRange =
        @convention(c) (
            Int32, UnsafeMutablePointer<off_t>, Int32, UnsafeMutablePointer<off_t>, Int, UInt32
        ) -> Int
    /// On Linux's calling conventions (x86-64, AArch64, RISC-V) whole numbers go the same way to a variadic function.
    typealias PRCtl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32

    typealias MemFDCreate = @convention(c) (UnsafePointer<CChar>, UInt32) -> Int32

    typealias MallOpt = @convention(c) (Int32, Int32) -> Int32

    typealias FListXAttr = @convention(c) (Int32, UnsafeMutablePointer<CChar>?, Int) -> Int
    typealias FGetXAttr =
        @convention(c) (Int32, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
    typealias FSetXAttr =
        @convention(c) (Int32, UnsafePointer<CChar>, UnsafeRawPointer?, Int, Int32) -> Int32

    /// prctl(2)
    static let prctl = dlsym(nil, "prctl").map { unsafeBitCast($0, to: PRCtl.self) }
    /// renameat2(2)
    static let renameat2 = dlsym(nil, "renameat2").map { unsafeBitCast($0, to: RenameAt2.self) }
    /// fallocate(2)
    static let fallocate = dlsym(nil, "fallocate").map { unsafeBitCast($0, to: Fallocate.self) }
    /// sync_file_range(2)
    static let syncFileRange = dlsym(nil, "sync_file_range").map { unsafeBitCast($0, to: SyncFileRange.self) }
    /// copy_file_range(2)
    static let copyFileRange = dlsym(nil, "copy_file_range").map { unsafeBitCast($0, to: CopyFileRange.self) }
    /// memfd_create(2)
    static let memfdCreate = dlsym(nil, "memfd_create").map { unsafeBitCast($0, to: MemFDCreate.self) }
    /// mallopt(3)
    static let mallopt = dlsym(nil, "mallopt").map { unsafeBitCast($0, to: MallOpt.self) }
    /// flistxattr(2)
    static let flistxattr = dlsym(nil, "flistxattr").map { unsafeBitCast($0, to: FListXAttr.self) }
    /// fgetxattr(2)
    static let fgetxattr = dlsym(nil, "fgetxattr").map { unsafeBitCast($0, to: FGetXAttr.self) }
    /// fsetxattr(2)
    static let fsetxattr = dlsym(nil, "fsetxattr").map { unsafeBitCast($0, to: FSetXAttr.self) }
}
