//! Where a server of this host may be reached when nobody said: the usual port, the usual sockets, and what the
//! configuration files say that distributions ship.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::config_file::ConfigFile;
use super::connection::Server;
use crate::redis::RedisError;

/// Where every server listens unless it is told otherwise.
const USUAL: &str = "127.0.0.1:6379";

/// Sockets that distributions set up.
const SOCKETS: [&str; 6] = [
    "/run/redis/redis-server.sock",
    "/run/redis/redis.sock",
    "/run/redis-server/redis-server.sock",
    "/run/valkey/valkey-server.sock",
    "/run/valkey/valkey.sock",
    "/tmp/redis.sock",
];

/// Configuration files that distributions ship.
const CONFIG_FILES: [&str; 5] = [
    "/etc/redis/redis.conf",
    "/etc/redis.conf",
    "/etc/valkey/valkey.conf",
    "/etc/valkey.conf",
    "/usr/local/etc/redis.conf",
];

/// Those of them that are there.
pub fn config_files() -> Vec<PathBuf> {
    CONFIG_FILES.iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
}

/// Finds the server of this host: the first place where one answers, a refusal of the login included. `with` adds what is
/// known of login and certificates.
pub fn find_nearby(with: &dyn Fn(Address) -> Address) -> Result<Address, RedisError> {
    let usual = with(USUAL.parse()?);
    let Err(nobody) = reach(&usual) else { return Ok(usual) };
    for place in places() {
        let Ok(address) = place.parse().map(with) else { continue };
        if reach(&address).is_ok() {
            return Ok(address);
        }
    }
    match nobody {
        // Nobody said where it is: what else was tried is not guessed.
        RedisError::Connection { address, source, is_tls, .. } => Err(RedisError::Connection {
            address,
            source,
            is_tls,
            hint: "is it running? the usual sockets and configuration files of this host lead to no server either: say where it \
                   is with --redis"
                .into(),
        }),
        other => Err(other),
    }
}

/// Fails only where nobody answers.
fn reach(address: &Address) -> Result<(), RedisError> {
    match Server::connect(address) {
        Err(error @ RedisError::Connection { .. }) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn places() -> Vec<String> {
    let told = CONFIG_FILES.iter().filter_map(|path| ConfigFile::read(Path::new(path)).ok());
    let mut places: Vec<String> = told.flat_map(|file| places_of(&file)).collect();
    places.extend(SOCKETS.iter().filter(|path| PathBuf::from(path).exists()).map(|path| (*path).to_owned()));
    places
}

/// The places a configuration file names: a socket, and a port of the loopback interface.
fn places_of(file: &ConfigFile) -> Vec<String> {
    let of = |name: &str| file.directives.get(name).filter(|value| !value.is_empty());
    let socket = of("unixsocket").filter(|path| path.starts_with('/')).cloned();
    let port = of("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let tls = of("tls-port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let ports =
        [port.map(|port| format!("redis://127.0.0.1:{port}")), tls.map(|port| format!("rediss://localhost:{port}"))];
    socket.into_iter().chain(ports.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_names_sockets_and_ports() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.conf");
        std::fs::write(&path, "port 0\nunixsocket /run/r.sock\ntls-port 7000\n").unwrap();
        assert_eq!(places_of(&ConfigFile::read(&path).unwrap()), ["/run/r.sock", "rediss://localhost:7000"]);
        std::fs::write(&path, "port 7001\nunixsocket \"\"\n").unwrap();
        assert_eq!(places_of(&ConfigFile::read(&path).unwrap()), ["redis://127.0.0.1:7001"]);
    }
}
