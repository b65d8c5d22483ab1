//! What a server's refusal means, and what to do about it: each for what it is.

use super::address::Address;
use super::cluster::ACL_RULES_OF_CLUSTER;
use super::info::Info;
use super::replication::ACL_RULES_OF_SYNC;
use crate::redis::RedisError;

/// An answer that says an error, to a command by its usual name.
pub(super) fn refused(address: &Address, usual: &str, message: String) -> RedisError {
    let command = usual.to_ascii_uppercase();
    let hint = hint(address, &command, &message);
    RedisError::Answer { command, message, hint }
}

fn hint(address: &Address, command: &str, message: &str) -> Option<String> {
    let code = message.split(' ').next().unwrap_or_default();
    match code {
        "NOPERM" if message.contains("access one of the keys") => Some(format!(
            "the user has no right to that key: ACL SETUSER {} ~PATTERN gives it to keys that fit a pattern",
            address.user().unwrap_or("default")
        )),
        "NOPERM" if ["PSYNC", "SYNC", "REPLCONF"].contains(&command) => Some(format!(
            "the user may not copy as a replica does: ACL SETUSER {} {ACL_RULES_OF_SYNC} gives that right, with which he is \
             sent every key",
            address.user().unwrap_or("default")
        )),
        "NOPERM" if command == "CLUSTER" => Some(format!(
            "the user may not ask for the shards of its cluster: ACL SETUSER {} {ACL_RULES_OF_CLUSTER} gives that right",
            address.user().unwrap_or("default")
        )),
        "NOMASTERLINK" => Some(
            "it is a replica without a link to its master, or in a failover: mend the link, or name the master".into(),
        ),
        "NOPERM" => Some(format!(
            "the user lacks a right: ACL SETUSER {} +{} gives it; redkeep doctor prints the ACL line with all that a \
             backup needs",
            address.user().unwrap_or("default"),
            command.to_ascii_lowercase()
        )),
        "LOADING" => Some("it loads its data: try again once INFO persistence says loading:0".into()),
        "MASTERDOWN" => Some(
            "it is a replica without a link to its master, and answers little else meanwhile (replica-serve-stale-data no): \
             mend the link, or name the master"
                .into(),
        ),
        "MISCONF" => Some("its saves fail, and it refuses writes until one succeeds: its log says why".into()),
        "READONLY" => Some("it is a replica, and takes writes from its master only: name the master".into()),
        "MOVED" | "ASK" => Some(elsewhere(message)),
        "CLUSTERDOWN" | "TRYAGAIN" => Some("its cluster is not whole: redis-cli --cluster check says what is the matter".into()),
        "OOM" => Some(
            "it holds as much as it may (maxmemory): free some memory there, or raise the limit: CONFIG SET maxmemory".into(),
        ),
        "NOREPLICAS" => Some("it wants more replicas before it takes writes (min-replicas-to-write)".into()),
        "BUSY" => Some("a script runs there: wait for it, or end it with SCRIPT KILL".into()),
        _ if message.contains("invalid bulk length") => Some(
            "a value is longer than an argument may be there: raise that, CONFIG SET proto-max-bulk-len, or have it by restore \
             --target"
                .into(),
        ),
        _ if message.contains("DB index") => Some("it has fewer databases (databases): name one of those it has".into()),
        _ if message.contains("in cluster mode") || message.contains("is not allowed in cluster") => {
            Some("a server of a cluster has database 0 only, unless its cluster-databases says otherwise".into())
        }
        _ if message.to_ascii_lowercase().contains("unknown command") => Some(unknown(address, command)),
        _ => None,
    }
}

/// MOVED and ASK name the slot and the node. It is not followed: who has the password of one server may not want to give it to
/// another.
fn elsewhere(message: &str) -> String {
    match message.split(' ').nth(2).filter(|node| !node.is_empty()) {
        Some(node) => format!("another node of its cluster has this key: name that one, {node}"),
        None => "another node of its cluster has this key: name that one".into(),
    }
}

fn unknown(address: &Address, command: &str) -> String {
    match address.renamed().get(command) {
        Some(new) => format!("--renamed-command says that {command} is called {new} there: correct that"),
        None => format!(
            "{command} may be renamed or switched off there (rename-command): say what it is called with --renamed-command \
             {command}=NEW"
        ),
    }
}

/// What a refusal of the first commands of a connection means.
pub(super) fn at_the_door(address: &Address, error: RedisError) -> RedisError {
    let RedisError::Answer { command, message, hint } = error else { return error };
    let lower = message.to_ascii_lowercase();
    let server = |what: &str, hint: &str| RedisError::Server {
        what: format!("the server at {address} {what}"),
        hint: hint.into(),
    };
    if message.starts_with("DENIED") {
        return server(
            "is in protected mode: it has no password, and takes connections of its own host only",
            "run redkeep on its host and name its loopback address or socket, or give it a password (requirepass, ACL)",
        );
    }
    if lower.contains("max number of clients") {
        return server(
            "has as many clients as it takes (maxclients)",
            "end some of them, or raise the limit: CONFIG SET maxclients",
        );
    }
    let is_login = ["NOAUTH", "WRONGPASS"].iter().any(|code| message.starts_with(code))
        || (command == "AUTH" && !message.starts_with("NOPERM") && !lower.contains("unknown command"));
    if !is_login {
        return RedisError::Answer { command, message, hint };
    }
    let hint = login_hint(address, &lower);
    RedisError::Login { address: address.to_string(), message, hint }
}

fn login_hint(address: &Address, lower: &str) -> String {
    let user = address.user().map_or(String::new(), |user| format!(", for the user {user}"));
    match address.password_from() {
        Some(from) if lower.contains("without any password") => {
            format!("the server has no password, and the one of {from} was given: leave it out")
        }
        Some(from) => format!("the password came from {from}{user}: is it the right one, and is the user?"),
        None => "give the password with --redis-password-file, and the user in the address: redis://USER@HOST".into(),
    }
}

/// Refuses a Sentinel, which holds no data, and names the servers it watches.
pub(super) fn refuse_sentinel(address: &Address, info: Info) -> Result<Info, RedisError> {
    if info.get("redis_mode") != Some("sentinel") {
        return Ok(info);
    }
    let masters = (0..).map_while(|number| info.get(&format!("master{number}")));
    let field = |text: &str, name: &str| {
        text.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let masters: Vec<(String, String)> =
        masters.map(|text| (field(text, "name"), field(text, "address"))).filter(|pair| !pair.0.is_empty()).collect();
    let watched: Vec<String> = masters.iter().map(|(name, place)| format!("{name} at {place}")).collect();
    let watches = if watched.is_empty() { String::new() } else { format!("; it watches {}", watched.join(", ")) };
    let (name, place) = masters.first().map_or(("NAME", "HOST:PORT"), |(name, place)| (name, place));
    Err(RedisError::Server {
        what: format!("the server at {address} is a Sentinel, which holds no data{watches}"),
        hint: format!(
            "name the master itself, {place}; the Sentinel says where it is now: SENTINEL get-master-addr-by-name {name}; a \
             backup asks it with --sentinel-master {name}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_at_the_door_is_told_for_what_it_is() {
        let address: Address = "redis://app@h:1".parse().unwrap();
        let from = address.clone().with_password_from(Some("the variable X".into()));
        let told = |address: &Address, command: &str, message: &str| {
            let error = at_the_door(address, refused(address, command, message.into()));
            format!("{error} | {}", error.hint().unwrap_or_default())
        };
        for (command, message, word) in [
            ("PING", "DENIED Redis is running in protected mode because protected mode is enabled", "loopback address"),
            ("PING", "ERR max number of clients reached", "maxclients"),
            ("PING", "NOAUTH Authentication required.", "--redis-password-file"),
            ("AUTH", "ERR unknown command 'AUTH'", "--renamed-command AUTH=NEW"),
            ("PING", "NOPERM this user has no permissions to run the 'ping' command", "ACL SETUSER app +ping"),
        ] {
            assert!(told(&address, command, message).contains(word), "{message}: {}", told(&address, command, message));
        }
        let wrong = told(&from, "AUTH", "WRONGPASS invalid username-password pair or user is disabled.");
        assert!(wrong.contains("refuses the login") && wrong.contains("the variable X, for the user app"), "{wrong}");
    }

    #[test]
    fn a_server_in_a_state_says_how_it_ends() {
        let address: Address = "h:1".parse().unwrap();
        let renamed = address.clone().with_renamed(&[("info".into(), "x".into())]);
        for (address, message, word) in [
            (&address, "LOADING Redis is loading the dataset in memory", "loading:0"),
            (&address, "MASTERDOWN Link with MASTER is down", "replica-serve-stale-data"),
            (&address, "MISCONF Redis is configured to save RDB snapshots", "saves fail"),
            (&address, "BUSY Redis is busy running a script", "SCRIPT KILL"),
            (&renamed, "ERR unknown command 'x'", "INFO is called x there: correct that"),
        ] {
            let error = refused(address, "INFO", message.into());
            assert!(error.hint().is_some_and(|hint| hint.contains(word)), "{message}: {:?}", error.hint());
        }
        assert!(refused(&address, "CONFIG", "ERR wrong number of arguments".into()).hint().is_none());
    }
}
