// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Set by contrib/fuzz only: the fuzzer's program needs a runtime that no ordinary build links.
let isFuzzing = ProcessInfo.processInfo.environment["HOLDFAST_FUZZ"] == "1"

/// The one array of settings for all targets of ours. Warnings are errors in CI.
let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (ProcessInfo.processInfo.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)])

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

func system(_ name: String, _ pkgConfig: String, _ debianPackage: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([debianPackage])])
}

let package = Package(
    name: "holdfast",
    products: [.executable(name: "holdfast", targets: ["holdfast"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        // One system library each; each has one user.
        system("CFuse", "fuse3", "libfuse3-dev"),
        system("CZstd", "libzstd", "libzstd-dev"),
        system("CSodium", "libsodium", "libsodium-dev"),
        system("COpenSSL", "libcrypto", "libssl-dev"),
        system("CCurl", "libcurl", "libcurl4-openssl-dev"),
        system("CNBD", "libnbd", "libnbd-dev"),

        // Arrows point up this list only.
        library("CryptoPrimitives", ["CSodium", "COpenSSL"]),
        library("SystemIO"),
        library("Workers"),
        library("HTTPTransport", ["CCurl", "Workers"]),
        library("BackupNames"),
        library("DiskImage"),
        library("Retention"),
        library("AgeFormat", ["CryptoPrimitives"]),
        library("SignatureV4", ["CryptoPrimitives"]),
        library("SeekableZstd", ["CZstd"]),
        library("Archive", ["Workers", "CryptoPrimitives", "AgeFormat", "SeekableZstd"]),
        library("RangeCache", ["SystemIO", "Workers", "CryptoPrimitives", "Archive", logging]),
        library("ReadTrace", ["SystemIO", "Workers"]),
        library("Storage", ["SystemIO"]),
        library(
            "S3Storage",
            ["Storage", "HTTPTransport", "SignatureV4", "CryptoPrimitives", "SystemIO", "Workers"]),
        library("Manifest", ["CryptoPrimitives", "AgeFormat", "BackupNames"]),
        library("OrgKeys", ["CryptoPrimitives", "AgeFormat", "BackupNames", "SystemIO"]),
        library(
            "Configuration", ["BackupNames", "Retention", "SystemIO", .product(name: "TOMLKit", package: "TOMLKit")]),
        library("Catalog", ["BackupNames", .product(name: "GRDB", package: "GRDB.swift")]),
        library(
            "BackupEngine",
            [
                "Workers", "CryptoPrimitives", "AgeFormat", "SeekableZstd", "DiskImage", "BackupNames", "Archive",
                "Storage",
                "Manifest", "OrgKeys", "Catalog", "SystemIO", "RangeCache", "Retention", logging,
            ]),
        // The read-only checkers of file systems, and QEMU: programs of others, held tight.
        library("GuestChecks", ["BackupEngine", "DiskImage", "SystemIO", "Workers"]),
        // Servers of network block devices, and image formats through qemu-nbd.
        library("BlockSources", ["CNBD", "BackupEngine", "SystemIO", "Workers"]),
        // Disks of running QEMU guests, held still by QEMU itself.
        library("GuestSources", ["BlockSources", "BackupEngine", "BackupNames", "SystemIO", "Workers", logging]),
        // Sources that are written to, held still for a moment.
        library("Moments", ["BackupEngine", "SystemIO", logging]),
        // Copies inside the pool: no backups.
        library(
            "Snapshots",
            ["BackupEngine", "BackupNames", "Catalog", "CryptoPrimitives", "SystemIO", "Workers", logging]),
        // Backups that take themselves.
        library(
            "Agent",
            [
                "BackupEngine", "BackupNames", "Catalog", "Manifest", "Retention", "Snapshots", "Storage", "Workers",
                logging,
            ]),
        library(
            "Filesystem",
            [
                "BackupEngine", "Workers", "CryptoPrimitives", "SeekableZstd", "BackupNames", "Archive", "Storage",
                "Manifest", "OrgKeys", "Catalog", "RangeCache", "ReadTrace", "Snapshots", "SystemIO", logging,
            ]),
        library("FuseBridge", ["CFuse", "Filesystem", "BackupEngine", "Workers"]),
        library(
            "Daemon",
            [
                "FuseBridge", "Filesystem", "BackupEngine", "Configuration", "Catalog", "OrgKeys", "Storage",
                "S3Storage", "RangeCache", "ReadTrace", "Snapshots",
                "Workers", "BackupNames", "SystemIO", "Archive", "AgeFormat", logging,
            ]),
        .executableTarget(
            name: "holdfast",
            dependencies: [
                "Agent", "Daemon", "FuseBridge", "GuestChecks", "BlockSources", "GuestSources", "Moments", "DiskImage",
                "BackupEngine",
                "Configuration",
                "Catalog",
                "OrgKeys", "Storage",
                "Workers",
                "BackupNames", "SystemIO", "Archive", "Manifest", "CryptoPrimitives", "AgeFormat", "SeekableZstd",
                "ReadTrace", "Retention", "Snapshots", logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        library("StorageTesting", ["Storage"]),
        // Real S3 servers, and the lab of faults and latency before them: what drives Tests/Servers and Tests/Lab.
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
        tests("LabTests", ["TestSupport", "Workers"]),
        tests("SystemIOTests", ["SystemIO"]),
        tests("StorageTests", ["Storage", "StorageTesting", "SystemIO"]),
        tests("CryptoPrimitivesTests", ["CryptoPrimitives"]),
        tests("WorkersTests", ["Workers"]),
        tests("AgeFormatTests", ["AgeFormat", "CryptoPrimitives"]),
        tests("SeekableZstdTests", ["SeekableZstd"]),
        tests(
            "BackupEngineTests",
            [
                "BackupEngine", "AgeFormat", "Archive", "BackupNames", "Catalog", "CryptoPrimitives", "Manifest",
                "OrgKeys", "Retention", "SeekableZstd", "Storage", "StorageTesting", "Workers", logging,
            ]),
        tests("SignatureV4Tests", ["SignatureV4", "CryptoPrimitives"], exclude: ["sign-with-botocore.py"]),
        tests(
            "S3StorageTests",
            ["S3Storage", "Storage", "StorageTesting", "CryptoPrimitives", "HTTPTransport", "Workers", "TestSupport"]),
        tests("HTTPTransportTests", ["HTTPTransport", "Workers"]),
        tests("BackupNamesTests", ["BackupNames"]),
        tests("DiskImageTests", ["DiskImage"]),
        tests("RetentionTests", ["Retention"]),
        tests("GuestChecksTests", ["GuestChecks", "BackupEngine", "DiskImage", "SystemIO"]),
        tests(
            "BlockSourcesTests",
            [
                "BlockSources", "BackupEngine", "BackupNames", "Catalog", "CryptoPrimitives", "Manifest", "OrgKeys",
                "Storage", "StorageTesting", "SystemIO", "Workers", "TestSupport", "holdfast", logging,
            ]),
        tests(
            "GuestSourcesTests",
            ["GuestSources", "BackupEngine", "BackupNames", "SystemIO", "TestSupport", "Workers", logging]),
        tests("ManifestTests", ["Manifest", "AgeFormat", "BackupNames", "CryptoPrimitives"]),
        tests("OrgKeysTests", ["OrgKeys", "AgeFormat", "BackupNames", "CryptoPrimitives"]),
        tests("ConfigurationTests", ["Configuration", "BackupNames", "Retention"]),
        tests("CatalogTests", ["Catalog", "BackupNames", .product(name: "GRDB", package: "GRDB.swift")]),
        tests(
            "FilesystemTests",
            [
                "Filesystem", "FuseBridge", "Archive", "BackupEngine", "BackupNames", "Catalog", "OrgKeys",
                "SeekableZstd", "Snapshots", "Storage", "StorageTesting", "SystemIO", "Workers",
                logging,
            ]),
        tests("ArchiveTests", ["Archive", "AgeFormat", "SeekableZstd", "CryptoPrimitives", "Workers"]),
        tests(
            "AgentTests",
            [
                "Agent", "BackupEngine", "AgeFormat", "Archive", "BackupNames", "Catalog", "OrgKeys", "Retention",
                "Snapshots", "Storage",
                "StorageTesting", "Workers", logging,
            ]),
        tests("MomentsTests", ["Moments", "BackupEngine", "SystemIO", logging]),
        tests(
            "SnapshotsTests",
            ["Snapshots", "BackupEngine", "BackupNames", "Catalog", "SystemIO", logging]),
        tests("ReadTraceTests", ["ReadTrace"]),
        tests("RangeCacheTests", ["RangeCache", "Archive", "SystemIO", "Workers", logging]),
        // What libFuzzer calls, and the replay of what it found.
        .target(
            name: "FuzzEntries",
            dependencies: [
                "AgeFormat", "Archive", "Configuration", "CryptoPrimitives", "DiskImage", "HTTPTransport", "Manifest",
                "S3Storage", "SeekableZstd", "Storage",
            ], path: "Tests/FuzzEntries", swiftSettings: settings),
        tests("FuzzCorpusTests", ["FuzzEntries"]),
        // The whole program over a real mount.
        tests(
            "Scenarios",
            ["holdfast", "TestSupport", "S3Storage", "Storage", "HTTPTransport", "CryptoPrimitives", "Workers"]),
    ]
        + (isFuzzing
            ? [
                .executableTarget(
                    name: "holdfast-fuzz", dependencies: ["FuzzEntries"], path: "Tests/Fuzz/main",
                    swiftSettings: settings)
            ] : []),
    swiftLanguageModes: [.v6]
)
