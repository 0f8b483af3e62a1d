import Foundation
import Retention
import Testing

@Suite("Prices and money")
struct PriceTests {
    private let backup = Price(centsPerTerabyteMonth: 3500)

    @Test func `20 GB stored are 0.70 a month, and a terabyte is 10^12 bytes`() {
        #expect(backup.month(of: 20_000_000_000).euros == "0.70")
        #expect(backup.month(of: 1_000_000_000_000).euros == "35.00")
        #expect(Price(centsPerTerabyteMonth: 5000).month(of: 20_000_000_000).euros == "1.00")
        #expect(backup.month(of: 0).euros == "0.00" && Money.nothing.euros == "0.00")
    }

    @Test func `what is added is exact, and rounded once, half a cent up`() {
        // A cent is 285,714,285.7 bytes: a thousand times a third of one is 333 cents, not nothing.
        let third = backup.month(of: 95_238_095)
        #expect(third.euros == "0.00")
        let sum = (0..<1000).reduce(Money.nothing) { sum, _ in sum + third }
        #expect(sum.euros == "3.33")
        #expect(sum == backup.month(of: 95_238_095_000))
        let half = Price(centsPerTerabyteMonth: 1)
        #expect(half.month(of: 500_000_000_000).cents == 1 && half.month(of: 499_999_999_999).cents == 0)
        #expect(half.month(of: 1_500_000_000_000).cents == 2)
    }

    @Test func `no number of bytes is too large`() {
        let dearest = Price(centsPerTerabyteMonth: 100_000_000)
        // 2^64 - 1 bytes are 18,446,744.07 TB.
        #expect(backup.month(of: .max).euros == "645636042.58")
        #expect(dearest.month(of: .max).cents == 1_844_674_407_370_955)
        #expect(dearest.charge(of: .max, seconds: 3650 * 86_400) > dearest.month(of: .max))
    }

    @Test func `a month that is billed for a part of it has 30 days`() {
        #expect(backup.charge(of: 1_000_000_000_000, seconds: 30 * 86_400) == backup.month(of: 1_000_000_000_000))
        #expect(backup.charge(of: 1_000_000_000_000, seconds: 15 * 86_400).euros == "17.50")
        #expect(backup.charge(of: 1_000_000_000_000, seconds: 90 * 86_400).euros == "105.00")
        #expect(backup.charge(of: 1_000_000_000_000, seconds: -5) == .nothing)
    }
}
