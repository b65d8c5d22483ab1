//! The master that a Sentinel names.

use super::address::Address;
use super::connection::Server;
use super::info::Info;
use crate::redis::RedisError;

impl Server {
    /// Connects to the master that the Sentinel at an address knows by a name. The login of the address is the master's: a Sentinel
    /// is given it only where it wants one.
    ///
    /// SYNC-10
    pub fn of_sentinel(address: &Address, name: &str) -> Result<Server, RedisError> {
        let refuse = |what: String, hint: &str| Err(RedisError::Server { what, hint: hint.into() });
        let mut sentinel = match Server::connect(&address.clone().without_login()) {
            Err(RedisError::Login { .. }) => Server::connect(address)?,
            connected => connected?,
        };
        let info = Info::parse(&sentinel.words(&["INFO"])?);
        if info.get("redis_mode") != Some("sentinel") {
            return refuse(format!("the server at {address} is no Sentinel"), "leave out --sentinel-master");
        }
        let place = sentinel.list(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name])?;
        let [host, port] = place.as_slice() else {
            return refuse(
                format!("the Sentinel at {address} watches no master that is called {name}"),
                &format!("SENTINEL MASTERS, asked of {address}, lists those it watches"),
            );
        };
        let Ok(port) = port.parse() else {
            return refuse(
                format!("the Sentinel at {address} names the port {port}"),
                "is it a Sentinel that answers there?",
            );
        };
        let mut master = Server::connect(&address.at(host, port))?;
        match master.info()?.get("role") {
            Some("master") => Ok(master),
            _ => refuse(
                format!("the server at {}, which the Sentinel names as {name}, is no master", master.address()),
                "is it in a failover? try again when that is over",
            ),
        }
    }
}
