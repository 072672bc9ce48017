//! Which addresses are one client's.

use std::net::{IpAddr, Ipv6Addr};

/// How many leading bits of an IPv6 address are a client's own, unless set: 64, the smallest network there is.
pub const IPV6_PREFIX_BITS: u8 = 64;

/// The address that `address` is counted under: all of an IPv4 address, and the first `ipv6_prefix_bits` bits of an
/// IPv6 one, since whoever has one has all those of its prefix.
///
/// An IPv4 address that comes mapped into IPv6 (`::ffff:192.0.2.1`) is taken for the IPv4 address, whatever its
/// notation. 128 bits and above do not group at all.
///
/// ```
/// use limiter_tower::{IPV6_PREFIX_BITS, address_group};
/// use std::net::IpAddr;
///
/// # fn main() -> Result<(), std::net::AddrParseError> {
/// let group = |address: &str| -> Result<IpAddr, _> { Ok(address_group(address.parse()?, IPV6_PREFIX_BITS)) };
/// assert_eq!(group("2001:db8:1:2::3")?, "2001:db8:1:2::".parse::<IpAddr>()?);
/// assert_eq!(group("::ffff:192.0.2.1")?, "192.0.2.1".parse::<IpAddr>()?);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn address_group(address: IpAddr, ipv6_prefix_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = 128_u32.saturating_sub(ipv6_prefix_bits.into());
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        ipv4 @ IpAddr::V4(_) => ipv4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_grouped_by_bits_whatever_their_notation() {
        for (prefix, address, group) in [
            (64, "192.0.2.1", "192.0.2.1"),
            (0, "192.0.2.1", "192.0.2.1"),
            (64, "::ffff:192.0.2.1", "192.0.2.1"),
            (64, "::ffff:c000:0201", "192.0.2.1"),
            (0, "0:0:0:0:0:ffff:c000:201", "192.0.2.1"),
            (64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            (56, "2001:db8:1:2ff:3:4:5:6", "2001:db8:1:200::"),
            (48, "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            (128, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
            (255, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
            (0, "2001:db8:1:2:3:4:5:6", "::"),
            (64, "::1", "::"),
            (64, "::192.0.2.1", "::"),
            (64, "64:ff9b::192.0.2.1", "64:ff9b::"),
        ] {
            let found = address_group(address.parse().unwrap(), prefix);
            assert_eq!(found, group.parse::<IpAddr>().unwrap(), "{address}/{prefix}");
        }
    }
}
