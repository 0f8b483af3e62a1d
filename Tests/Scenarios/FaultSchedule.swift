import Foundation
import TestSupport

/// A generator of which everything follows from the seed: SplitMix64 of Steele, Lea and Flood.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

/// What the world does to the store during one small workload; made from a seed, and the same for the same seed.
struct FaultSchedule: CustomStringConvertible {
    struct Cut {
        let after: Duration
        let length: Duration
        let network: LabProxy.Network
    }

    let seed: UInt64
    let rules: [FaultRule]
    let cuts: [Cut]
    let roundTrip: Duration
    let bitsPerSecond: Double?
    let imageMebibytes: Int
    let description: String

    init(seed: UInt64) {
        self.seed = seed
        var generator = SeededGenerator(seed: seed)
        var told: [String] = []
        var rules: [FaultRule] = []
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let fault = Self.fault(&generator)
            let operation = Self.operations.randomElement(using: &generator)
            let chances: [Double] = [0.05, 0.2, 0.5, 1]
            let probability = chances.randomElement(using: &generator) ?? 1
            let skip = Int.random(in: 0...6, using: &generator)
            // Few go on for ever: those only show that patience ends.
            let count = [1, 2, 3, 5, 8].randomElement(using: &generator) ?? 1
            if let operation {
                rules.append(FaultRule(fault, on: operation, skip: skip, count: count, probability: probability))
                told.append("\(fault) at \(operation) ×\(count) p \(probability) skip \(skip)")
            }
        }
        var cuts: [Cut] = []
        if Int.random(in: 0..<4, using: &generator) == 0 {
            let cut = Cut(
                after: .milliseconds(Int.random(in: 0...1500, using: &generator)),
                length: .milliseconds(Int.random(in: 100...2500, using: &generator)),
                network: Bool.random(using: &generator) ? .refusing : .dead)
            cuts.append(cut)
            told.append("\(cut.network) after \(cut.after) for \(cut.length)")
        }
        roundTrip = .milliseconds([0, 0, 2, 20, 60].randomElement(using: &generator) ?? 0)
        let rate = [0, 0, 400, 100].randomElement(using: &generator) ?? 0
        bitsPerSecond = rate == 0 ? nil : Double(rate) * 1e6
        imageMebibytes = Int.random(in: 12...24, using: &generator)
        told.append("round trip \(roundTrip), \(rate == 0 ? "any rate" : "\(rate) Mbit/s")")
        self.rules = rules
        self.cuts = cuts
        description = "seed \(seed): \(told.joined(separator: "; ")); \(imageMebibytes) MiB"
    }

    /// Reads and the requests of an upload more than the others.
    private static let operations: [FaultRule.Operation] = [
        .get, .get, .get, .uploadPart, .uploadPart, .createUpload, .completeUpload, .put, .head, .delete, .abortUpload,
        .list,
    ]

    private static func fault(_ generator: inout SeededGenerator) -> Fault {
        let place = Int.random(in: 0...200_000, using: &generator)
        return switch Int.random(in: 0..<22, using: &generator) {
        case 0: .slowDown
        case 1: .internalError
        case 2: .status(503, code: "SlowDown", retryAfter: 1)
        case 3: .status(500, code: "InternalError", forward: true)
        case 4: .status(403, code: "AccessDenied")
        case 5: .status(404, code: "NoSuchKey")
        case 6: .lostUpload
        case 7: .clockSkew(hours: 2)
        case 8: .errorIn200()
        case 9: .resetBefore
        case 10: .resetAfter
        case 11: .resetBody(after: place)
        case 12: .stallRequest(seconds: 2)
        case 13: .stallBody(after: place, seconds: 2)
        case 14: .shortBody(after: place)
        case 15: .shortBody(after: place, lie: true)
        case 16: .flipBit(at: place)
        case 17: .flipRequestBit(at: place)
        case 18: .wrongRange([.claim, .bytes, .bytesAndClaim].randomElement(using: &generator) ?? .bytes, by: 16)
        case 19: .ignoreRange
        case 20: .duplicateHeaders()
        default: .wrongETag
        }
    }
}
