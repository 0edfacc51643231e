//! Socket addresses between Rust and the C interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

/// A `sockaddr_storage` that holds `addr`.
pub(crate) fn to_storage(addr: SocketAddr) -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain integers, for which all zeroes is a value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    match addr {
        SocketAddr::V4(v4) => {
            let sin = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            let at = ptr::from_mut(&mut storage).cast::<libc::sockaddr_in>();
            // SAFETY: the storage is ours, at least as large and as aligned as a sockaddr_in.
            unsafe { at.write(sin) };
        }
        SocketAddr::V6(v6) => {
            let sin6 = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            let at = ptr::from_mut(&mut storage).cast::<libc::sockaddr_in6>();
            // SAFETY: the storage is ours, at least as large and as aligned as a sockaddr_in6.
            unsafe { at.write(sin6) };
        }
    }
    storage
}

/// The address that `storage` holds; `None` for another family than IPv4 and IPv6.
pub(crate) fn from_storage(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    if storage.ss_family == family(libc::AF_INET) {
        let at = ptr::from_ref(storage).cast::<libc::sockaddr_in>();
        // SAFETY: a reference to a storage is valid for reads of the smaller, less aligned
        // sockaddr_in, which is plain integers.
        let sin = unsafe { at.read() };
        let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
        Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(sin.sin_port)))
    } else if storage.ss_family == family(libc::AF_INET6) {
        let at = ptr::from_ref(storage).cast::<libc::sockaddr_in6>();
        // SAFETY: as above, for the smaller sockaddr_in6.
        let sin6 = unsafe { at.read() };
        Some(SocketAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from(sin6.sin6_addr.s6_addr),
            u16::from_be(sin6.sin6_port),
            sin6.sin6_flowinfo,
            sin6.sin6_scope_id,
        )))
    } else {
        None
    }
}

fn family(value: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(value).expect("AF_INET and AF_INET6 fit the family's 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_c_and_back() {
        for text in ["10.0.0.1:4420", "127.0.0.1:0", "[fe80::1%7]:65535", "[2001:db8::2]:3260"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(from_storage(&to_storage(addr)), Some(addr), "{text}");
        }
    }

    #[test]
    fn ports_are_in_network_order() {
        let storage = to_storage("1.2.3.4:258".parse().unwrap());
        let bytes: [u8; 8] =
            // SAFETY: the first 8 bytes of a 128-byte structure of integers.
            unsafe { ptr::from_ref(&storage).cast::<[u8; 8]>().read() };
        assert_eq!(&bytes[2..], &[1, 2, 1, 2, 3, 4]);
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        let mut storage = to_storage("1.2.3.4:5".parse().unwrap());
        storage.ss_family = family(libc::AF_UNIX);
        assert_eq!(from_storage(&storage), None);
    }
}
