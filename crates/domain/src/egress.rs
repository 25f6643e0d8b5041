//! Which addresses we dial: a client chooses where a callback goes, and must not reach what only we can reach.
//!
//! One judgement, for the address literals of a URL at submission and for every address that is about to be dialled.
//! IPv4 is a list of denials; of IPv6 only what is handed out to the public is allowed, so that an IPv4 address
//! hidden in an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo) is denied without being looked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Special-purpose and private IPv4 (IANA registry), multicast, the reserved rest, and the wire server of Azure.
const DENIED_V4: [(Ipv4Addr, u8); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// The only IPv6 that IANA has given out as global unicast.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is special within it (IANA registry), and the 6bone's old range.
const DENIED_V6: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Where clouds serve their machines' credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What the operator opened, and where we are ourselves.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// `delivery.allow_cidrs`: wins over every denial. The metadata address opens only by a range that is it alone.
    pub allow: Vec<IpNet>,
    /// The addresses of our own interfaces.
    pub own: Vec<IpAddr>,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// In a range that is private, special or reserved.
    #[error("{0} is not a public address")]
    Range(IpAddr),
    /// An address of this machine.
    #[error("{0} is an address of this server")]
    Own(IpAddr),
}

impl EgressPolicy {
    /// Whether `address` may be dialled.
    ///
    /// # Errors
    /// With the reason, if it may not.
    pub fn judge(&self, address: IpAddr) -> Result<(), Denied> {
        if self.opens(address) {
            return Ok(());
        }
        if self.own.contains(&address) {
            return Err(Denied::Own(address));
        }
        let denied = match address {
            IpAddr::V4(v4) => DENIED_V4.iter().any(|&range| v4_in(v4, range)),
            IpAddr::V6(v6) => {
                !v6_in(v6, GLOBAL_V6) || DENIED_V6.iter().any(|&range| v6_in(v6, range)) || is_isatap(v6)
            }
        };
        if denied { Err(Denied::Range(address)) } else { Ok(()) }
    }

    fn opens(&self, address: IpAddr) -> bool {
        // A wide range opened for a private network must not hand out the machine's credentials with it.
        let exact_only = holds_metadata(address);
        self.allow
            .iter()
            .any(|net| net.contains(&address) && (!exact_only || net.prefix_len() == net.max_prefix_len()))
    }
}

fn v4_in(address: Ipv4Addr, (range, bits): (Ipv4Addr, u8)) -> bool {
    (address.to_bits() ^ range.to_bits()) >> (32 - bits) == 0
}

fn v6_in(address: Ipv6Addr, (range, bits): (Ipv6Addr, u8)) -> bool {
    (address.to_bits() ^ range.to_bits()) >> (128 - bits) == 0
}

/// ISATAP (RFC 5214 section 6.1) puts an IPv4 address behind either of these interface ids, under any prefix.
fn is_isatap(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [_, _, _, _, 0 | 0x0200, 0x5efe, _, _])
}

/// The metadata address, also where the kernel (mapped, RFC 4291) or a gateway (NAT64, RFC 6052) would unwrap it.
fn holds_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 == METADATA,
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)) == METADATA
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests;
