//! Which network addresses an untrusted URI may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks outside the public internet: first address and prefix length.
const REFUSED_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8), // "this network"; 0.0.0.0 reaches the local host
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private
    (Ipv4Addr::new(100, 64, 0, 0), 10), // carrier-grade NAT, and one cloud's metadata (100.100.100.200)
    (Ipv4Addr::new(127, 0, 0, 0), 8), // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's platform agent, though the block is public
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, with most clouds' metadata (169.254.169.254)
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments, and one cloud's metadata (192.0.0.192)
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, with the broadcast address
];

/// Blocks within IPv6's global range, 2000::/3, that are not on the public internet.
const REFUSED_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: carries any IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether an address is on the public internet: not loopback, private, link-local, shared (CGNAT),
/// multicast, reserved, documentation, benchmarking, a cloud's metadata service, or an IPv6 form of
/// such an IPv4 address.
///
/// IPv6 uses an allow list: unknown addresses are refused, so unique-local, IPv4-mapped,
/// IPv4-compatible and unassigned blocks need no entry.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => public_v4(a),
        IpAddr::V6(a) => public_v6(a),
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    REFUSED_V4.iter().all(|&(block, length)| (bits ^ u32::from(block)) >> (32 - length) != 0)
}

fn public_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    // A NAT64 gateway (64:ff9b::/96) passes on to the IPv4 address in the last four bytes.
    if bits >> 32 == 0x0064_ff9b_u128 << 64 {
        let [.., a, b, c, d] = address.octets();
        return public_v4(Ipv4Addr::new(a, b, c, d));
    }
    bits >> 125 == 0b001
        && REFUSED_V6.iter().all(|&(block, length)| (bits ^ u128::from(block)) >> (128 - length) != 0)
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
