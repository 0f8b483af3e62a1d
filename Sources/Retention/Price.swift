/// What stored bytes cost: whole cents of a terabyte (10^12 bytes) and month. A value; nothing of it is ever a binary fraction.
package struct Price: Sendable, Hashable {
    package static let terabyteByteCount: UInt64 = 1_000_000_000_000

    package let centsPerTerabyteMonth: Int

    package init(centsPerTerabyteMonth: Int) {
        precondition(centsPerTerabyteMonth >= 0, "internal error: a price below nothing")
        self.centsPerTerabyteMonth = centsPerTerabyteMonth
    }

    /// What so many bytes cost a month, exactly: it is rounded when it is shown.
    package func month(of byteCount: UInt64) -> Money {
        let (high, low) = byteCount.multipliedFullWidth(by: UInt64(centsPerTerabyteMonth))
        // 2^64 bytes at a million euros would still fit: 10^8 cents × 2^64 is below 2^91.
        return Money(byteCents: UInt128(high) << 64 | UInt128(low))
    }

    /// The same for so many seconds; a month has 30 days, as providers bill.
    package func charge(of byteCount: UInt64, seconds: Int64) -> Money {
        Money(byteCents: month(of: byteCount).byteCents * UInt128(max(0, seconds)) / UInt128(30 * 86_400))
    }
}

/// An amount of money that adds up exactly. Cents times the bytes of a terabyte, so that prices of bytes are whole.
package struct Money: Sendable, Hashable, Comparable {
    package let byteCents: UInt128

    package static let nothing = Money(byteCents: 0)

    package init(byteCents: UInt128) { self.byteCents = byteCents }

    /// Rounded to the nearest cent, half a cent up: once, at the end.
    package var cents: UInt64 {
        UInt64(clamping: (byteCents + UInt128(Price.terabyteByteCount / 2)) / UInt128(Price.terabyteByteCount))
    }

    /// `0.70`
    package var euros: String {
        let rest = cents % 100
        return "\(cents / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    package static func + (left: Money, right: Money) -> Money { Money(byteCents: left.byteCents + right.byteCents) }
    package static func < (left: Money, right: Money) -> Bool { left.byteCents < right.byteCents }
}
