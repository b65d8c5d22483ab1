//! Which process of this host is at the other end of a connection, as the kernel tells it.
//!
//! A server says its process id, but numbers of processes mean something else in a container, and on another host. The
//! kernel knows whose socket it is: for a Unix socket it tells the process that listens, for TCP it lists the sockets of this
//! host with their inodes, and /proc shows which of them a process holds.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may take to accept it.
const ACCEPT: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// A host and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The other end of a connection that is held open meanwhile.
enum OtherEnd {
    /// Who listens on a Unix socket.
    Process(u32),
    /// The inode of a socket.
    Socket(u64, TcpStream),
}

impl Peer {
    /// Whether a new connection ends at this process. What cannot be told is no.
    pub(super) fn is_process(&self, id: u32) -> bool {
        match self.other_end() {
            Some(OtherEnd::Process(process)) => process == id,
            Some(OtherEnd::Socket(inode, _stream)) => holds(id, inode),
            None => false,
        }
    }

    /// The processes at which a new connection ends, as far as they may be looked into: a server, and for a moment a child
    /// of it. In a container they have other numbers than the server says.
    pub(super) fn processes(&self) -> Vec<u32> {
        match self.other_end() {
            Some(OtherEnd::Process(process)) => vec![process],
            Some(OtherEnd::Socket(inode, _stream)) => {
                let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
                let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
                ids.filter(|id| holds(*id, inode)).collect()
            }
            None => Vec::new(),
        }
    }

    fn other_end(&self) -> Option<OtherEnd> {
        match self {
            Peer::Unix(path) => {
                let stream = UnixStream::connect(path).ok()?;
                let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
                u32::try_from(peer.pid.as_raw_nonzero().get()).ok().map(OtherEnd::Process)
            }
            Peer::Tcp(host, port) => accepted(host, *port),
        }
    }
}

fn accepted(host: &str, port: u16) -> Option<OtherEnd> {
    let mut addresses = (host, port).to_socket_addrs().ok()?;
    let stream = addresses.find_map(|to| TcpStream::connect_timeout(&to, CONNECT).ok())?;
    let (here, there) = (plain(stream.local_addr().ok()?), plain(stream.peer_addr().ok()?));
    let begun = Instant::now();
    // The server's end has no inode until it is accepted, and is not in this table on another host.
    while begun.elapsed() < ACCEPT {
        match inode_of(there, here)? {
            0 => thread::sleep(LOOK),
            inode => return Some(OtherEnd::Socket(inode, stream)),
        }
    }
    None
}

/// The inode of the socket with these ends, its own and the other one, in what the kernel lists.
fn inode_of(own: SocketAddr, other: SocketAddr) -> Option<u64> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let ends = (ends_of(fields.next()?)?, ends_of(fields.next()?)?);
            (ends == (own, other)).then(|| fields.nth(6)?.parse().ok()).flatten()
        })
    })
}

/// `0100007F:18EB`: the bytes of each 32-bit word in the order of the host, then the port.
fn ends_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let word = u32::from_str_radix(address.get(place * 8..place * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, piece) in bytes.chunks_exact_mut(4).enumerate() {
                piece.copy_from_slice(&word(place)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(plain(SocketAddr::new(ip, port)))
}

/// Without the form that an IPv4 address has on a socket for both, and without scopes.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a process has this socket.
fn holds(id: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let mut links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    links.any(|link| link.as_os_str() == wanted.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_process_at_the_other_end_is_known_and_no_other_is() {
        let me = std::process::id();
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            // Not every host has IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let accepting = thread::spawn(move || [(); 3].map(|()| listener.accept().unwrap()));
            let host = if address.starts_with("[::1]") { "::1" } else { "127.0.0.1" };
            let peer = Peer::Tcp(host.into(), port);
            assert!(peer.is_process(me) && peer.processes().contains(&me), "{address}");
            assert!(!peer.is_process(1), "{address}");
            accepting.join().unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(Peer::Unix(path.clone()).is_process(me) && !Peer::Unix(path).is_process(1));
        assert!(!Peer::Unix(dir.path().join("none")).is_process(me));
        assert!(!Peer::Tcp("127.0.0.1".into(), 1).is_process(me));
    }

    #[test]
    fn ends_are_read_as_the_kernel_writes_them() {
        let little = cfg!(target_endian = "little");
        let text = if little { "0100007F:18EB" } else { "7F000001:18EB" };
        assert_eq!(ends_of(text), Some("127.0.0.1:6379".parse().unwrap()));
        let mapped =
            if little { "0000000000000000FFFF00000100007F:18EB" } else { "00000000000000000000FFFF7F000001:18EB" };
        assert_eq!(ends_of(mapped), Some("127.0.0.1:6379".parse().unwrap()));
        for bad in ["", "0100007F", "01:18EB", "0100007F:x", "zz00007F:18EB"] {
            assert_eq!(ends_of(bad), None, "{bad}");
        }
    }
}
